"""PLP against Kaldi's output for one frame, and against another way to compute it for all."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi._core import plp_cepstra
from pykaldi_server.kaldi.feat import FrameExtractionOptions, MelBanksOptions, OnlinePlp, PlpOptions


def options(**changes: object) -> PlpOptions:
    """Kaldi's defaults without dither; names of frame options go there."""
    frame_opts = FrameExtractionOptions(dither=0.0)
    opts = PlpOptions(frame_opts=frame_opts)
    for name, value in changes.items():
        setattr(frame_opts if hasattr(frame_opts, name) else opts, name, value)
    return opts


def compute(
    opts: PlpOptions, samples: NDArray[np.float32], piece_samples: int = 1 << 30
) -> NDArray[np.float32]:
    feature = OnlinePlp(opts)
    for begin in range(0, len(samples), piece_samples):
        feature.accept_waveform(16000, samples[begin : begin + piece_samples])
    feature.input_finished()
    return feature.get_frames(0, feature.num_frames_ready())


@pytest.fixture(scope="module")
def speech(golden: Path) -> NDArray[np.float32]:
    with wave.open(str(golden / "wav" / "ps-librivox-0880.wav")) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2").astype(np.float32)


# An independent implementation: double precision, one frame at a time, other algorithms for each step.


def mel_filters(mel_opts: MelBanksOptions) -> NDArray[np.float64]:
    """(bins, 257) triangles on the mel scale."""

    def mel(hz: NDArray[np.floating] | float) -> NDArray[np.float64]:
        return 1127 * np.log(1 + np.asarray(hz) / 700)

    points = mel(np.arange(257) * 31.25)
    edges = np.linspace(mel(mel_opts.low_freq), mel(8000 + mel_opts.high_freq), mel_opts.num_bins + 2)
    return np.array([np.interp(points, edges[b : b + 3], [0, 1, 0]) for b in range(mel_opts.num_bins)])


def plp_of_power(power: NDArray[np.float64], opts: PlpOptions) -> NDArray[np.float64]:
    """Cepstra of one frame, c_0 (log of the energy left over) first, from its power spectrum (257,)."""
    bins = opts.mel_opts.num_bins
    high_hz = 8000 + opts.mel_opts.high_freq
    low_mel, high_mel = (np.log(1 + hz / 700) for hz in (opts.mel_opts.low_freq, high_hz))
    center_hz = 700 * (np.exp(low_mel + (high_mel - low_mel) * np.arange(1, bins + 1) / (bins + 1)) - 1)
    squared = center_hz**2
    sensitivity = (squared / (squared + 1.6e5)) ** 2 * (squared + 1.44e6) / (squared + 9.61e6)
    loudness = (mel_filters(opts.mel_opts) @ power * sensitivity) ** opts.compress_factor
    spectrum = np.concatenate([loudness[:1], loudness, loudness[-1:]])
    autocorrelation = np.fft.irfft(spectrum)[: opts.lpc_order + 1]
    toeplitz = autocorrelation[
        np.abs(np.subtract.outer(np.arange(opts.lpc_order), np.arange(opts.lpc_order)))
    ]
    predictor = np.linalg.solve(toeplitz, autocorrelation[1:])
    left_over = autocorrelation[0] - predictor @ autocorrelation[1:]
    # The cepstrum is the inverse transform of the logarithm of 1 / |A|, causal part doubled.
    log_response = -np.log(np.abs(np.fft.rfft(np.concatenate([[1], -predictor]), 8192)))
    cepstrum = 2 * np.fft.irfft(log_response)[1 : opts.num_ceps]
    features = np.concatenate([[max(np.log(left_over), 0)], cepstrum])
    if opts.cepstral_lifter:
        lifter = opts.cepstral_lifter
        features *= 1 + lifter / 2 * np.sin(np.pi * np.arange(opts.num_ceps) / lifter)
    return features * opts.cepstral_scale


