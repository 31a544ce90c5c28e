"""Features computed from correlation and pitch (``feat/pitch-functions.cc``, class OnlineProcessPitch).

The correlation n and the pitch f of each frame give these features, of which the options choose, in this
order:

    voicing          pov-scale ((1.0001 - n)^0.15 - 1) + pov-offset
    normalised       pitch-scale (log f - average), over a window of frames around this one, each with weight
    log pitch        p(n) = 1 / (1 + e^-r),  r = -5.2 + 5.4 e^{7.5 (|n| - 1)} + 4.8 |n| - 2 e^{-10 |n|}
                                                 + 4.2 e^{20 (|n| - 1)}, roughly the probability of voicing
    change in        delta-pitch-scale (sum_k k log f(t + k) / sum_k k^2 + noise), k in +-delta-window; the
    log pitch        noise smooths the steps in which the pitch is measured
    raw log pitch    log f

The window is truncated where frames are missing: at the start and, until the input has finished, at the
newest frame. The pitch of a frame may change as the stream continues, and so may its features.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.online_feature import FloatFrames, OnlineFeatureInterface
from pykaldi_server.kaldi.feat.pitch_extraction import NCCF, PITCH_HZ
from pykaldi_server.kaldi.feat.pitch_options import ProcessPitchOptions

__all__ = ["OnlineProcessPitch"]

_NOISE_BLOCK_FRAMES = 1024


class OnlineProcessPitch(OnlineFeatureInterface):
    """Pitch features as a stream.

    Args:
        opts: see `ProcessPitchOptions`.
        src: correlation and pitch, usually an `OnlinePitchFeature`.
        noise_seed: makes the noise reproducible; None for no noise.

    Raises:
        ConfigError: an option is invalid, or `src` does not have two dimensions.
    """

    def __init__(
        self, opts: ProcessPitchOptions, src: OnlineFeatureInterface, noise_seed: int | None = 0
    ) -> None:
        opts.validate()
        if src.dim() != 2:
            raise ConfigError(f"expected correlation and pitch (2 dimensions), found {src.dim()} dimensions")
        self._opts = opts
        self._src = src
        self._noise_seed = noise_seed

    def dim(self) -> int:
        return self._opts.dim()

    def num_frames_ready(self) -> int:
        ready = self._src.num_frames_ready()
        if ready == 0:
            return 0
        if self._src.is_last_frame(ready - 1):
            return ready + self._opts.delay
        return max(0, ready - self._opts.normalization_right_context + self._opts.delay)

    def is_last_frame(self, frame: int) -> bool:
        if frame <= -1:
            return self._src.is_last_frame(-1)
        if frame < self._opts.delay:
            return not self._src.is_last_frame(-1) and self._src.is_last_frame(0)
        return self._src.is_last_frame(frame - self._opts.delay)

    def frame_shift_in_seconds(self) -> float:
        return self._src.frame_shift_in_seconds()

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        if not 0 <= begin <= end <= self.num_frames_ready():
            raise IndexError(
                f"expected frames up to {self.num_frames_ready()}, which are ready, found {begin} to {end}"
            )
        frames = np.empty((end - begin, self.dim()), np.float32)
        if begin == end:
            return frames
        # The delay repeats the first frame.
        sources = np.maximum(np.arange(begin, end) - self._opts.delay, 0)
        first, last = int(sources[0]), int(sources[-1]) + 1
        context = max(self._opts.delta_window, self._opts.normalization_left_context)
        window_begin = max(0, first - context)
        context = max(self._opts.delta_window, self._opts.normalization_right_context)
        window_end = min(last + context, self._src.num_frames_ready())
        window = self._src.get_frames(window_begin, window_end)
        nccf, log_pitch = window[:, NCCF], np.log(window[:, PITCH_HZ])
        rows = sources - window_begin
        columns = []
        if self._opts.add_pov_feature:
            columns.append(self._opts.pov_scale * _voicing_feature(nccf[rows]) + self._opts.pov_offset)
        if self._opts.add_normalized_log_pitch:
            average = self._average_log_pitch(nccf, log_pitch, rows)
            columns.append(self._opts.pitch_scale * (log_pitch[rows] - average))
        if self._opts.add_delta_pitch:
            change = self._delta(log_pitch, rows) + self._noise(sources)
            columns.append(self._opts.delta_pitch_scale * change)
        if self._opts.add_raw_log_pitch:
            columns.append(log_pitch[rows])
        for index, column in enumerate(columns):
            frames[:, index] = column
        return frames

    def _average_log_pitch(
        self, nccf: NDArray[np.float32], log_pitch: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Averages of log pitch around `rows`, weighted by the probability of voicing."""
        weights = _voicing_probability(nccf)
        weight_sums = np.concatenate([[0.0], np.cumsum(weights)])
        pitch_sums = np.concatenate([[0.0], np.cumsum(weights * log_pitch)])
        begins = np.maximum(rows - self._opts.normalization_left_context, 0)
        ends = np.minimum(rows + self._opts.normalization_right_context + 1, len(nccf))
        means: NDArray[np.float64] = pitch_sums[ends] - pitch_sums[begins]
        means /= weight_sums[ends] - weight_sums[begins]
        return means

    def _delta(self, log_pitch: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Regression slopes; the outermost frames are repeated where there are no more."""
        steps = np.arange(-self._opts.delta_window, self._opts.delta_window + 1)
        neighbours = log_pitch[np.clip(rows[:, np.newaxis] + steps, 0, len(log_pitch) - 1)]
        slopes: NDArray[np.float64] = neighbours @ (steps / (steps**2).sum())
        return slopes

    def _noise(self, frames: NDArray[np.intp]) -> NDArray[np.float64] | float:
        """Noise that depends only on the number of a frame, however often the frame is requested."""
        if self._noise_seed is None or self._opts.delta_pitch_noise_stddev == 0:
            return 0.0
        blocks = {
            block: np.random.default_rng((self._noise_seed, block)).standard_normal(_NOISE_BLOCK_FRAMES)
            for block in np.unique(frames // _NOISE_BLOCK_FRAMES).tolist()
        }
        noise = np.array([blocks[f // _NOISE_BLOCK_FRAMES][f % _NOISE_BLOCK_FRAMES] for f in frames.tolist()])
        return self._opts.delta_pitch_noise_stddev * noise


def _voicing_feature(nccf: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spreads the peak of the correlation just below 1, which makes the feature nearly Gaussian."""
    return (1.0001 - np.clip(nccf, -1, 1).astype(np.float64)) ** 0.15 - 1


def _voicing_probability(nccf: NDArray[np.float32]) -> NDArray[np.float64]:
    """Approximates the probability of voicing; Kaldi's authors fitted it by hand to the Keele corpus."""
    n = np.minimum(np.abs(nccf.astype(np.float64)), 1)
    log_odds = -5.2 + 5.4 * np.exp(7.5 * (n - 1)) + 4.8 * n - 2 * np.exp(-10 * n) + 4.2 * np.exp(20 * (n - 1))
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
    return probabilities
