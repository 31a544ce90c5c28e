"""What tests of workers share."""

import wave
from pathlib import Path

import pytest

from pykaldi_server.session import Model

RECORDING = "ps-tidigits-2934z"  # "two nine three four zero"


@pytest.fixture(scope="module")
def digits(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


@pytest.fixture(scope="module")
def audio(golden: Path) -> bytes:
    """A recording of digits, 16 kHz S16LE."""
    with wave.open(str(golden / "wav" / f"{RECORDING}.wav")) as file:
        return bytes(file.readframes(file.getnframes()))
