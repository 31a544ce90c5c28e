"""Options of pitch extraction and of the features computed from it (``feat/pitch-functions.h``)."""

import math
from dataclasses import dataclass

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.feature_window import MAX_SAMPLE_RATE_HZ
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option

__all__ = ["PitchExtractionOptions", "ProcessPitchOptions"]

_MAX_LAGS = 16384


@dataclass
class PitchExtractionOptions(Options):
    """How the pitch is extracted."""

    samp_freq: float = option(16000.0, "Sample rate in Hz.", name="sample-frequency")
    frame_shift_ms: float = option(10.0, "Time between frames in ms.", name="frame-shift")
    frame_length_ms: float = option(25.0, "Window length in ms.", name="frame-length")
    preemph_coeff: float = option(
        0.0, "Pre-emphasis coefficient (deprecated).", name="preemphasis-coefficient"
    )
    min_f0: float = option(50.0, "Lowest pitch to search for, in Hz.")
    max_f0: float = option(400.0, "Highest pitch to search for, in Hz.")
    soft_min_f0: float = option(
        10.0, "Pitch in Hz at which the score of a lag falls to zero; larger penalises low pitch more."
    )
    penalty_factor: float = option(0.1, "Cost of changes in pitch; larger gives a smoother pitch.")
    lowpass_cutoff: float = option(1000.0, "Cutoff in Hz of the filter before downsampling.")
    resample_freq: float = option(
        4000.0, "Sample rate in Hz at which the pitch is searched for.", name="resample-frequency"
    )
    delta_pitch: float = option(
        0.005, "Relative step between candidate pitches; smaller is finer and slower."
    )
    nccf_ballast: float = option(
        7000.0, "Lowers the correlation of quiet frames; larger treats more of them as unvoiced."
    )
    lowpass_filter_width: int = option(
        1, "Zero crossings of the filter before downsampling; more are sharper and slower."
    )
    upsample_filter_width: int = option(
        5, "Zero crossings of the filter that interpolates the correlation; more are finer and slower."
    )
    max_frames_latency: int = option(
        0, "Maximum number of frames that wait for their pitch to settle; larger is more accurate and later."
    )
    frames_per_chunk: int = option(
        0, "Frames per step when a whole recording is computed; 0 for all at once."
    )
    simulate_first_pass_online: bool = option(
        False, "Return the features as online decoding would first see them."
    )
    recompute_frame: int = option(
        500, "Frame at which the pitch so far is revised with a better estimate of the signal's energy."
    )
    nccf_ballast_online: bool = option(False, "Use the energy up to each frame only (for tests).")
    snip_edges: bool = option(
        True, "Use whole windows only; if false, centre frames on multiples of the shift."
    )

    def nccf_window_size(self) -> int:
        """Samples in a window at ``resample_freq``, without the lags."""
        return int(self.resample_freq * self.frame_length_ms / 1000)

    def nccf_window_shift(self) -> int:
        """Samples at ``resample_freq`` from one window to the next."""
        return int(self.resample_freq * self.frame_shift_ms / 1000)

    def nccf_first_lag(self) -> int:
        """The smallest lag, in samples at ``resample_freq``, that interpolation needs."""
        return math.ceil(self.resample_freq / self.max_f0 - self.upsample_filter_width / 2)

    def nccf_last_lag(self) -> int:
        """The largest lag, in samples at ``resample_freq``, that interpolation needs."""
        return math.floor(self.resample_freq / self.min_f0 + self.upsample_filter_width / 2)

    def validate(self) -> None:
        require_finite_options(self)
        if not 100 <= self.samp_freq <= MAX_SAMPLE_RATE_HZ:
            raise ConfigError(
                f"sample-frequency: expected 100 to {MAX_SAMPLE_RATE_HZ:.0f} Hz, found {self.samp_freq:g}"
            )
        if not 0 < 2 * self.lowpass_cutoff <= min(self.samp_freq, self.resample_freq) <= MAX_SAMPLE_RATE_HZ:
            raise ConfigError(
                "lowpass-cutoff: expected up to half of sample-frequency and resample-frequency "
                f"({self.samp_freq:g}, {self.resample_freq:g}), found {self.lowpass_cutoff:g} Hz"
            )
        if not 0 < self.frame_length_ms <= 10000 or self.nccf_window_size() < 2:
            raise ConfigError(f"frame-length: expected at least 2 samples, found {self.frame_length_ms:g} ms")
        if not 0 < self.frame_shift_ms <= 10000 or self.nccf_window_shift() < 1:
            raise ConfigError(f"frame-shift: expected at least 1 sample, found {self.frame_shift_ms:g} ms")
        if not 1 <= self.min_f0 < self.max_f0 <= self.resample_freq:
            raise ConfigError(
                "min-f0 and max-f0: expected 1 <= min < max <= resample-frequency, "
                f"found {self.min_f0:g} and {self.max_f0:g} Hz"
            )
        num_lags = math.log(self.max_f0 / self.min_f0) / math.log1p(max(self.delta_pitch, 1e-9))
        if not num_lags <= _MAX_LAGS - 1:
            raise ConfigError(f"delta-pitch: expected at most {_MAX_LAGS} steps, found {num_lags:.0f}")
        if self.lowpass_filter_width < 1 or self.upsample_filter_width < 1 or self.nccf_first_lag() < 0:
            raise ConfigError(
                "lowpass-filter-width and upsample-filter-width: expected at least 1, and at most "
                f"{2 * self.resample_freq / self.max_f0:g} for the second, found {self.lowpass_filter_width} "
                f"and {self.upsample_filter_width}"
            )
        if not 0 <= self.preemph_coeff <= 1:
            raise ConfigError(f"preemphasis-coefficient: expected 0 to 1, found {self.preemph_coeff:g}")
        for name in (
            "penalty_factor",
            "nccf_ballast",
            "max_frames_latency",
            "frames_per_chunk",
            "recompute_frame",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"{name.replace('_', '-')}: expected at least 0, found {getattr(self, name):g}"
                )
        if self.simulate_first_pass_online and not self.frames_per_chunk:
            raise ConfigError(
                "simulate-first-pass-online: expected frames-per-chunk to be set as well, found 0"
            )


