"""Online cepstral mean and variance normalisation (``feat/online-feature.cc``, ``transform/cmvn.cc``).

Frame t is normalised with the statistics of the last ``cmn_window`` frames up to and including t. Until the
window is full, they are topped up with statistics of the speaker's earlier utterances (at most
``speaker_frames`` frames) and then of all speakers (at most ``global_frames``). Statistics are kept in
double precision as a (2, dim + 1) matrix: the sums and the count, then the sums of squares and an unused 0.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError, ConfigError
from pykaldi_server.kaldi.feat.online_feature import (
    MAX_SPEAKER_FRAMES,
    FloatFrames,
    FrameBuffer,
    OnlineDerivedFeature,
    OnlineFeatureInterface,
)
from pykaldi_server.kaldi.util.finite import read_finite_matrix, require_finite
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
from pykaldi_server.kaldi.util.options import Options, option, parse_int_list

__all__ = [
    "OnlineCmvn",
    "OnlineCmvnOptions",
    "OnlineCmvnState",
    "Stats",
    "read_cmvn_stats",
]

Stats = NDArray[np.float64]

_VARIANCE_FLOOR = 1e-20
# The sums are divided by the count.
_LEAST_COUNT = 1e-30
# Bounds on what audio can have: a speaker's features exceed those of the training data by at most the factor;
# rounding (files have six digits) raises a squared sum above count times sum of squares by at most this part.
_MAX_SPEAKER_FACTOR = 1e6
_ROUNDING = 1e-3


@dataclass
class OnlineCmvnOptions(Options):
    """Options of `OnlineCmvn`; the names are those of ``apply-cmvn-online``."""

    # An option of Vosk's Kaldi: frames with less energy are normalised with the previous frame's statistics.
    without_effect: ClassVar[tuple[str, ...]] = ("cmn-min-energy",)

    cmn_window: int = option(
        600, "Frames in the sliding window; fewer follow changes of the channel faster, but vary more."
    )
    speaker_frames: int = option(
        600, "Maximum number of frames from the speaker's earlier utterances that fill up the window."
    )
    global_frames: int = option(
        200, "Maximum number of frames from the global statistics that fill up the window."
    )
    normalize_mean: bool = option(True, "Subtract the mean.", name="norm-means")
    normalize_variance: bool = option(False, "Divide by the standard deviation as well.", name="norm-vars")
    skip_dims: str = option("", "Dimensions to leave unchanged, separated by colons.")

    def validate(self) -> None:
        """Raises `ConfigError` where a value is invalid.

        As in Kaldi, a window may be shorter than the other two numbers of frames; it limits them.
        """
        if self.cmn_window < 1:
            raise ConfigError(f"cmn-window: expected at least 1 frame, found {self.cmn_window}")
        if self.speaker_frames < 0 or self.global_frames < 0:
            raise ConfigError(
                "speaker-frames and global-frames: expected 0 frames or more, found "
                f"{self.speaker_frames} and {self.global_frames}"
            )
        if self.normalize_variance and not self.normalize_mean:
            raise ConfigError("norm-vars: the variance can be normalised only together with the mean")
        parse_int_list(self.skip_dims, "skip-dims")


def _no_stats() -> Stats:
    return np.zeros((0, 0))


@dataclass
class OnlineCmvnState:
    """What normalisation has learned about a speaker; each matrix is (2, dim + 1) float64, or empty (0, 0).

    Attributes:
        speaker_cmvn_stats: sums over all frames of the speaker so far.
        global_cmvn_stats: sums over many speakers.
        frozen_state: smoothed statistics that replace the sliding window once it is frozen.
    """

    speaker_cmvn_stats: Stats = field(default_factory=_no_stats)
    global_cmvn_stats: Stats = field(default_factory=_no_stats)
    frozen_state: Stats = field(default_factory=_no_stats)

    def check(self, model_stats: Stats) -> None:
        """Checks that audio can have these statistics.

        Args:
            model_stats: the model's global statistics, (2, dim + 1).

        Raises:
            AdaptationStateError: they are for features of another dimension, or cannot come from audio.
        """
        _check_stats("the speaker's", self.speaker_cmvn_stats, model_stats)
        _check_stats("global", self.global_cmvn_stats, model_stats)
        # Frozen statistics have no squares unless variances are normalised.
        _check_stats("frozen", self.frozen_state, model_stats, has_squares=False)
        for name, stats in (("global", self.global_cmvn_stats), ("frozen", self.frozen_state)):
            if stats.size and stats[0, -1] == 0:
                raise AdaptationStateError(
                    f"adaptation state: expected {name} CMVN statistics with a count above 0, found 0"
                )

    @classmethod
    def read(cls, reader: KaldiReader) -> "OnlineCmvnState":
        """Reads Kaldi's form, binary or text.

        Raises:
            ModelFormatError: the state is damaged; see `read_cmvn_stats`.
        """
        reader.expect_token("<OnlineCmvnState>")
        stats = []
        for token in ("<SpeakerCmvnStats>", "<GlobalCmvnStats>", "<FrozenState>"):
            reader.expect_token(token)
            stats.append(read_cmvn_stats(reader, empty_allowed=True))
        reader.expect_token("</OnlineCmvnState>")
        return cls(*stats)

    def write(self, writer: KaldiWriter) -> None:
        """Writes Kaldi's form."""
        writer.write_token("<OnlineCmvnState>")
        writer.write_token("<SpeakerCmvnStats>")
        writer.write_matrix(self.speaker_cmvn_stats)
        writer.write_token("<GlobalCmvnStats>")
        writer.write_matrix(self.global_cmvn_stats)
        writer.write_token("<FrozenState>")
        writer.write_matrix(self.frozen_state)
        writer.write_token("</OnlineCmvnState>")


