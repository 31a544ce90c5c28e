"""MFCC and mel filter-bank features from samples, by kaldi-native-fbank (``feat/feature-mfcc.cc``).

kaldi-native-fbank computes what Kaldi computes, but trusts its options, so they are checked here first. It
has no resampler and its dither is not seeded; both are applied to the samples before it receives them.
"""

from abc import abstractmethod
from dataclasses import dataclass

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError, DecoderError
from pykaldi_server.kaldi.feat.online_feature import FloatFrames, FrameBuffer, OnlineBaseFeature
from pykaldi_server.kaldi.feat.resample import LinearResample
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, group, option

__all__ = [
    "MAX_SAMPLE_RATE_HZ",
    "WINDOW_TYPES",
    "FbankOptions",
    "FrameExtractionOptions",
    "MelBanksOptions",
    "MfccOptions",
    "OnlineFbank",
    "OnlineMfcc",
    "OnlineWindowedFeature",
    "mel_banks_of_features",
]

WINDOW_TYPES = ("hamming", "hanning", "povey", "rectangular", "sine", "blackman")
MAX_SAMPLE_RATE_HZ = 768000.0
_RESAMPLE_ZEROS = 6


@dataclass
class FrameExtractionOptions(Options):
    """How samples are cut into windows (``feat/feature-window.h``)."""

    samp_freq: float = option(16000.0, "Sample rate of the features in Hz.", name="sample-frequency")
    frame_shift_ms: float = option(10.0, "Time between frames in ms.", name="frame-shift")
    frame_length_ms: float = option(25.0, "Window length in ms.", name="frame-length")
    dither: float = option(
        1.0, "Standard deviation of the noise added to the samples (16-bit scale); 0 adds none."
    )
    preemph_coeff: float = option(
        0.97, "Pre-emphasis coefficient; larger boosts high frequencies more.", name="preemphasis-coefficient"
    )
    remove_dc_offset: bool = option(True, "Subtract the mean from each window.")
    window_type: str = option("povey", f"Window function: {', '.join(WINDOW_TYPES)}.")
    round_to_power_of_two: bool = option(True, "Pad windows with zeros to a power of two.")
    blackman_coeff: float = option(0.42, "Constant of the generalised Blackman window.")
    snip_edges: bool = option(
        True, "Use whole windows only; if false, centre frames on multiples of the shift."
    )
    allow_downsample: bool = option(False, "Accept audio with a higher sample rate.")
    allow_upsample: bool = option(False, "Accept audio with a lower sample rate.")
    max_feature_vectors: int = option(-1, "Number of past frames to keep; -1 keeps all.")

    def window_size_samples(self) -> int:
        """Samples in a window, without padding."""
        return int(self.samp_freq * 0.001 * self.frame_length_ms)

    def window_shift_samples(self) -> int:
        """Samples from one window to the next."""
        return int(self.samp_freq * 0.001 * self.frame_shift_ms)

    def validate(self) -> None:
        require_finite_options(self)
        if not 100 <= self.samp_freq <= MAX_SAMPLE_RATE_HZ:
            raise ConfigError(
                f"sample-frequency: expected 100 to {MAX_SAMPLE_RATE_HZ:.0f} Hz, found {self.samp_freq}"
            )
        if not 0 < self.frame_length_ms <= 10000 or self.window_size_samples() < 2:
            raise ConfigError(f"frame-length: expected at least 2 samples, found {self.frame_length_ms} ms")
        if not 0 < self.frame_shift_ms <= 10000 or self.window_shift_samples() < 1:
            raise ConfigError(f"frame-shift: expected at least 1 sample, found {self.frame_shift_ms} ms")
        if not 0 <= self.preemph_coeff <= 1:
            raise ConfigError(f"preemphasis-coefficient: expected 0 to 1, found {self.preemph_coeff}")
        if self.window_type not in WINDOW_TYPES:
            raise ConfigError(
                f"window-type: expected one of {', '.join(WINDOW_TYPES)}, found {self.window_type!r}"
            )
        if not 0 <= self.dither < 32768:
            raise ConfigError(f"dither: expected 0 to 32768, found {self.dither}")


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

    def validate_for(self, samp_freq_hz: float) -> None:
        """Checks the values at a sample rate.

        Raises:
            ConfigError: a value is invalid.
        """
        nyquist_hz = 0.5 * samp_freq_hz
        high_hz = self.high_freq if self.high_freq > 0 else nyquist_hz + self.high_freq
        require_finite_options(self)
        if not 3 <= self.num_bins <= 1024:
            raise ConfigError(f"num-mel-bins: expected 3 to 1024, found {self.num_bins}")
        if not 0 <= self.low_freq < high_hz <= nyquist_hz:
            raise ConfigError(
                "low-freq and high-freq: expected 0 <= low < high <= "
                f"{nyquist_hz:g} Hz, found {self.low_freq:g} and {high_hz:g}"
            )