@dataclass
class ProcessPitchOptions(Options):
    """Which features are computed from the pitch."""

    pitch_scale: float = option(2.0, "Scale of the normalised log pitch.")
    pov_scale: float = option(2.0, "Scale of the voicing feature.")
    pov_offset: float = option(0.0, "Offset of the voicing feature, in place of mean normalisation.")
    delta_pitch_scale: float = option(10.0, "Scale of the change in log pitch.")
    delta_pitch_noise_stddev: float = option(
        0.005, "Standard deviation of the noise added to the change in log pitch."
    )
    normalization_left_context: int = option(
        75, "Frames before each frame over which its log pitch is normalised."
    )
    normalization_right_context: int = option(
        75, "Frames after each frame over which its log pitch is normalised."
    )
    delta_window: int = option(2, "Frames on each side that the change is computed from; more are smoother.")
    delay: int = option(0, "Frames by which the features are delayed.")
    add_pov_feature: bool = option(True, "Add the voicing feature.")
    add_normalized_log_pitch: bool = option(True, "Add the normalised log pitch.")
    add_delta_pitch: bool = option(True, "Add the change in log pitch.")
    add_raw_log_pitch: bool = option(False, "Add log pitch.")

    def dim(self) -> int:
        """Number of features per frame."""
        chosen = (
            self.add_pov_feature,
            self.add_normalized_log_pitch,
            self.add_delta_pitch,
            self.add_raw_log_pitch,
        )
        return sum(chosen)

    def validate(self) -> None:
        require_finite_options(self)
        if self.dim() == 0:
            raise ConfigError(
                "add-pov-feature, add-normalized-log-pitch, add-delta-pitch, add-raw-log-pitch: "
                "expected at least one, "
                "found none"
            )
        if self.delta_window < 1:
            raise ConfigError(f"delta-window: expected at least 1, found {self.delta_window}")
        for name in (
            "normalization_left_context",
            "normalization_right_context",
            "delay",
            "delta_pitch_noise_stddev",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"{name.replace('_', '-')}: expected at least 0, found {getattr(self, name):g}"
                )