def _check_stats(name: str, stats: Stats, model_stats: Stats, has_squares: bool = True) -> None:
    """Checks statistics of a state against those of the model; empty ones pass."""
    if not stats.size:
        return
    prefix = f"adaptation state: {name} CMVN statistics:"
    if stats.shape != model_stats.shape:
        raise AdaptationStateError(f"{prefix} expected shape {model_stats.shape}, found {stats.shape}")
    count, sums, squares = stats[0, -1], stats[0, :-1], stats[1, :-1]
    if not 0 <= count <= MAX_SPEAKER_FRAMES:
        raise AdaptationStateError(f"{prefix} expected 0 to {MAX_SPEAKER_FRAMES:g} frames, found {count:g}")
    largest = _MAX_SPEAKER_FACTOR * max(1.0, float(np.sqrt(model_stats[1, :-1].max() / model_stats[0, -1])))
    sum_found = float(np.abs(sums).max())
    if not sum_found <= largest * count:
        raise AdaptationStateError(
            f"{prefix} expected means up to {largest:g}, found a sum of {sum_found:g} for {count:g} frames"
        )
    if not has_squares:
        return
    with np.errstate(over="ignore"):
        impossible = (np.square(sums) > (1 + _ROUNDING) * count * squares) | (squares > largest**2 * count)
    if impossible.any():
        dim = int(np.argmax(impossible))
        raise AdaptationStateError(
            f"{prefix} expected sums and squares that {count:g} frames can have, "
            f"found {sums[dim]:g} and {squares[dim]:g} in dimension {dim}"
        )


