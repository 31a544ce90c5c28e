"""A call of two people: each is on a channel of their own, and they speak at different times."""

import io
import wave
from pathlib import Path

import numpy as np
from golden_data import read_wav
from numpy.typing import NDArray

RATE_HZ = 16_000
CALLER, AGENT = "ps-librivox-0880", "ps-goforward"
CALLER_STARTS_S, AGENT_STARTS_S = 2.5, 0.75


def channels_of_call(golden: Path) -> list[NDArray[np.int16]]:
    """Samples of the channels, each of shape (n,), of one length."""
    spoken = []
    for name, start_s in ((CALLER, CALLER_STARTS_S), (AGENT, AGENT_STARTS_S)):
        _, samples = read_wav(golden / "wav" / f"{name}.wav")
        spoken.append(np.concatenate([quiet(start_s), samples.astype(np.int16)]))
    length = max(map(len, spoken)) + RATE_HZ // 2
    return [np.concatenate([each, quiet((length - len(each)) / RATE_HZ)]) for each in spoken]


def quiet(seconds: float) -> NDArray[np.int16]:
    """The noise of a quiet line."""
    noise = np.random.default_rng(7).normal(0.0, 4.0, round(seconds * RATE_HZ))
    return noise.astype(np.int16)


def wav_of(*channels: NDArray[np.int16]) -> bytes:
    """A WAV file with these channels."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(channels))
        writer.setsampwidth(2)
        writer.setframerate(RATE_HZ)
        writer.writeframes(np.stack(channels, axis=1).astype("<i2").tobytes())
    return file.getvalue()
