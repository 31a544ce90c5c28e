"""Perceptual linear prediction (``feat/feature-plp.cc``; H. Hermansky, JASA 87 (1990), p. 1738).

Concept: the spectrum as the ear hears it, described by an all-pole model, as cepstral coefficients. For
each window

    m    mel filter-bank energies of the power spectrum (kaldi-native-fbank)
    e    (equal-loudness curve times m) to the power 0.33333: from intensity to loudness
    r    inverse cosine transform of e with its first and last value repeated: an autocorrelation
    a    linear prediction coefficients of r, by Durbin's recursion; E is the energy left unpredicted
    c    cepstrum of 1 / (1 - a) times the lifter 1 + Q/2 sin(pi i / Q); c_0 is log E or the log energy

Terms: the lifter (Q = ``cepstral-lifter``) evens out the scale of the coefficients. Kaldi limits log E to the
smallest positive float, which is practically 0, and so do we. In windows without any energy, where Kaldi
divides 0 by 0, the coefficients are 0 here.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.mfcc import (
    FbankOptions,
    FrameExtractionOptions,
    MelBanksOptions,
    OnlineFbank,
    OnlineWindowedFeature,
    mel_banks_of_features,
)
from pykaldi_server.kaldi.feat.online_feature import FloatFrames
from pykaldi_server.kaldi.util.finite import require_finite, require_finite_options
from pykaldi_server.kaldi.util.options import Options, group, option

__all__ = [
    "MAX_LPC_ORDER",
    "OnlinePlp",
    "PlpOptions",
    "durbin",
    "lpc_to_cepstrum",
]

MAX_LPC_ORDER = 1024
_SMALLEST = np.finfo(np.float32).tiny
# A window of digital silence has this log energy in filter-bank features, but log(_SMALLEST) in PLP.
_FBANK_LOG_ENERGY_FLOOR = np.log(np.finfo(np.float32).eps)


@dataclass
class PlpOptions(Options):
    """Perceptual linear prediction cepstra."""

    frame_opts: FrameExtractionOptions = group(FrameExtractionOptions, prefix="")
    mel_opts: MelBanksOptions = group(mel_banks_of_features, prefix="")
    lpc_order: int = option(12, "Order of the linear prediction; larger keeps more detail of the spectrum.")
    num_ceps: int = option(13, "Number of cepstral coefficients, including the first.")
    use_energy: bool = option(True, "Replace the first coefficient with the log energy.")
    energy_floor: float = option(0.0, "Lower limit of the energy (absolute); 0 for none.")
    raw_energy: bool = option(True, "Compute the energy before pre-emphasis and windowing.")
    compress_factor: float = option(
        0.33333, "Exponent that converts intensity to loudness; smaller compresses more."
    )
    cepstral_lifter: int = option(
        22, "Lifter constant; larger values amplify higher coefficients; 0 for none."
    )
    cepstral_scale: float = option(1.0, "Scale of all coefficients except the energy.")
    htk_compat: bool = option(False, "Put the energy or first coefficient last, as HTK does.")

    def validate(self) -> None:
        self.frame_opts.validate()
        self.mel_opts.validate_for(self.frame_opts.samp_freq)
        require_finite_options(self)
        if not 1 <= self.lpc_order <= MAX_LPC_ORDER:
            raise ConfigError(f"lpc-order: expected 1 to {MAX_LPC_ORDER}, found {self.lpc_order}")
        if not 1 <= self.num_ceps <= self.lpc_order + 1:
            raise ConfigError(
                f"num-ceps: expected 1 to lpc-order + 1 ({self.lpc_order + 1}), found {self.num_ceps}"
            )
        if not 0 < self.compress_factor <= 1:
            raise ConfigError(f"compress-factor: expected above 0 and up to 1, found {self.compress_factor}")
        if self.energy_floor < 0 or self.cepstral_lifter < 0:
            raise ConfigError(
                "energy-floor, cepstral-lifter: expected at least 0, "
                f"found {self.energy_floor}, {self.cepstral_lifter}"
            )


class OnlinePlp(OnlineWindowedFeature):
    """PLP of a stream of samples."""

    def __init__(self, opts: PlpOptions, dither_seed: int = 0):
        """``dither_seed`` makes the noise that ``dither`` requests reproducible.

        Raises:
            ConfigError: an option is invalid.
        """
        opts.validate()
        super().__init__(opts.frame_opts, opts.num_ceps, dither_seed)
        self._opts = opts
        # The base class resamples and dithers; this one only filters, and keeps no history.
        self._mel_energies = OnlineFbank(
            FbankOptions(
                frame_opts=replace(opts.frame_opts, dither=0.0, max_feature_vectors=0),
                mel_opts=opts.mel_opts,
                use_energy=opts.use_energy,
                energy_floor=opts.energy_floor,
                raw_energy=opts.raw_energy,
                use_log_fbank=False,
            )
        )
        self._num_computed = 0
        self._equal_loudness = _equal_loudness(_center_frequencies_hz(opts))
        self._idft_bases = _idft_bases(opts.lpc_order + 1, opts.mel_opts.num_bins + 2)
        lifter = _lifter(opts.cepstral_lifter, opts.num_ceps)
        try:
            self._scale = require_finite(lifter * opts.cepstral_scale, "their product", np.float32)
        except ValueError as error:
            raise ConfigError(
                f"cepstral-lifter, cepstral-scale: expected a finite product, found {error}"
            ) from None

    def _compute(self, waveform: NDArray[np.float32]) -> FloatFrames:
        self._mel_energies.accept_waveform(self._frame_opts.samp_freq, waveform)
        return self._new_frames()

    def _finish(self) -> FloatFrames:
        self._mel_energies.input_finished()
        return self._new_frames()

    def _new_frames(self) -> FloatFrames:
        begin, self._num_computed = self._num_computed, self._mel_energies.num_frames_ready()
        frames = self._mel_energies.get_frames(begin, self._num_computed)
        log_energy = None
        if self._opts.use_energy:
            log_energy, frames = frames[:, 0], frames[:, 1:]
            if not self._opts.raw_energy and self._opts.energy_floor == 0:
                log_energy = np.where(log_energy > _FBANK_LOG_ENERGY_FLOOR, log_energy, np.log(_SMALLEST))
        loudness = (frames * self._equal_loudness) ** np.float32(self._opts.compress_factor)
        autocorrelation = np.pad(loudness, ((0, 0), (1, 1)), mode="edge") @ self._idft_bases.T
        lpc, residual_energy = durbin(autocorrelation)
        features = np.empty((len(frames), self._opts.num_ceps), np.float32)
        features[:, 0] = np.maximum(np.log(np.maximum(residual_energy, _SMALLEST)), _SMALLEST)
        features[:, 1:] = lpc_to_cepstrum(lpc)[:, : self._opts.num_ceps - 1]
        features *= self._scale
        if log_energy is not None:
            features[:, 0] = log_energy
        return np.roll(features, -1, axis=1) if self._opts.htk_compat else features


def durbin(autocorrelation: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Solves the equations of linear prediction by Durbin's recursion (``Durbin`` in mel-computations.cc).

    Args:
        autocorrelation: (frames, order + 1) float32.

    Returns:
        Coefficients a, (frames, order), of the predictor filter 1 / (1 + sum_i a_i z^-i), and the energy of
        what it does not predict, (frames,). Frames without energy give zeros.
    """
    frames, order = autocorrelation.shape[0], autocorrelation.shape[1] - 1
    lpc = np.zeros((frames, order), np.float32)
    energy = autocorrelation[:, 0].copy()
    for i in range(order):
        reflection = autocorrelation[:, i + 1] + (lpc[:, :i] * autocorrelation[:, i:0:-1]).sum(axis=1)
        reflection = np.divide(reflection, energy, out=np.zeros_like(energy), where=energy > 0)
        # A constant signal would leave no energy, or a negative one.
        energy *= np.maximum(1 - reflection * reflection, np.float32(1e-5))
        lpc[:, :i] -= reflection[:, np.newaxis] * lpc[:, :i][:, ::-1]
        lpc[:, i] = -reflection
    return lpc, energy


