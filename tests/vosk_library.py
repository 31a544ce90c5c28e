"""Vosk's own library, where the package `vosk` is installed, and what vosk-server does with it."""

import ctypes
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

STEP_S = 0.2

Recording = tuple[int, NDArray[np.float32]]
"""Rate in Hz and samples, in the range of 16-bit integers."""


@dataclass(frozen=True)
class Vosk:
    """Vosk with a model."""

    vosk: Any
    model: Any

    def decode(self, recording: Recording, alternatives: int = 0) -> list[dict[str, Any]]:
        """The final results, as Vosk gives them; with alternatives they have costs."""
        rate_hz, samples = recording
        recognizer = self.vosk.KaldiRecognizer(self.model, rate_hz)
        recognizer.SetMaxAlternatives(alternatives)
        pcm, step = samples.astype("<i2").tobytes(), 2 * int(STEP_S * rate_hz)
        results = []
        for begin in range(0, len(pcm), step):
            if recognizer.AcceptWaveform(pcm[begin : begin + step]):
                results.append(json.loads(recognizer.Result()))
        results.append(json.loads(recognizer.FinalResult()))
        return results

    def converse(self, messages: Iterable[bytes], rate_hz: int, **configuration: int) -> list[str]:
        """The replies of vosk-server to messages of audio, and the last one to the end of the audio."""
        recognizer = self.vosk.KaldiRecognizer(self.model, rate_hz)
        recognizer.SetWords(configuration.get("words", 1))
        recognizer.SetPartialWords(configuration.get("partial_words", 0))
        recognizer.SetMaxAlternatives(configuration.get("max_alternatives", 0))
        replies: list[str] = []
        for message in messages:
            ended = recognizer.AcceptWaveform(message)
            replies.append(recognizer.Result() if ended else recognizer.PartialResult())
        return [*replies, recognizer.FinalResult()]


def load_vosk(path: Path) -> Vosk:
    """Loads a model with Vosk; the test is skipped without the package."""
    vosk = pytest.importorskip("vosk", reason="needs the package vosk")
    vosk.SetLogLevel(-1)
    ctypes.CDLL(None).srand(1)  # from there it takes the noise that it adds to samples
    return Vosk(vosk, vosk.Model(str(path)))


def copy_without_dither(model: Path, folder: Path) -> Path:
    """Makes a folder with a model whose features are not random."""
    for entry in model.iterdir():
        if entry.name != "conf":
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(model / "conf", folder / "conf")
    with (folder / "conf" / "mfcc.conf").open("a") as file:
        file.write("\n--dither=0\n")
    return folder
