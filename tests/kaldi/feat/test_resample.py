"""LinearResample against its formula, sample by sample, and against itself cut in other ways."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError
from pykaldi_server.kaldi.feat.resample import ArbitraryResample, LinearResample

RATES = [
    (8000, 16000),
    (16000, 8000),
    (44100, 16000),
    (48000, 16000),
    (11025, 16000),
    (16000, 4000),
    (7999, 8000),
]


def resample_by_definition(
    x: NDArray[np.float32], rate_in_hz: int, rate_out_hz: int, cutoff_hz: float, num_zeros: int
) -> NDArray[np.float64]:
    """The formula at the top of resample.py, one output sample at a time, in double precision."""
    width_s = num_zeros / (2 * cutoff_hz)
    result = []
    for k in range(math.ceil(len(x) * rate_out_hz / rate_in_hz)):
        total = 0.0
        for n in range(len(x)):
            t = k / rate_out_hz - n / rate_in_hz
            if abs(t) < width_s:
                hann = (1 + math.cos(2 * math.pi * cutoff_hz * t / num_zeros)) / 2
                sinc = 2 * cutoff_hz if t == 0 else math.sin(2 * math.pi * cutoff_hz * t) / (math.pi * t)
                total += float(x[n]) * sinc * hann
        result.append(total / rate_in_hz)
    return np.array(result)


def make_resampler(rate_in_hz: int, rate_out_hz: int, num_zeros: int = 6) -> LinearResample:
    """A resampler with the cutoff and zeros of Kaldi's online features (feat/online-feature.cc)."""
    return LinearResample(rate_in_hz, rate_out_hz, min(rate_in_hz, rate_out_hz) / 2, num_zeros)


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), RATES)
@pytest.mark.parametrize("num_zeros", [1, 6])
def test_equals_the_formula(rate_in_hz: int, rate_out_hz: int, num_zeros: int) -> None:
    x = np.random.default_rng(1).normal(0, 3000, 300).astype(np.float32)
    expected = resample_by_definition(x, rate_in_hz, rate_out_hz, min(rate_in_hz, rate_out_hz) / 2, num_zeros)
    result = make_resampler(rate_in_hz, rate_out_hz, num_zeros).resample(x, flush=True)
    assert result.dtype == np.float32
    # Taps and sums are single precision, values about 1e4.
    np.testing.assert_allclose(result, expected, atol=0.02)


@settings(deadline=None, max_examples=60)
@given(
    rates=st.sampled_from(RATES),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    flush_with_samples=st.booleans(),
)
def test_cutting_the_input_changes_nothing(
    rates: tuple[int, int], cuts: list[int], flush_with_samples: bool
) -> None:
    x = np.random.default_rng(2).normal(0, 3000, 2000).astype(np.float32)
    whole = make_resampler(*rates).resample(x, flush=True)
    resampler = make_resampler(*rates)
    pieces = np.split(x, sorted(cuts))
    parts = [resampler.resample(piece) for piece in pieces[:-1]]
    parts += [resampler.resample(pieces[-1], flush=flush_with_samples)]
    if not flush_with_samples:
        parts.append(resampler.resample([], flush=True))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_output_waits_for_the_filter() -> None:
    # At 8 -> 16 kHz, cutoff 4 kHz, 6 zeros, the filter reaches 0.75 ms ahead: 12 output samples.
    resampler = make_resampler(8000, 16000)
    assert len(resampler.resample(np.ones(6, np.float32))) == 0
    assert len(resampler.resample(np.ones(1, np.float32))) == 2
    assert len(resampler.resample(np.ones(93, np.float32))) == 200 - 12 - 2
    assert len(resampler.resample([], flush=True)) == 12
    assert len(resampler.resample(np.ones(100, np.float32), flush=True)) == 200, "a flush starts a new stream"


def test_keeps_a_tone() -> None:
    t = np.arange(8000) / 8000
    result = make_resampler(8000, 16000).resample(np.sin(2 * np.pi * 440 * t), flush=True)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    # A sinc of six zeros leaves a ripple of about one per cent; the ends miss the neighbours of the tone.
    np.testing.assert_allclose(result[100:-100], expected[100:-100], atol=0.01)


def test_long_input_in_one_piece_equals_many() -> None:
    x = np.random.default_rng(3).normal(0, 3000, 30000).astype(np.float32)
    resampler = make_resampler(8000, 16000)
    parts = [resampler.resample(x[i : i + 400]) for i in range(0, len(x), 400)]
    parts.append(resampler.resample([], flush=True))
    np.testing.assert_array_equal(make_resampler(8000, 16000).resample(x, flush=True), np.concatenate(parts))


def test_reset_forgets() -> None:
    resampler = make_resampler(8000, 16000)
    x = np.arange(100, dtype=np.float32)
    fresh = resampler.resample(x, flush=True)
    resampler.resample(np.full(50, 9e3, np.float32))
    resampler.reset()
    np.testing.assert_array_equal(resampler.resample(x, flush=True), fresh)


def test_empty_input_gives_empty_output() -> None:
    assert make_resampler(44100, 16000).resample([], flush=True).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 16000, 4000.0, 6), "rates above 0"),
        ((8000, -1, 4000.0, 6), "rates above 0"),
        ((8000, 16000, 4000.1, 6), "up to 4000 Hz"),
        ((8000, 16000, 0.0, 6), "cutoff above 0"),
        ((8000, 16000, 4000.0, 0), "num_zeros"),
    ],
)
def test_refuses_senseless_settings(arguments: tuple[int, int, float, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        LinearResample(*arguments)


def test_refuses_a_matrix() -> None:
    with pytest.raises(AudioError, match=r"\(2, 3\)"):
        make_resampler(8000, 16000).resample(np.zeros((2, 3), np.float32))


def test_arbitrary_times_equal_even_ones() -> None:
    x = np.random.default_rng(5).normal(0, 3000, (3, 200)).astype(np.float32)
    even = np.array([make_resampler(8000, 16000).resample(row, flush=True) for row in x])
    times_s = np.arange(400) / 16000
    result = ArbitraryResample(200, 8000, 4000, times_s.astype(np.float32), 6).resample(x)
    # Times in single precision are off by up to a nanosecond.
    np.testing.assert_allclose(result, even, atol=1.0)


@pytest.mark.parametrize("arguments", [(0, 8000, 4000, 6), (10, 8000, 4001, 6), (10, 8000, 4000, 0)])
def test_arbitrary_resampling_refuses_senseless_settings(arguments: tuple[int, int, int, int]) -> None:
    num_samples, rate_hz, cutoff_hz, num_zeros = arguments
    with pytest.raises(ConfigError, match="resampling"):
        ArbitraryResample(num_samples, rate_hz, cutoff_hz, np.zeros(1, np.float32), num_zeros)