def mel_banks_of_features() -> MelBanksOptions:
    """Returns the mel options of MFCC, PLP and filter-bank features: their default is 23 filters."""
    return MelBanksOptions(num_bins=23)


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


class OnlineWindowedFeature(OnlineBaseFeature):
    """What all window-by-window features share: rate conversion, dither, history."""

    def __init__(self, frame_opts: FrameExtractionOptions, dim: int, dither_seed: int = 0):
        self._frame_opts = frame_opts
        self._resampler: LinearResample | None = None
        self._input_rate_hz: float | None = None
        self._noise = np.random.default_rng(dither_seed) if frame_opts.dither > 0 else None
        history = frame_opts.max_feature_vectors
        self._frames = FrameBuffer(dim, None if history < 0 else history)
        self._dim = dim
        self._finished = False

    def dim(self) -> int:
        return self._dim

    def num_frames_ready(self) -> int:
        return self._frames.end

    def is_last_frame(self, frame: int) -> bool:
        return self._finished and frame == self._frames.end - 1

    def frame_shift_in_seconds(self) -> float:
        return self._frame_opts.frame_shift_ms * 0.001

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        return self._frames.get(begin, end)

    def accept_waveform(self, samp_freq: float, waveform: NDArray[np.float32]) -> None:
        if self._finished:
            raise DecoderError("accept_waveform was called after input_finished")
        waveform = np.ascontiguousarray(waveform, np.float32)
        if waveform.ndim != 1:
            raise AudioError(f"expected samples of shape (n,), found {waveform.shape}")
        if not len(waveform):
            return
        if not np.isfinite(waveform).all():
            raise AudioError("expected finite samples, found NaN or infinity")
        self._choose_rate(samp_freq)
        if self._resampler is not None:
            waveform = self._resampler.resample(waveform, flush=False)
        self._take(waveform)

    def input_finished(self) -> None:
        if self._finished:
            return
        if self._resampler is not None:
            self._take(self._resampler.resample(np.zeros(0, np.float32), flush=True))
        self._finished = True
        last = self._finish()
        if len(last):
            self._frames.append(last)

    @abstractmethod
    def _compute(self, waveform: NDArray[np.float32]) -> FloatFrames:
        """Accepts samples at the feature's rate; returns the frames that became ready, (n, dim)."""

    @abstractmethod
    def _finish(self) -> FloatFrames:
        """Returns the frames that become ready because no more samples come, (n, dim)."""

    def _take(self, waveform: NDArray[np.float32]) -> None:
        if self._noise is not None:
            noise = self._noise.standard_normal(len(waveform), np.float32)
            waveform = waveform + np.float32(self._frame_opts.dither) * noise
        if len(waveform):
            self._frames.append(self._compute(waveform))

    def _choose_rate(self, samp_freq: float) -> None:
        if samp_freq == self._input_rate_hz:
            return
        if self._input_rate_hz is not None:
            raise AudioError(f"the sample rate changed from {self._input_rate_hz:g} to {samp_freq:g} Hz")
        expected = self._frame_opts.samp_freq
        if samp_freq != expected:
            lower = samp_freq < expected
            allowed = self._frame_opts.allow_upsample if lower else self._frame_opts.allow_downsample
            if not allowed:
                needed = "allow-upsample" if lower else "allow-downsample"
                raise AudioError(f"expected {expected:g} Hz, found {samp_freq:g} Hz without --{needed}")
            cutoff_hz = 0.5 * min(samp_freq, expected)
            self._resampler = LinearResample(int(samp_freq), int(expected), cutoff_hz, _RESAMPLE_ZEROS)
        self._input_rate_hz = samp_freq


