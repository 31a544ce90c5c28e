"""MFCC and filter banks: Kaldi's numbers, any cut of the audio, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import AudioError, ConfigError, DecoderError
from pykaldi_server.kaldi.feat import FbankOptions, MfccOptions, OnlineFbank, OnlineMfcc
from pykaldi_server.kaldi.util.options import read_options

# Rounding in single precision; Kaldi uses another FFT.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def options(models: Path) -> MfccOptions:
    return read_options(MfccOptions, models / "english" / "conf" / "mfcc.conf")


def all_frames(feature: OnlineMfcc | OnlineFbank) -> np.ndarray:
    return feature.get_frames(0, feature.num_frames_ready())


@pytest.mark.parametrize("name", ["ps-librivox-0880", "ps-tidigits-2934z"])
def test_golden_features(golden: Path, options: MfccOptions, name: str) -> None:
    rate_hz, samples = read_wav(golden / "wav" / f"{name}.wav")
    feature = OnlineMfcc(options)
    for start in range(0, len(samples), 800):
        feature.accept_waveform(rate_hz, samples[start : start + 800])
    feature.input_finished()
    expected = np.load(golden / "digits" / "features.npz")[name]
    assert feature.is_last_frame(len(expected) - 1)
    assert np.abs(all_frames(feature) - expected).max() < TOLERANCE


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=30), rate_hz=st.sampled_from([8000, 16000]))
def test_the_cut_of_the_audio_does_not_matter(options: MfccOptions, cuts: list[int], rate_hz: int) -> None:
    samples = np.random.default_rng(1).normal(0, 1000, sum(cuts)).astype(np.float32)
    whole, pieces = OnlineMfcc(options), OnlineMfcc(options)
    whole.accept_waveform(rate_hz, samples)
    for piece in np.split(samples, np.cumsum(cuts)[:-1]):
        pieces.accept_waveform(rate_hz, piece)
    whole.input_finished()
    pieces.input_finished()
    assert np.array_equal(all_frames(whole), all_frames(pieces))


def test_bounded_history_forgets_old_frames(models: Path) -> None:
    options = read_options(MfccOptions, models / "english" / "conf" / "mfcc.conf")
    options.frame_opts.max_feature_vectors = 50
    feature = OnlineMfcc(options)
    for _ in range(100):
        feature.accept_waveform(16000, np.zeros(1600, np.float32))
    ready = feature.num_frames_ready()
    assert feature.get_frames(ready - 50, ready).shape == (50, 40)
    with pytest.raises(IndexError, match="are kept"):
        feature.get_frames(0, 1)


def test_dither_is_the_same_for_the_same_seed() -> None:
    samples = np.zeros(16000, np.float32)

    def features(seed: int) -> np.ndarray:
        feature = OnlineMfcc(MfccOptions(), seed)
        feature.accept_waveform(16000, samples)
        return all_frames(feature)

    assert np.array_equal(features(1), features(1))
    assert not np.array_equal(features(1), features(2))


def test_filter_bank_with_energy_has_one_more_dimension() -> None:
    options = FbankOptions(use_energy=True)
    options.frame_opts.dither = 0.0
    feature = OnlineFbank(options)
    feature.accept_waveform(16000, np.random.default_rng(0).normal(0, 100, 1600).astype(np.float32))
    feature.input_finished()
    assert feature.dim() == 24
    assert np.isfinite(all_frames(feature)).all()


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_a_window_gives_no_frame(options: MfccOptions, samples: int) -> None:
    feature = OnlineMfcc(options)
    feature.accept_waveform(16000, np.zeros(samples, np.float32))
    feature.input_finished()
    assert feature.num_frames_ready() == 0
    assert feature.is_last_frame(-1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(options: MfccOptions, value: float) -> None:
    with pytest.raises(AudioError, match="finite"):
        OnlineMfcc(options).accept_waveform(16000, np.array([0.0, value], np.float32))


def test_other_rates_need_permission() -> None:
    feature = OnlineMfcc(MfccOptions())
    with pytest.raises(AudioError, match="found 8000 Hz without --allow-upsample"):
        feature.accept_waveform(8000, np.zeros(10, np.float32))
    with pytest.raises(AudioError, match="found 48000 Hz without --allow-downsample"):
        feature.accept_waveform(48000, np.zeros(10, np.float32))


def test_the_rate_may_not_change(options: MfccOptions) -> None:
    feature = OnlineMfcc(options)
    feature.accept_waveform(16000, np.zeros(10, np.float32))
    with pytest.raises(AudioError, match="changed from 16000 to 8000"):
        feature.accept_waveform(8000, np.zeros(10, np.float32))


def test_nothing_after_the_end(options: MfccOptions) -> None:
    feature = OnlineMfcc(options)
    feature.input_finished()
    with pytest.raises(DecoderError, match="after input_finished"):
        feature.accept_waveform(16000, np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_ceps", 99),
        ("mel_opts.num_bins", 2),
        ("mel_opts.high_freq", 9000.0),
        ("mel_opts.low_freq", -1.0),
        ("frame_opts.frame_length_ms", 0.01),
        ("frame_opts.frame_shift_ms", 0.0),
        ("frame_opts.window_type", "round"),
        ("frame_opts.samp_freq", 0.0),
        ("frame_opts.dither", -1.0),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, value: float) -> None:
    options = MfccOptions()
    *path, field = name.split(".")
    owner = getattr(options, path[0]) if path else options
    setattr(owner, field, value)
    with pytest.raises(ConfigError, match="expected"):
        OnlineMfcc(options)
