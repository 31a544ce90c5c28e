"""The mel filter bank and what turns its outputs into cepstra (``feat/mel-computations.cc``).

Filter b of n is a triangle on the mel scale, mel(f) = 1127 ln(1 + f / 700). With e_0 .. e_n+1 at equal steps
from the lowest to the highest frequency, it rises from 0 at e_b to 1 at e_b+1 and falls to 0 at e_b+2. The
filters are computed in single precision, as in Kaldi.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option

__all__ = [
    "MelBanks",
    "MelBanksOptions",
    "dct_matrix",
    "lifter_coeffs",
    "mel_banks_of_features",
]

_Floats = NDArray[np.float32]


@dataclass
class MelBanksOptions(Options):
    """The mel filter bank (``feat/mel-computations.h``)."""

    num_bins: int = option(25, "Number of triangular mel filters.", name="num-mel-bins")
    low_freq: float = option(20.0, "Lower edge of the lowest filter in Hz.")
    high_freq: float = option(
        0.0, "Upper edge of the highest filter in Hz; 0 or less is relative to half the sample rate."
    )
    vtln_low: float = option(100.0, "Lower inflection point of VTLN warping (not used online).")
    vtln_high: float = option(-500.0, "Upper inflection point of VTLN warping (not used online).")
    debug_mel: bool = option(False, "Accepted and ignored.")

    def edges_hz(self, samp_freq_hz: float) -> tuple[float, float]:
        """Returns the lowest and the highest frequency at a sample rate."""
        nyquist_hz = 0.5 * samp_freq_hz
        return self.low_freq, self.high_freq if self.high_freq > 0 else nyquist_hz + self.high_freq

    def validate_for(self, samp_freq_hz: float) -> None:
        """Checks the values at a sample rate.

        Raises:
            ConfigError: a value is invalid.
        """
        require_finite_options(self)
        nyquist_hz = 0.5 * samp_freq_hz
        low_hz, high_hz = self.edges_hz(samp_freq_hz)
        if not 3 <= self.num_bins <= 1024:
            raise ConfigError(f"num-mel-bins: expected 3 to 1024, found {self.num_bins}")
        if not 0 <= low_hz < high_hz <= nyquist_hz:
            raise ConfigError(
                "low-freq and high-freq: expected 0 <= low < high <= "
                f"{nyquist_hz:g} Hz, found {low_hz:g} and {high_hz:g}"
            )


def mel_banks_of_features() -> MelBanksOptions:
    """Returns the mel options of MFCC, PLP and filter-bank features: their default is 23 filters."""
    return MelBanksOptions(num_bins=23)


@dataclass(frozen=True)
class MelBanks:
    """The filters, without the zeros around them.

    Attributes:
        begins: first bin of each filter in the spectrum, (filters,), int32.
        ends: the bin after the last one of each filter, (filters,), int32.
        weights: of the bins of the first filter, then of the second, and so on, float32.
    """

    begins: NDArray[np.int32]
    ends: NDArray[np.int32]
    weights: _Floats

    @classmethod
    def from_options(cls, opts: MelBanksOptions, samp_freq_hz: float, padded_size: int) -> "MelBanks":
        """Computes the filters for spectra of windows of ``padded_size`` samples.

        Raises:
            ConfigError: the windows are too short for that many filters.
        """
        bins_hz = np.arange(padded_size // 2, dtype=np.float32) * np.float32(samp_freq_hz / padded_size)
        bins_mel = _mel_scale(bins_hz)
        low, high = _mel_scale(np.array(opts.edges_hz(samp_freq_hz), np.float32))
        step = (high - low) / np.float32(opts.num_bins + 1)
        edges = low + np.arange(opts.num_bins + 2, dtype=np.float32) * step
        begins = np.searchsorted(bins_mel, edges[:-2], side="right")
        ends = np.searchsorted(bins_mel, edges[2:], side="left")
        sizes = ends - begins
        if (sizes < 1).any():
            raise ConfigError(
                f"num-mel-bins: expected filters that are wider than {samp_freq_hz / padded_size:g} Hz, the "
                f"resolution of the spectrum, found {opts.num_bins} filters, the narrowest of which are not"
            )
        rows = np.repeat(np.arange(opts.num_bins), sizes)
        bins = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + begins[rows]
        mel, left, center, right = bins_mel[bins], edges[rows], edges[rows + 1], edges[rows + 2]
        with np.errstate(divide="ignore"):  # rounding may leave one side of a triangle without width
            rising, falling = (mel - left) / (center - left), (right - mel) / (right - center)
        weights = np.where(mel <= center, rising, falling)
        return cls(begins.astype(np.int32), ends.astype(np.int32), weights)


def dct_matrix(num_rows: int, num_bins: int) -> NDArray[np.float64]:
    """Returns the first rows of the orthonormal cosine transform of type II, (num_rows, num_bins)."""
    angles = np.pi / num_bins * np.outer(np.arange(num_rows), np.arange(num_bins) + 0.5)
    matrix: NDArray[np.float64] = np.sqrt(2 / num_bins) * np.cos(angles)
    matrix[0] = np.sqrt(1 / num_bins)
    return matrix


def lifter_coeffs(constant: float, num_ceps: int) -> NDArray[np.float64]:
    """Returns what cepstral coefficients are multiplied by, 1 + Q/2 sin(pi i / Q): (num_ceps,).

    It evens out the scale of the coefficients. Q is ``cepstral-lifter``; 0 stands for no lifter, as does what
    Kaldi's single precision rounds to 0.
    """
    if abs(constant) < np.finfo(np.float32).smallest_subnormal:
        return np.ones(num_ceps)
    lifter: NDArray[np.float64] = 1 + 0.5 * constant * np.sin(np.pi * np.arange(num_ceps) / constant)
    return lifter


def _mel_scale(hz: _Floats) -> _Floats:
    mel: _Floats = np.float32(1127) * np.log(np.float32(1) + hz / np.float32(700))
    return mel