def read_cmvn_stats(reader: KaldiReader, empty_allowed: bool = False) -> Stats:
    """Reads a matrix of statistics, (2, dim + 1), float64.

    Raises:
        ModelFormatError: the shape is wrong, a value or mean is not finite, or the count is negative.
    """
    start = reader.offset
    stats = read_finite_matrix(reader, "CMVN statistics", np.float64)
    if stats.size == 0 and empty_allowed:
        return _no_stats()
    if stats.shape[0] != 2 or stats.shape[1] < 2:
        raise reader.error("statistics of 2 rows", f"a matrix of {stats.shape}", start)
    count = stats[0, -1]
    if count < 0 or 0 < count < _LEAST_COUNT:
        raise reader.error(f"CMVN statistics with a count of 0, or {_LEAST_COUNT} or more", str(count), start)
    if count > 0:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                require_finite(stats / count, "their means", np.float32)
        except ValueError as error:
            raise reader.error("CMVN statistics of finite means", str(error), start) from None
    return stats


class OnlineCmvn(OnlineDerivedFeature):
    """Normalises a stream of frames."""

    def __init__(
        self,
        opts: OnlineCmvnOptions,
        state: OnlineCmvnState,
        src: OnlineFeatureInterface,
        history: int | None = None,
    ):
        """Starts from a state.

        Args:
            opts: the options.
            state: what is known about the speaker.
            src: the frames to normalise; it must keep ``cmn_window`` frames behind the newest one read here.
            history: number of normalised frames to keep; None keeps all.

        Raises:
            ConfigError: the statistics have a different dimension from ``src``, or there are none.
        """
        opts.validate()
        dim = src.dim()
        self._opts = opts
        super().__init__(src)
        self._skip = parse_int_list(opts.skip_dims, "skip-dims")
        if any(not 0 <= skipped < dim for skipped in self._skip):
            raise ConfigError(f"skip-dims: expected dimensions below {dim}, found {opts.skip_dims}")
        self.set_state(state)
        self._normalized = FrameBuffer(dim, history)
        # Sums over the window that ends with the newest normalised frame, and over the whole stream. The
        # squares are summed up only if variances are normalised.
        self._rows = 2 if opts.normalize_variance else 1
        self._window_sums = np.zeros((self._rows, dim))
        self._total = np.zeros((2, dim + 1))
        self._total_end = 0

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        if self._frozen.size:
            frames = self._src.get_frames(begin, end)
            return self._apply(frames, np.broadcast_to(self._frozen, (len(frames), *self._frozen.shape)))
        first = self._normalized.end
        if end > first:
            frames = self._src.get_frames(first, end)
            self._normalized.append(self._apply(frames, self._smoothed_stats(frames, first)))
        return self._normalized.get(begin, end)

    def set_state(self, state: OnlineCmvnState) -> None:
        """Starts from another state; call it before the first frame is read.

        Raises:
            ConfigError: the statistics have a different dimension from the frames, or none are global.
        """
        dim = self._src.dim()
        for stats in (state.speaker_cmvn_stats, state.global_cmvn_stats, state.frozen_state):
            if stats.size and stats.shape != (2, dim + 1):
                raise ConfigError(f"CMVN statistics: expected shape (2, {dim + 1}), found {stats.shape}")
        if not state.global_cmvn_stats.size or state.global_cmvn_stats[0, dim] <= 0:
            raise ConfigError("CMVN statistics: expected global statistics with a count above 0, found none")
        self._state = state
        self._frozen = state.frozen_state

    def get_state(self, cur_frame: int) -> OnlineCmvnState:
        """Returns the state after frame ``cur_frame`` (-1: before any), for the speaker's next utterance.

        The speaker's statistics cover every frame since the start of the stream, not just the window.
        """
        if cur_frame >= self._total_end:
            frames = self._src.get_frames(self._total_end, cur_frame + 1)
            self._add_to_total(frames)
        speaker = self._total.copy()
        if self._state.speaker_cmvn_stats.size:
            speaker += self._state.speaker_cmvn_stats
        return OnlineCmvnState(speaker, self._state.global_cmvn_stats, self._frozen)

    def freeze(self, cur_frame: int) -> None:
        """Uses the statistics at ``cur_frame`` for all frames requested from now on."""
        window = min(cur_frame + 1, self._opts.cmn_window)
        frames = self._src.get_frames(cur_frame + 1 - window, cur_frame + 1)
        sums = np.zeros((1, 2, self._src.dim()))
        sums[0, : self._rows] = _powers(frames, self._rows).sum(axis=0)
        self._frozen = self._smooth(sums, np.array([float(window)]))[0]

    def _add_to_total(self, frames: FloatFrames) -> None:
        doubles = frames.astype(np.float64)
        self._total[0, :-1] += doubles.sum(0)
        self._total[1, :-1] += np.einsum("td,td->d", doubles, doubles)
        self._total[0, -1] += len(frames)
        self._total_end += len(frames)

    def _smoothed_stats(self, frames: FloatFrames, first: int) -> Stats:
        """Returns the statistics for each of the given frames, the first of which has number ``first``."""
        end = first + len(frames)
        self._add_to_total(frames[self._total_end - first :])
        change = _powers(frames, self._rows)
        window = self._opts.cmn_window
        leaving = max(first, window)
        if leaving < end:
            left = self._src.get_frames(leaving - window, end - window)
            change[leaving - first :] -= _powers(left, self._rows)
        np.cumsum(change, axis=0, out=change)
        change += self._window_sums
        self._window_sums = change[-1].copy()
        counts = np.minimum(np.arange(first + 1, end + 1, dtype=np.float64), window)
        return self._smooth(change, counts)

    def _smooth(self, sums: Stats, counts: NDArray[np.float64]) -> Stats:
        """Tops up (n, rows, dim) sums of ``counts`` frames; returns (n, rows, dim + 1) with the counts."""
        stats = np.zeros((len(sums), sums.shape[1], sums.shape[2] + 1))
        stats[:, :, :-1] = sums
        stats[:, 0, -1] = counts
        if counts[0] >= self._opts.cmn_window:
            return stats
        # Kaldi does not smooth the squares if it does not need them and has speaker statistics.
        rows = self._rows if self._state.speaker_cmvn_stats.size else sums.shape[1]
        for prior, limit in (
            (self._state.speaker_cmvn_stats, self._opts.speaker_frames),
            (self._state.global_cmvn_stats, self._opts.global_frames),
        ):
            if not prior.size or prior[0, -1] <= 0:
                continue
            wanted = np.minimum(self._opts.cmn_window - stats[:, 0, -1], limit)
            if prior is self._state.speaker_cmvn_stats:
                wanted = np.minimum(wanted, prior[0, -1])
            scale = np.maximum(wanted, 0.0) / prior[0, -1]
            stats[:, :rows] += scale[:, np.newaxis, np.newaxis] * prior[:rows]
        return stats

    def _apply(self, frames: FloatFrames, stats: Stats) -> FloatFrames:
        """Normalises (n, dim) frames with (n, rows, dim + 1) statistics."""
        if not self._opts.normalize_mean:
            return frames
        counts = stats[:, 0, -1:]
        mean = stats[:, 0, :-1] / counts
        if self._skip:
            mean[:, self._skip] = 0.0
        if not self._opts.normalize_variance:
            return frames - mean.astype(np.float32)
        variance = np.maximum(stats[:, 1, :-1] / counts - np.square(mean), _VARIANCE_FLOOR)
        if self._skip:
            variance[:, self._skip] = 1.0
        scale = 1.0 / np.sqrt(variance)
        with np.errstate(over="ignore"):
            return frames * scale.astype(np.float32) - (mean * scale).astype(np.float32)


def _powers(frames: FloatFrames, rows: int) -> Stats:
    """(n, dim) frames -> (n, rows, dim): the values and, if there are two rows, their squares."""
    powers = np.empty((len(frames), rows, frames.shape[1]))
    powers[:, 0] = frames
    if rows == 2:
        np.square(powers[:, 0], out=powers[:, 1])
    return powers
