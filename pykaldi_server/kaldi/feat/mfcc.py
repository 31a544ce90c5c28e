"""Mel-frequency cepstral coefficients (``feat/feature-mfcc.cc``).

For each window, the logarithms of the outputs of the mel filters, transformed by a cosine transform and
multiplied by the lifter. The first coefficient may be replaced by the logarithm of the window's energy.
"""

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
from pykaldi_server.kaldi.feat.mel_computations import (
    MelBanksOptions,
    dct_matrix,
    lifter_coeffs,
    mel_banks_of_features,
)
from pykaldi_server.kaldi.feat.online_feature import FloatFrames
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, group, option

__all__ = ["MfccOptions", "OnlineMfcc"]


@dataclass
class MfccOptions(Options):
    """Mel-frequency cepstral coefficients."""

    frame_opts: FrameExtractionOptions = group(FrameExtractionOptions, prefix="")
    mel_opts: MelBanksOptions = group(mel_banks_of_features, prefix="")
    num_ceps: int = option(13, "Number of cepstral coefficients, including the first.")
    use_energy: bool = option(True, "Replace the first coefficient with the log energy.")
    energy_floor: float = option(0.0, "Lower limit of the energy (absolute); 0 for none.")
    raw_energy: bool = option(True, "Compute the energy before pre-emphasis and windowing.")
    cepstral_lifter: float = option(22.0, "Lifter constant; larger values amplify higher coefficients.")
    htk_compat: bool = option(False, "Order and scale the coefficients as HTK does.")

    def validate(self) -> None:
        self.frame_opts.validate()
        self.mel_opts.validate_for(self.frame_opts.samp_freq)
        require_finite_options(self)
        if not 1 <= self.num_ceps <= self.mel_opts.num_bins:
            raise ConfigError(
                f"num-ceps: expected 1 to num-mel-bins ({self.mel_opts.num_bins}), found {self.num_ceps}"
            )
        if self.energy_floor < 0 or self.cepstral_lifter < 0:
            raise ConfigError(
                "energy-floor, cepstral-lifter: expected at least 0, "
                f"found {self.energy_floor}, {self.cepstral_lifter}"
            )


class OnlineMfcc(OnlineWindowedFeature):
    """MFCC of a stream of samples."""

    def __init__(self, opts: MfccOptions, dither_seed: int = 0):
        """``dither_seed`` makes the noise that ``dither`` requests reproducible.

        Raises:
            ConfigError: an option is invalid.
        """
        opts.validate()
        lifter = lifter_coeffs(opts.cepstral_lifter, opts.num_ceps)
        transform = dct_matrix(opts.num_ceps, opts.mel_opts.num_bins) * lifter[:, np.newaxis]
        computer = make_frame_computer(
            opts.frame_opts,
            opts.mel_opts,
            raw_energy=opts.raw_energy,
            use_log=True,
            transform=transform.astype(np.float32),
        )
        super().__init__(opts.frame_opts, computer, opts.num_ceps, dither_seed)
        self._opts = opts

    def _finish_frames(self, features: FloatFrames, energies: NDArray[np.float32]) -> FloatFrames:
        opts = self._opts
        if opts.use_energy:
            features[:, 0] = floored_log_energies(energies, opts.energy_floor)
        if opts.htk_compat:
            features = np.roll(features, -1, axis=1)
            if not opts.use_energy:
                features[:, -1] *= np.float32(np.sqrt(2))  # HTK scales all coefficients alike
        return features