class _NativeFeature(OnlineWindowedFeature):
    """Features that kaldi-native-fbank computes."""

    def __init__(self, native: "knf.OnlineMfcc | knf.OnlineFbank", opts: FrameExtractionOptions, seed: int):
        super().__init__(opts, native.dim, seed)
        self._native = native
        self._taken = 0

    def _compute(self, waveform: NDArray[np.float32]) -> FloatFrames:
        # A list converts faster than an array at the binding's boundary.
        self._native.accept_waveform(self._frame_opts.samp_freq, waveform.tolist())
        return self._new_frames()

    def _finish(self) -> FloatFrames:
        self._native.input_finished()
        return self._new_frames()

    def _new_frames(self) -> FloatFrames:
        ready = self._native.num_frames_ready
        frames = np.empty((ready - self._taken, self._dim), np.float32)
        for row, frame in enumerate(range(self._taken, ready)):
            frames[row] = self._native.get_frame(frame)
        self._native.pop(len(frames))
        self._taken = ready
        return frames


class OnlineMfcc(_NativeFeature):
    """MFCC of a stream of samples."""

    def __init__(self, opts: MfccOptions, dither_seed: int = 0):
        """``dither_seed`` makes the noise that ``dither`` requests reproducible.

        Raises:
            ConfigError: an option is invalid.
        """
        opts.validate()
        native = knf.MfccOptions()
        _copy_frame_options(opts.frame_opts, native.frame_opts)
        _copy_mel_options(opts.mel_opts, native.mel_opts)
        for name in ("num_ceps", "use_energy", "energy_floor", "raw_energy", "cepstral_lifter", "htk_compat"):
            setattr(native, name, getattr(opts, name))
        super().__init__(knf.OnlineMfcc(native), opts.frame_opts, dither_seed)


class OnlineFbank(_NativeFeature):
    """Filter-bank features of a stream of samples."""

    def __init__(self, opts: FbankOptions, dither_seed: int = 0):
        """See `OnlineMfcc`."""
        opts.validate()
        native = knf.FbankOptions()
        _copy_frame_options(opts.frame_opts, native.frame_opts)
        _copy_mel_options(opts.mel_opts, native.mel_opts)
        for name in ("use_energy", "energy_floor", "raw_energy", "htk_compat", "use_log_fbank", "use_power"):
            setattr(native, name, getattr(opts, name))
        super().__init__(knf.OnlineFbank(native), opts.frame_opts, dither_seed)


def _copy_frame_options(source: FrameExtractionOptions, native: "knf.FrameExtractionOptions") -> None:
    for name in (
        "samp_freq",
        "frame_shift_ms",
        "frame_length_ms",
        "preemph_coeff",
        "remove_dc_offset",
        "window_type",
        "round_to_power_of_two",
        "blackman_coeff",
        "snip_edges",
    ):
        setattr(native, name, getattr(source, name))
    native.dither = 0.0


def _copy_mel_options(source: MelBanksOptions, native: "knf.MelBanksOptions") -> None:
    for name in ("num_bins", "low_freq", "high_freq", "vtln_low", "vtln_high"):
        setattr(native, name, getattr(source, name))