def lpc_to_cepstrum(lpc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cepstrum c_1 .. c_n of an all-pole filter: c_n = -a_n - 1/n sum_k (n - k) a_k c_{n-k}.

    Args:
        lpc: (frames, n) float32, as `durbin` returns them.

    Returns:
        (frames, n) float32.
    """
    cepstrum = np.zeros_like(lpc)
    for i in range(lpc.shape[1]):
        weights = np.arange(i, 0, -1, dtype=np.float64)
        total = (weights * lpc[:, :i] * cepstrum[:, :i][:, ::-1]).sum(axis=1)
        cepstrum[:, i] = -lpc[:, i] - total / (i + 1)
    return cepstrum


def _center_frequencies_hz(opts: PlpOptions) -> NDArray[np.float64]:
    """Centres of the mel filters: equally spaced on the mel scale 1127 ln(1 + f / 700)."""
    nyquist_hz = 0.5 * opts.frame_opts.samp_freq
    mel_opts = opts.mel_opts
    high_hz = mel_opts.high_freq if mel_opts.high_freq > 0 else nyquist_hz + mel_opts.high_freq
    edges_mel = 1127 * np.log1p(np.array([mel_opts.low_freq, high_hz]) / 700)
    centers_mel = np.linspace(edges_mel[0], edges_mel[1], mel_opts.num_bins + 2)[1:-1]
    return 700 * np.expm1(centers_mel / 1127)


def _equal_loudness(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float32]:
    """The ear's sensitivity at medium levels, relative to the best one (``GetEqualLoudnessVector``)."""
    squared = frequencies_hz**2
    low_slope = (squared / (squared + 1.6e5)) ** 2
    return (low_slope * (squared + 1.44e6) / (squared + 9.61e6)).astype(np.float32)


def _idft_bases(num_lags: int, num_points: int) -> NDArray[np.float32]:
    """Matrix that turns a power spectrum, at `num_points` equal steps up to half the rate, into an
    autocorrelation."""
    angles = np.pi / (num_points - 1) * np.outer(np.arange(num_lags), np.arange(num_points))
    ends_count_half = np.full(num_points, 2.0)
    ends_count_half[[0, -1]] = 1.0
    bases: NDArray[np.float64] = np.cos(angles) * ends_count_half / (2 * (num_points - 1))
    return bases.astype(np.float32)


def _lifter(constant: int, num_ceps: int) -> NDArray[np.float64]:
    if constant == 0:
        return np.ones(num_ceps)
    lifter: NDArray[np.float64] = 1 + 0.5 * constant * np.sin(np.pi * np.arange(num_ceps) / constant)
    return lifter
