"""What clients of a load test speak, and what a server should show of it and when.

A recording is decoded once by the library, in the form in which a protocol carries it (rate, mu-law): its
words, and the time at which the sound of each ends. Results never depend on how audio is cut into packets, so
a server with the same model has to show exactly these words.
"""

import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.feat import LinearResample
from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

__all__ = ["Expected", "Form", "Recording", "expect", "join_recordings", "matched_words", "read_recordings"]

Samples = NDArray[np.int16]
PAUSE_S = 0.4
RESAMPLER_ZEROS = 6
MU_LAW_BIAS, MU_LAW_MAX = 132, 32635


@dataclass(frozen=True, eq=False)
class Recording:
    """Mono samples with a name."""

    name: str
    samples: Samples
    rate_hz: int

    @property
    def length_s(self) -> float:
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True)
class Form:
    """How a protocol carries audio: the rate, None for that of the recording, and the encoding."""

    rate_hz: int | None = None
    is_mu_law: bool = False

    @lru_cache(maxsize=1000)  # noqa: B019  forms are few and live as long as the program
    def encode(self, recording: Recording) -> tuple[bytes, int, int]:
        """Returns the bytes of a recording, its rate, and the bytes per sample."""
        rate_hz = self.rate_hz or recording.rate_hz
        samples = resampled(recording.samples, recording.rate_hz, rate_hz)
        if self.is_mu_law:
            return mu_law(samples), rate_hz, 1
        return samples.astype("<i2").tobytes(), rate_hz, 2

    def caps(self, rate_hz: int) -> str:
        """The content type of what `encode` returns."""
        encoding = "MULAW" if self.is_mu_law else "S16LE"
        return f"audio/x-raw, layout=interleaved, format={encoding}, channels=1, rate={rate_hz}"


@dataclass(frozen=True)
class Expected:
    """The words of a recording and the times in seconds at which their sounds end."""

    words: tuple[str, ...]
    ends_s: tuple[float, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read_recordings(paths: Iterable[Path]) -> list[Recording]:
    """Reads mono WAV files of 16 bits."""
    recordings = []
    for path in paths:
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise SystemExit(f"{path}: expected mono audio of 16 bits")
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            recordings.append(Recording(path.stem, samples, file.getframerate()))
    return recordings


def join_recordings(recordings: Sequence[Recording], length_s: float) -> list[Recording]:
    """Makes as many longer recordings as there are, of at least `length_s` each.

    Each begins with another one, goes on with those that follow it, and has pauses between them.
    """
    rate_hz = recordings[0].rate_hz
    usable = [each for each in recordings if each.rate_hz == rate_hz]
    pause = np.zeros(int(PAUSE_S * rate_hz), np.int16)
    joined = []
    for first in range(len(usable)):
        parts: list[Samples] = []
        following = first
        while sum(map(len, parts)) < length_s * rate_hz:
            parts += [usable[following % len(usable)].samples, pause]
            following += 1
        joined.append(Recording(usable[first].name, np.concatenate(parts), rate_hz))
    return joined


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Returns samples at another rate."""
    if from_hz == to_hz:
        return samples
    resampler = LinearResample(from_hz, to_hz, 0.99 * min(from_hz, to_hz) / 2, RESAMPLER_ZEROS)
    found = resampler.resample(samples.astype(np.float32), flush=True)
    return np.clip(np.round(found), -32768, 32767).astype(np.int16)


def mu_law(samples: Samples) -> bytes:
    """G.711: the sign, the exponent and four bits of the mantissa of the biased magnitude, all inverted."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), MU_LAW_MAX) + MU_LAW_BIAS
    exponent = np.frexp(magnitude)[1] - 8  # 132 = 0x84 is the least magnitude, with exponent 0
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()


def expect(model: Model, recording: Recording, form: Form) -> Expected:
    """Decodes a recording as the server gets it."""
    data, rate_hz, _ = form.encode(recording)
    events = transcribe(model, data, content_type=form.caps(rate_hz))
    words = [word for event in events if isinstance(event, Final) for word in event.words]
    if not words:
        raise SystemExit(
            f"{recording.name}: the model {model.name} finds no words in it, or has no word times"
        )
    return Expected(tuple(word.word for word in words), tuple(word.end_s for word in words))


@lru_cache(maxsize=100_000)
def matched_words(expected: tuple[str, ...], text: str) -> frozenset[int]:
    """Which of the expected words a text shows, by their positions.

    The text is a hypothesis of the beginning of the recording, so it is aligned, by least edit distance, with
    the beginning of the expected words that it fits best, the shortest one of several.
    """
    shown = text.split()
    columns = len(expected) + 1
    rows = [list(range(columns))]
    for i, word in enumerate(shown, 1):
        row = [i]
        for j in range(1, columns):
            cost = rows[-1][j - 1] + (word != expected[j - 1])
            row.append(min(cost, rows[-1][j] + 1, row[-1] + 1))
        rows.append(row)
    i, j = len(shown), min(range(columns), key=rows[-1].__getitem__)
    matched = set()
    while i and j:
        is_same = shown[i - 1] == expected[j - 1]
        if rows[i][j] == rows[i - 1][j - 1] + (not is_same):
            if is_same:
                matched.add(j - 1)
            i, j = i - 1, j - 1
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return frozenset(matched)
