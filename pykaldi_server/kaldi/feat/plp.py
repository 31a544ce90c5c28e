"""Perceptual linear prediction (``feat/feature-plp.cc``; H. Hermansky, JASA 87 (1990), p. 1738).

Concept: the spectrum as the ear hears it, described by an all-pole model, as cepstral coefficients. For
each window

    m    mel filter-bank energies of the power spectrum
    e    (equal-loudness curve times m) to the power 0.33333: from intensity to loudness
    r    inverse cosine transform of e with its first and last value repeated: an autocorrelation
    a    linear prediction coefficients of r, by Durbin's recursion; E is the energy left unpredicted
    c    cepstrum of 1 / (1 - a) times the lifter 1 + Q/2 sin(pi i / Q); c_0 is log E or the log energy

Terms: the lifter (Q = ``cepstral-lifter``) evens out the scale of the coefficients. Kaldi limits log E to the
smallest positive float, which is practically 0, and so do we. In windows without any energy, where Kaldi
divides 0 by 0, the coefficients are 0 here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi._core import plp_cepstra
from pykaldi_server.kaldi.feat.feature_window import (
    FrameExtractionOptions,
    OnlineWindowedFeature,
    floored_log_energies,
    make_frame_computer,
)
from pykaldi_server.kaldi.feat.mel_computations import MelBanksOptions, lifter_coeffs, mel_banks_of_features
from pykaldi_server.kaldi.feat.online_feature import FloatFrames
from pykaldi_server.kaldi.util.finite import require_finite, require_finite_options
from pykaldi_server.kaldi.util.options import Options, group, option

__all__ = ["MAX_LPC_ORDER", "OnlinePlp", "PlpOptions"]

MAX_LPC_ORDER = 1024
# The energy after the window function is at least this; before it, at least FLT_EPSILON, as in Kaldi.
_LEAST_WINDOWED_ENERGY = float(np.finfo(np.float32).tiny)


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
        computer = make_frame_computer(
            opts.frame_opts, opts.mel_opts, raw_energy=opts.raw_energy, use_log=False
        )
        super().__init__(opts.frame_opts, computer, opts.num_ceps, dither_seed)
        self._opts = opts
        self._equal_loudness = _equal_loudness(_center_frequencies_hz(opts))
        self._idft_bases = _idft_bases(opts.lpc_order + 1, opts.mel_opts.num_bins + 2)
        lifter = lifter_coeffs(opts.cepstral_lifter, opts.num_ceps)
        try:
            self._scale = require_finite(lifter * opts.cepstral_scale, "their product", np.float32)
        except ValueError as error:
            raise ConfigError(
                f"cepstral-lifter, cepstral-scale: expected a finite product, found {error}"
            ) from None

    def _finish_frames(self, features: FloatFrames, energies: NDArray[np.float32]) -> FloatFrames:
        opts = self._opts
        cepstra = plp_cepstra(features, self._equal_loudness, opts.compress_factor, self._idft_bases)
        cepstra = cepstra[:, : opts.num_ceps] * self._scale
        if opts.use_energy:
            if opts.raw_energy:
                cepstra[:, 0] = floored_log_energies(energies, opts.energy_floor)
            else:
                cepstra[:, 0] = floored_log_energies(energies, opts.energy_floor, _LEAST_WINDOWED_ENERGY)
        return np.roll(cepstra, -1, axis=1) if opts.htk_compat else cepstra


def _center_frequencies_hz(opts: PlpOptions) -> NDArray[np.float64]:
    """Centres of the mel filters: equally spaced on the mel scale 1127 ln(1 + f / 700)."""
    edges_hz = np.array(opts.mel_opts.edges_hz(opts.frame_opts.samp_freq))
    edges_mel = 1127 * np.log1p(edges_hz / 700)
    centers_mel = np.linspace(edges_mel[0], edges_mel[1], opts.mel_opts.num_bins + 2)[1:-1]
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
