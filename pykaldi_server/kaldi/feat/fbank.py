"""Mel filter-bank features (``feat/feature-fbank.cc``): logarithms of the outputs of the mel filters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.feature_window import (
    FrameExtractionOptions,
    OnlineWindowedFeature,
    floored_log_energies,
    make_frame_computer,
)
from pykaldi_server.kaldi.feat.mel_computations import MelBanksOptions, mel_banks_of_features
from pykaldi_server.kaldi.feat.online_feature import FloatFrames
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, group, option

__all__ = ["FbankOptions", "OnlineFbank"]


@dataclass
class FbankOptions(Options):
    """Logarithms of the mel filter outputs."""

    frame_opts: FrameExtractionOptions = group(FrameExtractionOptions, prefix="")
    mel_opts: MelBanksOptions = group(mel_banks_of_features, prefix="")
    use_energy: bool = option(False, "Add the log energy as a further dimension.")
    energy_floor: float = option(0.0, "Lower limit of the energy (absolute); 0 for none.")
    raw_energy: bool = option(True, "Compute the energy before pre-emphasis and windowing.")
    htk_compat: bool = option(False, "Put the energy last, as HTK does.")
    use_log_fbank: bool = option(True, "Take logarithms of the filter outputs.")
    use_power: bool = option(True, "Filter the power spectrum; if false, filter the magnitudes.")

    def validate(self) -> None:
        self.frame_opts.validate()
        self.mel_opts.validate_for(self.frame_opts.samp_freq)
        require_finite_options(self)
        if self.energy_floor < 0:
            raise ConfigError(f"energy-floor: expected at least 0, found {self.energy_floor}")


class OnlineFbank(OnlineWindowedFeature):
    """Filter-bank features of a stream of samples."""

    def __init__(self, opts: FbankOptions, dither_seed: int = 0):
        """``dither_seed`` makes the noise that ``dither`` requests reproducible.

        Raises:
            ConfigError: an option is invalid.
        """
        opts.validate()
        computer = make_frame_computer(
            opts.frame_opts,
            opts.mel_opts,
            raw_energy=opts.raw_energy,
            use_log=opts.use_log_fbank,
            use_power=opts.use_power,
        )
        super().__init__(opts.frame_opts, computer, opts.mel_opts.num_bins + opts.use_energy, dither_seed)
        self._opts = opts

    def _finish_frames(self, features: FloatFrames, energies: NDArray[np.float32]) -> FloatFrames:
        if not self._opts.use_energy:
            return features
        column = floored_log_energies(energies, self._opts.energy_floor)[:, np.newaxis]
        return np.hstack([features, column] if self._opts.htk_compat else [column, features])
