"""The pitch of a stream of samples (``feat/pitch-functions.cc``; Ghahremani et al., ICASSP 2014).

Concept: the pitch period is the lag at which a window of the signal looks most like itself, followed over
time.

1. The signal is downsampled to 4 kHz.
2. For each frame w and each lag l, with w' the frame l later, the normalised cross-correlation function
   (NCCF) is

       phi(l) = w.w' / sqrt(|w|^2 |w'|^2 + b)        b = nccf-ballast (mean energy of a frame)^2

   The ballast b lowers phi in quiet frames; the voicing feature is computed from phi without it.
3. phi is interpolated at lags L_i from 1 / max-f0 to 1 / min-f0, each 1 + delta-pitch times the last.
4. Viterbi finds the path of least cost, with local cost 1 - phi(L_i) (1 - soft-min-f0 L_i), and cost
   penalty-factor (log(1 + delta-pitch) (i - j))^2 to go from L_j to L_i.

Online, the mean energy is that of the signal so far, whole pieces at a time, as they were accepted. At
frame ``recompute-frame``, or at the end if that comes first, the search is repeated with the better
estimate: phi is scaled by sqrt((b_old + p) / (b_new + p)), where p is the mean of |w|^2 |w'|^2 over the
lags. Until the end, the pitch of frames that are ready may still change, unless ``max-frames-latency``
delays them.

Kaldi assumes that samples have the rate ``sample-frequency``, whatever the caller says; here, other rates
are resampled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, DecoderError
from pykaldi_server.kaldi._core import pitch_viterbi
from pykaldi_server.kaldi.feat.online_feature import FloatFrames, OnlineBaseFeature
from pykaldi_server.kaldi.feat.pitch_options import PitchExtractionOptions
from pykaldi_server.kaldi.feat.resample import ArbitraryResample, LinearResample

__all__ = ["OnlinePitchFeature"]

NCCF, PITCH_HZ = 0, 1
"""Columns of the features."""

_UNKNOWN_STATE = -1
_SAME_ENERGY_TOLERANCE = 0.01


@dataclass
class _SignalEnergy:
    """Sums over the downsampled signal, in double precision."""

    num_samples: int = 0
    total: float = 0.0
    total_of_squares: float = 0.0

    def add(self, samples: NDArray[np.float32]) -> None:
        doubles = samples.astype(np.float64)
        self.num_samples += len(doubles)
        self.total += float(doubles.sum())
        self.total_of_squares += float(doubles @ doubles)

    def mean_square(self) -> float:
        """Variance of the samples."""
        return self.total_of_squares / self.num_samples - (self.total / self.num_samples) ** 2


class OnlinePitchFeature(OnlineBaseFeature):
    """Correlation and pitch in Hz of each frame, as a stream.

    Args:
        opts: see `PitchExtractionOptions`.
        history: number of frames behind the newest one that can still be read and revised; None for all. At
            least ``recompute-frame`` frames are kept.

    Raises:
        ConfigError: an option is invalid.
    """

    def __init__(self, opts: PitchExtractionOptions, history: int | None = None) -> None:
        opts.validate()
        self._opts = opts
        self._history = None if history is None else max(history, opts.recompute_frame)
        self._lags_s = _select_lags_s(opts)
        first_lag = opts.nccf_first_lag()
        self._num_measured_lags = opts.nccf_last_lag() + 1 - first_lag
        self._interpolation = ArbitraryResample(
            self._num_measured_lags,
            opts.resample_freq,
            0.5 * opts.resample_freq,
            self._lags_s - np.float32(first_lag / opts.resample_freq),
            opts.upsample_filter_width,
        )
        self._step_factor = float(
            np.float32(np.log(1 + opts.delta_pitch) ** 2) * np.float32(opts.penalty_factor)
        )
        self._resampler: LinearResample | None = None
        self._samp_freq: float | None = None
        self._finished = False
        self._energy = _SignalEnergy()
        # The downsampled signal that future frames may need, and where in the stream it starts.
        self._signal = np.zeros(0, np.float32)
        self._signal_start = 0
        # One row per frame kept; the oldest is frame `_first_frame`.
        self._first_frame = 0
        self._pov_nccf = _Rows(np.zeros((0, self._num_measured_lags), np.float32))
        self._backpointers = _Rows(np.zeros((0, len(self._lags_s)), np.int16))
        self._best_states = _Rows(np.zeros(0, np.int32))
        self._forward_cost = np.zeros(len(self._lags_s), np.float32)
        # For frames before `recompute_frame`, until they are recomputed.
        self._first_pass = _FirstPass(len(self._lags_s))
        self._frames_latency = 0

    def dim(self) -> int:
        return 2

    def num_frames_ready(self) -> int:
        return self._num_frames() - self._frames_latency

    def is_last_frame(self, frame: int) -> bool:
        return self._finished and frame == self.num_frames_ready() - 1

    def frame_shift_in_seconds(self) -> float:
        return self._opts.frame_shift_ms / 1000

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        if not self._first_frame <= begin <= end <= self.num_frames_ready():
            raise IndexError(
                f"expected frames from {self._first_frame} to {self.num_frames_ready()}, which are kept, "
                f"found {begin} to {end}"
            )
        rows = slice(begin - self._first_frame, end - self._first_frame)
        states = self._best_states.array[rows]
        frames = np.empty((end - begin, 2), np.float32)
        frames[:, NCCF] = np.einsum(
            "fl,fl->f", self._pov_nccf.array[rows], self._interpolation.weights[states]
        )
        frames[:, PITCH_HZ] = 1 / self._lags_s[states]
        return frames

    def accept_waveform(self, samp_freq: float, waveform: NDArray[np.float32]) -> None:
        if self._finished:
            raise DecoderError("accept_waveform was called after input_finished")
        waveform = np.ascontiguousarray(waveform, np.float32)
        if waveform.ndim != 1:
            raise AudioError(f"expected samples of shape (n,), found {waveform.shape}")
        if not np.isfinite(waveform).all():
            raise AudioError("expected finite samples, found NaN or infinity")
        self._take(self._resampler_for(samp_freq).resample(waveform))

    def input_finished(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._resampler is not None:
            self._take(self._resampler.resample([], flush=True))
        if self._num_frames() < self._opts.recompute_frame:
            self._recompute()
        self._frames_latency = 0

    def _num_frames(self) -> int:
        return self._first_frame + len(self._best_states.array)

    def _resampler_for(self, samp_freq: float) -> LinearResample:
        if self._resampler is None:
            if samp_freq < 2 * self._opts.lowpass_cutoff:
                raise AudioError(
                    f"expected at least {2 * self._opts.lowpass_cutoff:g} Hz, found {samp_freq:g}"
                )
            self._samp_freq = samp_freq
            self._resampler = LinearResample(
                int(samp_freq),
                int(self._opts.resample_freq),
                self._opts.lowpass_cutoff,
                self._opts.lowpass_filter_width,
            )
        if samp_freq != self._samp_freq:
            raise AudioError(f"the sample rate changed from {self._samp_freq:g} to {samp_freq:g} Hz")
        return self._resampler

    def _take(self, downsampled: NDArray[np.float32]) -> None:
        """Continues with the next piece of the downsampled signal."""
        energy_before = _SignalEnergy(**vars(self._energy))
        self._energy.add(downsampled)
        self._signal = np.concatenate([self._signal, downsampled])
        begin, end = self._num_frames(), self._frames_available()
        if end > begin:
            starts = self._frame_starts(begin, end)
            windows = self._windows(starts)
            mean_squares = self._mean_squares(starts, energy_before, downsampled)
            pitch_nccf, pov_nccf, norm_products = self._correlate(windows, mean_squares)
            self._pov_nccf.append(pov_nccf)
            self._search(begin, self._interpolation.resample(pitch_nccf), mean_squares, norm_products)
        self._drop_old()

    def _frames_available(self) -> int:
        """Number of frames that can be computed so far, counted from the start of the stream."""
        opts = self._opts
        shift, length = opts.nccf_window_shift(), opts.nccf_window_size()
        if not self._finished:
            length += opts.nccf_last_lag()
        num_samples = self._signal_start + len(self._signal)
        if num_samples < length:
            return 0
        if opts.snip_edges:
            return (num_samples - length) // shift + 1
        covered = num_samples if self._finished else num_samples - length // 2
        return (2 * covered + shift) // (2 * shift)

    def _full_window_size(self) -> int:
        return self._opts.nccf_window_size() + self._opts.nccf_last_lag()

    def _frame_starts(self, begin: int, end: int) -> NDArray[np.int64]:
        """First samples of frames, in the downsampled stream; negative ones lie before it."""
        shift = self._opts.nccf_window_shift()
        frames = np.arange(begin, end)
        if self._opts.snip_edges:
            return frames * shift
        return (2 * frames + 1) * shift // 2 - self._full_window_size() // 2

    def _windows(self, starts: NDArray[np.int64]) -> NDArray[np.float32]:
        """(frames, window size + last lag), zeros outside the signal."""
        indexes = starts[:, np.newaxis] + np.arange(self._full_window_size()) - self._signal_start
        inside = (indexes >= 0) & (indexes < len(self._signal))
        windows = np.where(inside, self._signal[np.clip(indexes, 0, len(self._signal) - 1)], np.float32(0))
        if self._opts.preemph_coeff != 0:
            previous = np.roll(windows, 1, axis=1)
            # The first sample of the window or of the signal has no predecessor; it is used in its place.
            is_first = inside & ~np.roll(inside, 1, axis=1)
            is_first[:, 0] = inside[:, 0]
            previous[is_first] = windows[is_first]
            windows = np.where(
                inside, windows - np.float32(self._opts.preemph_coeff) * previous, np.float32(0)
            )
        return windows

    def _mean_squares(
        self, starts: NDArray[np.int64], energy: _SignalEnergy, downsampled: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The signal's energy as each frame sees it; `energy` is that before `downsampled` came."""
        if not self._opts.nccf_ballast_online:
            return np.full(len(starts), self._energy.mean_square())
        piece_start = energy.num_samples
        ends = np.minimum(starts + self._full_window_size() - piece_start, len(downsampled))
        result = np.empty(len(starts))
        position = 0
        for row, end in enumerate(ends):
            energy.add(downsampled[position:end])
            position = max(position, int(end))
            result[row] = energy.mean_square()
        return result

    def _correlate(
        self, windows: NDArray[np.float32], mean_squares: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """NCCF with ballast and without, (frames, measured lags), and the mean of |w|^2 |w'|^2, (frames,)."""
        size = self._opts.nccf_window_size()
        windows = windows - windows[:, :size].mean(axis=1, keepdims=True)
        first_lag = self._opts.nccf_first_lag()
        lagged = np.lib.stride_tricks.sliding_window_view(windows, size, axis=1)[:, first_lag:]
        base = windows[:, :size]
        inner = np.einsum("fs,fls->fl", base, lagged)
        norm = np.einsum("fs,fs->f", base, base)[:, np.newaxis] * np.einsum("fls,fls->fl", lagged, lagged)
        ballast = self._ballast(mean_squares)[:, np.newaxis]
        return _nccf(inner, norm + ballast), _nccf(inner, norm), norm.mean(axis=1)

    def _ballast(self, mean_squares: NDArray[np.float64]) -> NDArray[np.float32]:
        frame_energy = mean_squares * self._opts.nccf_window_size()
        return (frame_energy**2 * self._opts.nccf_ballast).astype(np.float32)

    def _search(
        self,
        begin: int,
        pitch_nccf: NDArray[np.float32],
        mean_squares: NDArray[np.float64],
        norm_products: NDArray[np.float32],
    ) -> None:
        """Extends the paths by new frames, starting with frame `begin`, and finds the best path."""
        num_before = min(max(self._opts.recompute_frame - begin, 0), len(pitch_nccf))
        self._extend(pitch_nccf[:num_before])
        self._first_pass.add(pitch_nccf[:num_before], mean_squares[:num_before], norm_products[:num_before])
        if num_before and begin + num_before == self._opts.recompute_frame:
            self._recompute()
        self._extend(pitch_nccf[num_before:])
        self._trace_back()

    def _extend(self, pitch_nccf: NDArray[np.float32]) -> None:
        if len(pitch_nccf):
            backpointers, self._forward_cost = self._viterbi(pitch_nccf, self._forward_cost)
            self._backpointers.append(backpointers)
            self._best_states.append(np.full(len(backpointers), _UNKNOWN_STATE, np.int32))

    def _viterbi(
        self, pitch_nccf: NDArray[np.float32], forward_cost: NDArray[np.float32]
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        local_cost = 1 - pitch_nccf + np.float32(self._opts.soft_min_f0) * self._lags_s * pitch_nccf
        return pitch_viterbi(local_cost, self._step_factor, forward_cost)

    def _recompute(self) -> None:
        """Repeats the search with the energy of the whole signal so far."""
        first_pass, self._first_pass = self._first_pass, _FirstPass(len(self._lags_s))
        if self._opts.nccf_ballast_online or not len(first_pass.mean_squares):
            return
        mean_square = self._energy.mean_square()
        change = np.abs(first_pass.mean_squares - mean_square)
        if np.all(change <= _SAME_ENERGY_TOLERANCE * (first_pass.mean_squares + mean_square)):
            return
        old = self._ballast(first_pass.mean_squares) + first_pass.norm_products
        new = self._ballast(np.array([mean_square])) + first_pass.norm_products
        scale = np.sqrt(np.divide(old, new, out=np.ones_like(old), where=new > 0))
        self._backpointers.array[:], self._forward_cost = self._viterbi(
            first_pass.pitch_nccf * scale[:, np.newaxis], np.zeros_like(self._forward_cost)
        )
        self._best_states.array.fill(_UNKNOWN_STATE)
        self._trace_back()

    def _trace_back(self) -> None:
        """Traces the best path back from its end to where it joins the previous best path."""
        state = int(self._forward_cost.argmin())
        best_states, backpointers = self._best_states.array, self._backpointers.array
        for row in range(len(best_states) - 1, -1, -1):
            if best_states[row] == state:
                break
            best_states[row] = state
            state = backpointers[row, state]
        self._frames_latency = self._latency_frames()

    def _latency_frames(self) -> int:
        """Returns how many of the newest frames must wait because paths through them still compete."""
        lowest, highest = 0, len(self._lags_s) - 1
        backpointers = self._backpointers.array
        most = min(self._opts.max_frames_latency, len(backpointers))
        # Paths never cross, so the outermost two are enough.
        for latency in range(most):
            pointers = backpointers[-1 - latency]
            lowest, highest = pointers[lowest], pointers[highest]
            if lowest == highest:
                return latency
        return most

    def _drop_old(self) -> None:
        """Drops the signal that no future frame needs, and frames beyond the history."""
        needed = max(0, int(self._frame_starts(self._num_frames(), self._num_frames() + 1)[0]))
        num_old = min(max(needed - self._signal_start, 0), len(self._signal))
        self._signal = self._signal[num_old:].copy()
        self._signal_start += num_old
        excess = len(self._best_states.array) - (self._history or 0)
        if self._history is not None and excess > self._history:
            for rows in (self._pov_nccf, self._backpointers, self._best_states):
                rows.drop(excess)
            self._first_frame += excess


class _Rows:
    """An array that grows at its end without a copy of everything each time, and shrinks at its start."""

    def __init__(self, empty: NDArray[Any]) -> None:
        self._buffer = empty
        self.array = empty

    def append(self, rows: NDArray[Any]) -> None:
        """Adds rows; views of `array` may be stale afterwards."""
        begin, end = len(self.array), len(self.array) + len(rows)
        if end > len(self._buffer):
            self._buffer = np.empty((2 * end, *self.array.shape[1:]), self.array.dtype)
            self._buffer[:begin] = self.array
        self._buffer[begin:end] = rows
        self.array = self._buffer[:end]

    def drop(self, num_rows: int) -> None:
        """Removes the first rows."""
        self._buffer = self.array[num_rows:].copy()
        self.array = self._buffer


class _FirstPass:
    """What repeating the search needs: the NCCF with ballast, interpolated, the energies, the products."""

    def __init__(self, num_lags: int) -> None:
        self.pitch_nccf = np.zeros((0, num_lags), np.float32)
        self.mean_squares = np.zeros(0)
        self.norm_products = np.zeros(0, np.float32)

    def add(
        self,
        pitch_nccf: NDArray[np.float32],
        mean_squares: NDArray[np.float64],
        norm_products: NDArray[np.float32],
    ) -> None:
        """Adds frames."""
        if len(pitch_nccf):
            self.pitch_nccf = np.concatenate([self.pitch_nccf, pitch_nccf])
            self.mean_squares = np.concatenate([self.mean_squares, mean_squares])
            self.norm_products = np.concatenate([self.norm_products, norm_products])


def _select_lags_s(opts: PitchExtractionOptions) -> NDArray[np.float32]:
    """Lags in a geometric progression; single precision decides how many there are, as in Kaldi."""
    lag = np.float32(1 / opts.max_f0)
    last = np.float32(1 / opts.min_f0)
    ratio = 1 + float(np.float32(opts.delta_pitch))
    lags = []
    while lag <= last:
        lags.append(lag)
        lag = np.float32(float(lag) * ratio)
    return np.array(lags, np.float32)


def _nccf(inner: NDArray[np.float32], norm: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(inner, np.sqrt(norm), out=np.zeros_like(inner), where=norm > 0)
