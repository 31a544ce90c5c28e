"""What tests of fleets share."""

import wave
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digits(golden: Path) -> bytes:
    """Samples of the sentence "two nine three four zero", S16LE at 16 kHz."""
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        return bytes(file.readframes(file.getnframes()))
