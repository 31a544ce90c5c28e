"""Windows, spectra and mel filters: kaldi-native-fbank and the definitions as judges, and all kernels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import read_wav
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError
from pykaldi_server.kaldi._core import FrameComputer
from pykaldi_server.kaldi.feat import (
    FbankOptions,
    FrameExtractionOptions,
    MfccOptions,
    OnlineFbank,
    OnlineMfcc,
    OnlinePlp,
    PlpOptions,
    feature_window,
)
from pykaldi_server.kaldi.feat.feature_window import (
    WINDOW_TYPES,
    OnlineWindowedFeature,
    make_frame_computer,
)
from pykaldi_server.kaldi.feat.mel_computations import MelBanksOptions

Floats = NDArray[np.float32]

FRAME_NAMES = (
    *("samp_freq", "frame_shift_ms", "frame_length_ms", "preemph_coeff", "remove_dc_offset", "window_type"),
    *("round_to_power_of_two", "blackman_coeff", "snip_edges"),
)
MEL_NAMES = ("num_bins", "low_freq", "high_freq")
MFCC_NAMES = ("num_ceps", "use_energy", "energy_floor", "raw_energy", "cepstral_lifter", "htk_compat")
FBANK_NAMES = ("use_energy", "energy_floor", "raw_energy", "htk_compat", "use_log_fbank", "use_power")


@pytest.fixture(scope="module")
def speech(golden: Path) -> Floats:
    return read_wav(golden / "wav" / "ps-librivox-0880.wav")[1].astype(np.float32)


def options(cls: type[MfccOptions] | type[FbankOptions], changes: dict[str, Any]) -> Any:
    """Defaults without dither; names of frame and mel options go there."""
    opts = cls()
    opts.frame_opts.dither = 0.0
    for name, value in changes.items():
        owner = next(each for each in (opts, opts.frame_opts, opts.mel_opts) if hasattr(each, name))
        setattr(owner, name, value)
    return opts


def computed(feature: OnlineWindowedFeature, rate_hz: float, samples: Floats, step: int = 800) -> Floats:
    for begin in range(0, len(samples), step):
        feature.accept_waveform(rate_hz, samples[begin : begin + step])
    feature.input_finished()
    return feature.get_frames(0, feature.num_frames_ready())


def judged(opts: Any, samples: Floats) -> Floats:
    """What kaldi-native-fbank computes."""
    knf = pytest.importorskip("kaldi_native_fbank")
    is_mfcc = isinstance(opts, MfccOptions)
    native = knf.MfccOptions() if is_mfcc else knf.FbankOptions()
    for owner, source, names in (
        (native, opts, MFCC_NAMES if is_mfcc else FBANK_NAMES),
        (native.frame_opts, opts.frame_opts, FRAME_NAMES),
        (native.mel_opts, opts.mel_opts, MEL_NAMES),
    ):
        for name in names:
            setattr(owner, name, getattr(source, name))
    native.frame_opts.dither = 0.0
    feature = knf.OnlineMfcc(native) if is_mfcc else knf.OnlineFbank(native)
    feature.accept_waveform(opts.frame_opts.samp_freq, samples.tolist())
    feature.input_finished()
    return np.array([feature.get_frame(frame) for frame in range(feature.num_frames_ready)], np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_ceps": 40, "num_bins": 40, "high_freq": -400.0, "use_energy": False},
        {"raw_energy": False, "energy_floor": 1e7},
        {"htk_compat": True},
        {"htk_compat": True, "use_energy": False},
        {"cepstral_lifter": 0.0, "samp_freq": 8000.0},
        {"cepstral_lifter": 1e-320},  # 0 in single precision
        {"snip_edges": False},
        {"snip_edges": False, "frame_shift_ms": 40.0},
        {"snip_edges": False, "frame_shift_ms": 5.0, "frame_length_ms": 100.0},
        {"frame_shift_ms": 40.0},
        {"round_to_power_of_two": False},  # 400 = 2 * 4 * 2 * 5 * 5
        {"round_to_power_of_two": False, "frame_length_ms": 32.5},  # 520 = 2 * 4 * 5 * 13
        {"round_to_power_of_two": False, "frame_length_ms": 16.125, "num_bins": 15},  # 258 = 2 * 3 * 43
        {"frame_length_ms": 8.0, "num_bins": 10, "num_ceps": 9},  # a radix of 2 besides those of 4
        *({"window_type": name} for name in WINDOW_TYPES),
    ],
)
def test_mfcc_equals_the_judge(speech: Floats, changes: dict[str, Any]) -> None:
    opts = options(MfccOptions, changes)
    expected = judged(opts, speech)
    result = computed(OnlineMfcc(opts), opts.frame_opts.samp_freq, speech)
    # Both are single precision; coefficients are up to 100.
    np.testing.assert_allclose(result, expected, atol=1e-3)
    assert np.abs(result - expected).mean() < 5e-5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_energy": True, "num_bins": 80},
        {"use_energy": True, "htk_compat": True, "raw_energy": False},
        {"use_power": False},
        {"use_log_fbank": False},
        {"remove_dc_offset": False, "preemph_coeff": 0.0, "low_freq": 0.0, "high_freq": 3000.0},
    ],
)
def test_filter_banks_equal_the_judge(speech: Floats, changes: dict[str, Any]) -> None:
    opts = options(FbankOptions, changes)
    expected = judged(opts, speech)
    result = computed(OnlineFbank(opts), opts.frame_opts.samp_freq, speech)
    # Energies (up to 1e11) in proportion to the largest one of the frame.
    scale = 1 if opts.use_log_fbank else expected.max(axis=1, keepdims=True)
    np.testing.assert_allclose(result / scale, expected / scale, atol=1e-3)


@pytest.mark.parametrize("num_samples", [1, 79, 80, 100, 159, 240, 400, 401, 561])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_short_audio_equals_the_judge(speech: Floats, num_samples: int, snip_edges: bool) -> None:
    """Windows see short audio mirrored at both ends, more than once if needed."""
    opts = options(MfccOptions, {"snip_edges": snip_edges})
    samples = speech[8000 : 8000 + num_samples]
    expected = judged(opts, samples).reshape(-1, 13)
    np.testing.assert_allclose(computed(OnlineMfcc(opts), 16000, samples, 37), expected, atol=1e-3)


def test_silence_has_the_lowest_energy() -> None:
    opts = options(FbankOptions, {"use_energy": True})
    np.testing.assert_allclose(
        computed(OnlineFbank(opts), 16000, np.zeros(1600, np.float32)), np.log(np.finfo(np.float32).eps)
    )


def test_dither_has_its_standard_deviation_and_does_not_depend_on_cuts() -> None:
    """Through more audio than there is noise, which begins again."""
    opts = options(FbankOptions, {"use_energy": True, "dither": 3.0, "remove_dc_offset": False})
    silence = np.zeros(40 * 16000, np.float32)
    result = computed(OnlineFbank(opts), 16000, silence, 8000)
    # 400 samples: the energies' standard deviation is 0.07 of the mean.
    np.testing.assert_allclose(np.exp(result[:, 0]).mean(), 400 * 3.0**2, rtol=0.01)
    assert 0.06 < np.exp(result[:, 0]).std() / (400 * 3.0**2) < 0.08
    np.testing.assert_array_equal(computed(OnlineFbank(opts), 16000, silence, 7919), result)
    np.testing.assert_array_equal(computed(OnlineFbank(opts), 16000, silence, len(silence)), result)


# The kernels


def computer(kernels: str | None = None, use_log: bool = True, **changes: Any) -> FrameComputer:
    frame_opts = FrameExtractionOptions(**changes)
    return make_frame_computer(
        frame_opts, MelBanksOptions(num_bins=23), raw_energy=True, use_log=use_log, kernels=kernels
    )


@pytest.mark.parametrize("changes", [{}, {"round_to_power_of_two": False}, {"frame_length_ms": 64.0}])
def test_all_kernels_compute_the_same(speech: Floats, kernels: str, changes: dict[str, Any]) -> None:
    expected, found = (computer(name, **changes).compute(speech, 50) for name in ("baseline", kernels))
    for theirs, ours in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_company_of_other_windows_does_not_matter(speech: Floats, kernels: str) -> None:
    whole, _ = computer(kernels).compute(speech, 40)
    for num_frames in range(1, 18):
        part, _ = computer(kernels).compute(speech[160 * 7 :], num_frames)
        np.testing.assert_array_equal(part, whole[7 : 7 + num_frames])


@pytest.mark.parametrize("frame_length_ms", [4.125, 16.125, 20.0, 25.0, 30.625])
def test_spectra_equal_those_of_numpy(speech: Floats, kernels: str, frame_length_ms: float) -> None:
    """One filter for each bin shows the power spectrum itself."""
    size = int(16 * frame_length_ms)
    bins = np.arange(size // 2, dtype=np.int32)
    window = np.hanning(size).astype(np.float32)
    power = FrameComputer(
        window=window,
        padded_size=size,
        frame_shift=160,
        remove_dc_offset=False,
        preemph_coeff=0.0,
        raw_energy=False,
        use_power=True,
        filter_begins=bins,
        filter_ends=bins + 1,
        filter_weights=np.ones(len(bins), np.float32),
        use_log=False,
        kernels=kernels,
    )
    features, energies = power.compute(speech, 20)
    frames = np.lib.stride_tricks.sliding_window_view(speech, size)[: 20 * 160 : 160] * window
    expected = np.abs(np.fft.rfft(frames.astype(np.float64)))[:, : size // 2] ** 2
    largest = expected.max(axis=1, keepdims=True)
    np.testing.assert_allclose(features / largest, expected / largest, atol=1e-5)
    np.testing.assert_allclose(energies, np.square(frames, dtype=np.float64).sum(axis=1), rtol=1e-5)


def test_logarithms_are_exact_to_the_last_bits() -> None:
    """One window of one sample and one filter: the feature is the logarithm of what the sample gives."""
    values = np.geomspace(1e-6, 1e18, 20000).astype(np.float32)
    log = FrameComputer(
        window=np.ones(1, np.float32),
        padded_size=2,
        frame_shift=1,
        remove_dc_offset=False,
        preemph_coeff=0.0,
        raw_energy=False,
        use_power=True,
        filter_begins=np.zeros(1, np.int32),
        filter_ends=np.ones(1, np.int32),
        filter_weights=np.ones(1, np.float32),
        use_log=True,
    )
    features, _ = log.compute(values, len(values))
    squares = np.maximum((values * values).astype(np.float64), np.finfo(np.float32).eps)
    np.testing.assert_allclose(features[:, 0], np.log(squares), rtol=3e-7, atol=1e-7)


# Streams that share tables


@pytest.mark.parametrize("kind", [OnlineMfcc, OnlinePlp, OnlineFbank])
def test_a_new_stream_is_one_that_was_made_afresh(
    kind: type[OnlineMfcc | OnlinePlp | OnlineFbank], speech: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    opts: Any = {OnlineMfcc: MfccOptions, OnlinePlp: PlpOptions, OnlineFbank: FbankOptions}[kind]()
    opts.frame_opts.allow_downsample = True
    first, fresh = kind(opts), kind(opts, dither_seed=3)
    first.accept_waveform(22050, speech[:5000])
    first.input_finished()
    frames = first.get_frames(0, first.num_frames_ready())
    monkeypatch.setattr(feature_window, "make_frame_computer", None)  # no tables any more
    new = first.new(dither_seed=3)
    assert new.num_frames_ready() == 0
    np.testing.assert_array_equal(computed(new, 16000, speech), computed(fresh, 16000, speech))
    np.testing.assert_array_equal(first.get_frames(0, first.num_frames_ready()), frames)


# Refusals


def test_samples_whose_energies_overflow_are_refused() -> None:
    loud = np.full(1600, 1e30, np.float32) * np.resize(np.array([1, -1], np.float32), 1600)
    for feature in (OnlineMfcc(options(MfccOptions, {})), OnlineFbank(options(FbankOptions, {}))):
        with pytest.raises(AudioError, match="expected samples in the range of 16-bit integers"):
            feature.accept_waveform(16000, loud)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_bins": 400}, "num-mel-bins: expected filters that are wider than 31.25 Hz"),
        ({"round_to_power_of_two": False, "frame_length_ms": 25.0625}, "even number of samples, found 401"),
        (
            {"round_to_power_of_two": False, "frame_length_ms": 1250.9},
            "prime factors above 4096, found 20014",
        ),
        ({"frame_length_ms": 9000.0, "samp_freq": 700000.0}, "frame-length: expected 2 to 1048576 samples"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        OnlineMfcc(options(MfccOptions, changes))