def plp_by_definition(samples: NDArray[np.float32], opts: PlpOptions) -> NDArray[np.float64]:
    """All frames, for the Povey window of 25 ms every 10 ms at 16 kHz, snip-edges."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    rows = []
    for begin in range(0, len(samples) - 399, 160):
        frame = samples[begin : begin + 400].astype(np.float64)
        frame -= frame.mean()
        raw_energy = np.log(frame @ frame)
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        frame *= window
        row = plp_of_power(np.abs(np.fft.rfft(frame, 512)) ** 2, opts)
        if opts.use_energy:
            row[0] = raw_energy if opts.raw_energy else np.log(frame @ frame)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_energy": False},
        {"raw_energy": False},
        {"lpc_order": 20, "num_ceps": 17, "cepstral_lifter": 0, "cepstral_scale": 0.5},
        {"compress_factor": 0.5, "mel_opts": MelBanksOptions(num_bins=40, low_freq=100.0, high_freq=-500.0)},
    ],
)
def test_equals_the_definition(speech: NDArray[np.float32], changes: dict[str, Any]) -> None:
    opts = options(**changes)
    result = compute(opts, speech)
    expected = plp_by_definition(speech, opts)
    assert result.dtype == np.float32
    # Single precision in the filter bank and in Durbin's recursion, coefficients up to 10.
    np.testing.assert_allclose(result, expected, atol=1e-3)
    assert np.abs(result - expected).mean() < 1e-4


def test_equals_kaldi(data: Path) -> None:
    power = np.exp(np.fromstring((data / "spectrogram_frame.txt").read_text(), sep=" "))
    expected = np.fromstring((data / "plp_frame.txt").read_text(), sep=" ")
    definition = plp_of_power(np.concatenate([[0], power]), options())
    # The definition above is what Kaldi computes, to the digits that Kaldi prints.
    np.testing.assert_allclose(definition[1:], expected[1:], atol=1e-4)


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(__file__).resolve().parents[2] / "data" / "kaldifeat"


def test_htk_order_puts_the_energy_last(speech: NDArray[np.float32]) -> None:
    plain = compute(options(), speech)
    np.testing.assert_array_equal(compute(options(htk_compat=True), speech), np.roll(plain, -1, axis=1))


def test_cutting_changes_nothing(speech: NDArray[np.float32]) -> None:
    opts = options(snip_edges=False)
    whole = compute(opts, speech)
    assert len(whole) == round(len(speech) / 160)
    np.testing.assert_array_equal(compute(opts, speech, 777), whole)


def test_frames_come_as_soon_as_they_can(speech: NDArray[np.float32]) -> None:
    feature = OnlinePlp(options())
    assert (feature.dim(), feature.num_frames_ready(), feature.is_last_frame(-1)) == (13, 0, False)
    feature.accept_waveform(16000, speech[:399])
    assert feature.num_frames_ready() == 0
    feature.accept_waveform(16000, speech[399:561])
    assert feature.num_frames_ready() == 2
    feature.input_finished()
    assert feature.is_last_frame(1)
    assert feature.frame_shift_in_seconds() == 0.01


def test_resamples_when_allowed(speech: NDArray[np.float32]) -> None:
    feature = OnlinePlp(options(allow_upsample=True))
    feature.accept_waveform(8000, speech[::2])
    feature.input_finished()
    assert abs(feature.num_frames_ready() - (len(speech) - 400) // 160) <= 1


def test_digital_silence_is_finite() -> None:
    silence = np.zeros(1600, np.float32)
    # Kaldi: log of the smallest float that its energy may be, with and without the filter bank's own floor.
    for changes, energy in (
        ({}, np.log(np.finfo(np.float32).eps)),
        ({"raw_energy": False}, np.log(np.finfo(np.float32).tiny)),
        ({"use_energy": False}, 0.0),
        ({"energy_floor": 1.0}, 0.0),
        ({"energy_floor": 1.0, "raw_energy": False}, 0.0),
    ):
        result = compute(options(**changes), silence)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result[:, 0], energy, atol=1e-4)
        np.testing.assert_array_equal(result[:, 1:], 0)


def cepstra_of(autocorrelation: NDArray[np.float32]) -> NDArray[np.float32]:
    """What `plp_cepstra` computes from one frame whose autocorrelation is given."""
    # One filter, whose output is repeated on both sides.
    bases = np.zeros((len(autocorrelation), 3), np.float32)
    bases[:, 1] = autocorrelation
    one = np.ones(1, np.float32)
    cepstra: NDArray[np.float32] = plp_cepstra(one[np.newaxis], one, 1.0, bases)[0]
    return cepstra


@pytest.mark.parametrize("order", [1, 2, 7, 8])
def test_the_prediction_solves_the_normal_equations(order: int) -> None:
    spectrum = np.random.default_rng(order).uniform(0.1, 1, 33)
    autocorrelation = 100 * np.fft.irfft(spectrum)[: order + 1]
    toeplitz = autocorrelation[np.abs(np.subtract.outer(np.arange(order), np.arange(order)))]
    predictor = np.linalg.solve(toeplitz, autocorrelation[1:])
    log_response = -np.log(np.abs(np.fft.rfft(np.concatenate([[1], -predictor]), 8192)))
    log_energy, *cepstrum = cepstra_of(autocorrelation.astype(np.float32))
    np.testing.assert_allclose(
        log_energy, np.log(autocorrelation[0] - predictor @ autocorrelation[1:]), rtol=1e-5
    )
    np.testing.assert_allclose(cepstrum, 2 * np.fft.irfft(log_response)[1 : order + 1], atol=1e-5)


def test_cepstrum_of_one_pole() -> None:
    # 1 / (1 - p z^-1) has the autocorrelation p^n and the cepstrum p^n / n; what it leaves is 1 - p^2.
    powers = 0.8 ** np.arange(7)
    log_energy, *cepstrum = cepstra_of((1000 * powers).astype(np.float32))
    np.testing.assert_allclose(log_energy, np.log(1000 * (1 - 0.8**2)), rtol=1e-5)
    np.testing.assert_allclose(cepstrum, powers[1:] / np.arange(1, 7), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lpc_order": 0}, "lpc-order: expected 1 to"),
        ({"num_ceps": 14}, r"num-ceps: expected 1 to lpc-order \+ 1 \(13\), found 14"),
        ({"num_ceps": 0}, "num-ceps: expected"),
        ({"compress_factor": 0.0}, "compress-factor: expected above 0"),
        ({"cepstral_lifter": -1}, "expected at least 0"),
        ({"mel_opts": MelBanksOptions(num_bins=2)}, "num-mel-bins"),
    ],
)
def test_senseless_options(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        OnlinePlp(options(**changes))
