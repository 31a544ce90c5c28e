"""Windows of samples, which features are computed from (``feat/feature-window.cc``).

All windows that a block of samples completes are computed in one call of the core. The audio is resampled and
dithered before, sample by sample, so that results do not depend on how it is cut into blocks.
"""

import copy
import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError, DecoderError
from pykaldi_server.kaldi._core import FrameBuffer, FrameComputer, all_finite
from pykaldi_server.kaldi.feat.mel_computations import MelBanks, MelBanksOptions
from pykaldi_server.kaldi.feat.online_feature import FloatFrames, OnlineBaseFeature
from pykaldi_server.kaldi.feat.resample import LinearResample
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option

__all__ = [
    "MAX_SAMPLE_RATE_HZ",
    "MAX_WINDOW_SAMPLES",
    "WINDOW_TYPES",
    "FrameExtractionOptions",
    "OnlineWindowedFeature",
    "floored_log_energies",
    "make_frame_computer",
]

WINDOW_TYPES = ("hamming", "hanning", "povey", "rectangular", "sine", "blackman")
MAX_SAMPLE_RATE_HZ = 768000.0
MAX_WINDOW_SAMPLES = 1 << 20
_RESAMPLE_ZEROS = 6
# Half a minute at 16 kHz: windows that see the same noise are far from each other.
_NOISE_SAMPLES = 1 << 19


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

    def padded_window_size(self) -> int:
        """Samples in a window, with the zeros that follow."""
        size = self.window_size_samples()
        return 1 << (size - 1).bit_length() if self.round_to_power_of_two else size

    def window_function(self) -> NDArray[np.float32]:
        """Returns the factors of the samples of a window, (samples,), float32."""
        size = self.window_size_samples()
        angles = 2 * np.pi / (size - 1) * np.arange(size)
        if self.window_type == "rectangular":
            window = np.ones(size)
        elif self.window_type == "hamming":
            window = 0.54 - 0.46 * np.cos(angles)
        elif self.window_type == "sine":
            window = np.sin(angles / 2)
        elif self.window_type == "blackman":
            rest = 0.5 - self.blackman_coeff
            window = self.blackman_coeff - 0.5 * np.cos(angles) + rest * np.cos(2 * angles)
        else:
            window = 0.5 - 0.5 * np.cos(angles)
            if self.window_type == "povey":  # like Hamming's, but it goes to zero at the edges
                window **= 0.85
        return window.astype(np.float32)

    def validate(self) -> None:
        require_finite_options(self)
        if not 100 <= self.samp_freq <= MAX_SAMPLE_RATE_HZ:
            raise ConfigError(
                f"sample-frequency: expected 100 to {MAX_SAMPLE_RATE_HZ:.0f} Hz, found {self.samp_freq}"
            )
        if not 0 < self.frame_length_ms <= 10000 or not 2 <= self.window_size_samples() <= MAX_WINDOW_SAMPLES:
            raise ConfigError(
                f"frame-length: expected 2 to {MAX_WINDOW_SAMPLES} samples, found {self.frame_length_ms} ms"
            )
        if self.padded_window_size() % 2:
            raise ConfigError(
                "round-to-power-of-two: without it, expected windows of an even number of samples, found "
                f"{self.padded_window_size()}"
            )
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


