"""Rate conversion of a stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio.rate import RateConverter


def tone(rate_hz: int, length_s: float = 1.0, amplitude: float = 10000.0) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * 300 * np.arange(int(rate_hz * length_s)) / rate_hz)).astype(
        np.float32
    )


def convert(pieces: list[NDArray[np.float32]], rate_hz: int, target_hz: int) -> NDArray[np.float32]:
    converter = RateConverter(target_hz)
    parts = [converter.convert(piece, rate_hz) for piece in pieces]
    return np.concatenate([*parts, converter.finish()])


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 44100, 48000, 96000])
def test_a_tone_stays_the_same_tone(rate_hz: int) -> None:
    result = convert([tone(rate_hz)], rate_hz, 16000)
    assert result.dtype == np.float32
    assert len(result) == 16000
    # At both ends the filter sees the silence around the tone.
    np.testing.assert_allclose(result[200:-200], tone(16000)[200:-200], atol=5)


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 8000), max_size=6), rate_hz=st.sampled_from([8000, 44100]))
def test_cutting_changes_nothing(cuts: list[int], rate_hz: int) -> None:
    whole = tone(rate_hz, 0.3)
    pieces = np.split(whole, sorted(cuts))
    np.testing.assert_array_equal(convert(pieces, rate_hz, 16000), convert([whole], rate_hz, 16000))


def test_the_same_rate_passes_unchanged() -> None:
    samples = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(convert([samples], 16000, 16000), samples)


def test_the_rate_of_the_first_piece_may_be_kept() -> None:
    converter = RateConverter(None)
    assert converter.rate_hz is None
    parts = [
        converter.convert(tone(8000, 0.5), 8000),
        converter.convert(tone(16000, 0.5), 16000),
        converter.finish(),
    ]
    assert converter.rate_hz == 8000
    assert len(np.concatenate(parts)) == 8000
    np.testing.assert_array_equal(parts[0], tone(8000, 0.5))


def test_the_rate_may_change_on_the_way() -> None:
    converter = RateConverter(16000)
    parts = [
        converter.convert(tone(8000, 0.5), 8000),
        converter.convert(tone(16000, 0.5), 16000),
        converter.convert(tone(48000, 0.5), 48000),
        converter.finish(),
    ]
    found = np.concatenate(parts)
    assert len(found) == 3 * 8000
    for begin in range(0, len(found), 8000):
        stretch = slice(begin + 500, begin + 7500)  # away from where the rates change
        np.testing.assert_allclose(found[stretch], tone(16000, 0.5)[500:7500], atol=5)


def test_result_is_clipped_to_16_bits() -> None:
    square = np.tile(np.repeat(np.array([32768, -32768], np.float32), 40), 50)
    result = convert([square], 8000, 16000)
    assert result.max() == 32767
    assert result.min() == -32768


def test_nothing_gives_nothing() -> None:
    assert len(convert([np.zeros(0, np.float32)], 8000, 16000)) == 0
    assert len(RateConverter(16000).finish()) == 0
