"""What tests of faults share."""

import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from network import Network, need_network


@pytest.fixture(scope="session")
def digits(golden: Path) -> bytes:
    """Samples of the sentence "two nine three four zero", S16LE at 16 kHz."""
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        return bytes(file.readframes(file.getnframes()))


@pytest.fixture
def network() -> Iterator[Network]:
    network = need_network()
    try:
        yield network
    finally:
        network.remove()