class OnlineWindowedFeature(OnlineBaseFeature):
    """What all window-by-window features share: rate conversion, dither, cutting into windows, history."""

    def __init__(
        self, frame_opts: FrameExtractionOptions, computer: FrameComputer, dim: int, dither_seed: int = 0
    ):
        """Takes what computes the windows, and the dimension of the finished features."""
        self._frame_opts = frame_opts
        self._computer = computer
        self._shift_samples = frame_opts.window_shift_samples()
        self._size_samples = frame_opts.window_size_samples()
        # Where the first window begins: before the audio if frames are centred on multiples of the shift.
        self._first_sample = 0
        if not frame_opts.snip_edges:
            self._first_sample = self._shift_samples // 2 - self._size_samples // 2
        self._dim = dim
        self._begin(dither_seed)

    def _begin(self, dither_seed: int) -> None:
        """Starts a stream."""
        self._resampler: LinearResample | None = None
        self._input_rate_hz: float | None = None
        self._dither_seed = dither_seed
        self._noise_position: int | None = None  # before the first noise
        history = self._frame_opts.max_feature_vectors
        self._frames = FrameBuffer(self._dim, None if history < 0 else history)
        self._finished = False
        # The samples that further windows need, and the number of the first of them.
        self._samples = np.zeros(0, np.float32)
        self._samples_begin = 0

    def new(self, dither_seed: int = 0) -> Self:
        """Starts another stream with the same options, which shares the tables of this one."""
        other = copy.copy(self)
        other._begin(dither_seed)
        return other

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

    def frame_buffer(self) -> FrameBuffer:
        """Where the frames are, for those who read them without a copy; nobody else may append to it."""
        return self._frames

    def accept_waveform(self, samp_freq: float, waveform: NDArray[np.float32]) -> None:
        if self._finished:
            raise DecoderError("accept_waveform was called after input_finished")
        waveform = np.ascontiguousarray(waveform, np.float32)
        if waveform.ndim != 1:
            raise AudioError(f"expected samples of shape (n,), found {waveform.shape}")
        if not len(waveform):
            return
        if not all_finite(waveform):
            raise AudioError("expected finite samples, found NaN or infinity")
        self._choose_rate(samp_freq)
        if self._resampler is not None:
            waveform = self._resampler.resample(waveform, flush=False)
        self._take(waveform)

    def input_finished(self) -> None:
        if self._finished:
            return
        self._finished = True
        last = np.zeros(0, np.float32)
        if self._resampler is not None:
            last = self._resampler.resample(last, flush=True)
        self._take(last)

    @abstractmethod
    def _finish_frames(self, features: FloatFrames, energies: NDArray[np.float32]) -> FloatFrames:
        """Turns what `FrameComputer` returns into features, (n, dim); may work in place."""

    def _take(self, waveform: NDArray[np.float32]) -> None:
        """Computes the windows that samples at the rate of the features complete."""
        if self._frame_opts.dither > 0:
            waveform = waveform + np.float32(self._frame_opts.dither) * self._next_noise(len(waveform))
        samples = np.concatenate([self._samples, waveform])
        first = self._frames.end
        end = self._num_frames(self._samples_begin + len(samples))
        if end > first:
            self._frames.append(self._compute(samples, first, end))
        # Where the shift is longer than a window, the next one may begin after all these samples.
        num_old = min(max(0, self._sample_of(end) - self._samples_begin), len(samples))
        self._samples = samples[num_old:].copy()
        self._samples_begin += num_old

    def _next_noise(self, num_samples: int) -> NDArray[np.float32]:
        begin, noise = self._noise_position, _noise()
        if begin is None:
            begin = _noise_start(self._dither_seed)
        self._noise_position = (begin + num_samples) % _NOISE_SAMPLES
        if begin + num_samples <= _NOISE_SAMPLES:
            return noise[begin : begin + num_samples]
        return noise.take(np.arange(begin, begin + num_samples), mode="wrap")

    def _sample_of(self, frame: int) -> int:
        """Number of the first sample of a window."""
        return self._first_sample + frame * self._shift_samples

    def _num_frames(self, num_samples: int) -> int:
        """Number of windows that ``num_samples`` samples determine."""
        if self._finished and not self._frame_opts.snip_edges:
            return (num_samples + self._shift_samples // 2) // self._shift_samples
        beyond_first = num_samples - self._size_samples - self._first_sample
        return max(0, 1 + beyond_first // self._shift_samples)

    def _compute(self, samples: NDArray[np.float32], first: int, end: int) -> FloatFrames:
        """Computes frames from ``first`` to ``end``; windows that reach beyond the audio see it mirrored."""
        begin = self._sample_of(first) - self._samples_begin
        missing = begin + (end - first - 1) * self._shift_samples + self._size_samples - len(samples)
        if begin < 0 or missing > 0:
            samples = np.pad(samples, (max(0, -begin), max(0, missing)), mode="symmetric")
            begin = max(0, begin)
        try:
            return self._finish_frames(*self._computer.compute(samples[begin:], end - first))
        except ValueError as error:
            raise AudioError(str(error)) from None

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


@functools.cache
def _noise() -> NDArray[np.float32]:
    """The noise of all streams, standard normal: drawn once, because that costs more than the features do.

    A stream begins where its seed says, and goes round.
    """
    noise = np.random.default_rng(0).standard_normal(_NOISE_SAMPLES, np.float32)
    noise.setflags(write=False)
    return noise


@functools.lru_cache
def _noise_start(seed: int) -> int:
    """Where in `_noise` the stream with a seed begins."""
    return int(np.random.default_rng(seed).integers(_NOISE_SAMPLES))


def make_frame_computer(
    frame_opts: FrameExtractionOptions,
    mel_opts: MelBanksOptions,
    *,
    raw_energy: bool,
    use_log: bool,
    use_power: bool = True,
    transform: NDArray[np.float32] | None = None,
    kernels: str | None = None,
) -> FrameComputer:
    """Makes what computes windows of samples from checked options; see `FrameComputer` for the others.

    Raises:
        ConfigError: the options do not fit each other.
    """
    padded_size = frame_opts.padded_window_size()
    banks = MelBanks.from_options(mel_opts, frame_opts.samp_freq, padded_size)
    return FrameComputer(
        window=frame_opts.window_function(),
        padded_size=padded_size,
        frame_shift=frame_opts.window_shift_samples(),
        remove_dc_offset=frame_opts.remove_dc_offset,
        preemph_coeff=frame_opts.preemph_coeff,
        raw_energy=raw_energy,
        use_power=use_power,
        filter_begins=banks.begins,
        filter_ends=banks.ends,
        filter_weights=banks.weights,
        use_log=use_log,
        transform=transform,
        kernels=kernels,
    )


def floored_log_energies(
    energies: NDArray[np.float32], energy_floor: float, smallest: float = float(np.finfo(np.float32).eps)
) -> NDArray[np.float32]:
    """Returns logarithms of energies, at least that of ``smallest`` and, if it is not 0, ``energy_floor``."""
    logs: NDArray[np.float32] = np.log(np.maximum(energies, np.float32(smallest)))
    if energy_floor > 0:
        np.maximum(logs, np.float32(np.log(energy_floor)), out=logs)
    return logs
