"""Beside Vosk, which is Kaldi itself: the same transcripts from the same model with the same recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav

from pykaldi_server.session import Final, Model

pytestmark = pytest.mark.slow

# Vosk's recipe, where it is not the model's own configuration.
RECIPE = {"lmwt_scale": 0.9, "decode_mbr": True, "chunk_length_in_secs": 0.2}
STEP_S = 0.2
# What runs of Vosk differ by among themselves comes on top.
ALLOWED_DIFFERENCE = 0.02


@pytest.fixture(scope="module")
def vosk():
    return pytest.importorskip("vosk", reason="needs the package vosk")


@pytest.fixture(scope="module")
def recordings(golden: Path) -> list[tuple[int, np.ndarray]]:
    return [read_wav(path) for path in sorted((golden / "wav").glob("*.wav"))]


def transcribe_with_vosk(vosk, model, recordings) -> list[str]:
    texts = []
    for rate_hz, samples in recordings:
        recognizer = vosk.KaldiRecognizer(model, rate_hz)
        pcm, step = samples.astype("<i2").tobytes(), 2 * int(STEP_S * rate_hz)
        pieces = []
        for begin in range(0, len(pcm), step):
            if recognizer.AcceptWaveform(pcm[begin : begin + step]):
                pieces.append(json.loads(recognizer.Result())["text"])
        pieces.append(json.loads(recognizer.FinalResult())["text"])
        texts.append(" ".join(pieces))
    return texts


def transcribe(model: Model, recordings) -> list[str]:
    texts = []
    for rate_hz, samples in recordings:
        session = model.session(sample_rate_hz=rate_hz)
        events = session.accept(samples) + session.finish()
        texts.append(" ".join(e.hypotheses[0].transcript for e in events if isinstance(e, Final)))
    return texts


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Least number of substitutions, insertions and deletions."""
    row = list(range(len(hypothesis) + 1))
    for wanted in reference:
        diagonal, row[0] = row[0], row[0] + 1
        for place, word in enumerate(hypothesis, 1):
            best = min(diagonal + (word != wanted), row[place] + 1, row[place - 1] + 1)
            diagonal, row[place] = row[place], best
    return row[-1]


def disagreement(left: list[str], right: list[str]) -> float:
    errors = sum(word_errors(a.split(), b.split()) for a, b in zip(left, right, strict=True))
    return errors / max(1, sum(len(text.split()) for text in left))


def check(vosk, path: Path, model: Model, recordings) -> None:
    vosk.SetLogLevel(-1)
    theirs = vosk.Model(str(path))
    first = transcribe_with_vosk(vosk, theirs, recordings)
    itself = disagreement(first, transcribe_with_vosk(vosk, theirs, recordings))
    ours = transcribe(model, recordings)
    assert disagreement(first, ours) <= itself + ALLOWED_DIFFERENCE, (first, ours)


def test_english(vosk, models, recordings):
    check(vosk, models / "english", Model.load(models / "english", **RECIPE), recordings)
