"""Speech to encode, and the encoder."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audio_files import Encoding, encode, has_encoder
from numpy.typing import NDArray

Encoder = Callable[..., bytes]


@pytest.fixture(scope="session")
def speech(golden: Path) -> NDArray[np.int16]:
    """A recording of 3 s, 16 kHz."""
    with wave.open(str(golden / "wav" / "ps-librivox-0880.wav")) as reader:
        assert reader.getparams()[:3] == (1, 2, 16000)
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Recordings on which servers of this kind went wrong."""
    return Path(__file__).resolve().parent.parent / "data" / "cases"


@pytest.fixture(name="encode", scope="session")
def fixture_encode() -> Encoder:
    """Encodes samples into a container, see `Encoding`; the test is skipped where there is no encoder."""

    def encode_or_skip(
        samples: NDArray[np.int16],
        container: str,
        codec: str,
        rate_hz: int = 16000,
        layout: str = "mono",
        options: dict[str, str] | None = None,
        bit_rate_bps: int | None = None,
    ) -> bytes:
        if not has_encoder(codec):
            pytest.skip(f"this FFmpeg has no encoder {codec}")
        return encode(samples, Encoding(container, codec, rate_hz, layout, options or {}, bit_rate_bps))

    return encode_or_skip
