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
from pykaldi_server.kaldi._core import FrameBuffer
from pykaldi_server.kaldi._core import OnlineCmvn as CoreOnlineCmvn
from pykaldi_server.kaldi.feat.online_feature import (
    MAX_SPEAKER_FRAMES,
    FloatFrames,
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
    "make_online_cmvn",
    "read_cmvn_stats",
]

Stats = NDArray[np.float64]

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

    def after(self, stream_stats: Stats, frozen: Stats | None) -> "OnlineCmvnState":
        """Returns the state after a stream that began with this one.

        Args:
            stream_stats: sums over the frames of the stream, (2, dim + 1).
            frozen: the statistics that are frozen by then, (2, dim + 1), if any.
        """
        speaker = stream_stats + self.speaker_cmvn_stats if self.speaker_cmvn_stats.size else stream_stats
        return OnlineCmvnState(speaker, self.global_cmvn_stats, _no_stats() if frozen is None else frozen)

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
        self._opts = opts
        super().__init__(src)
        self.set_state(state)
        self._normalized = FrameBuffer(src.dim(), history)

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        if self._core.frozen is not None:
            return self._core.apply_frozen(self._src.get_frames(begin, end))
        first = self._normalized.end
        if end > first:
            frames = self._src.get_frames(first, end)
            first_leaving, end_leaving = self._core.leaving(len(frames))
            leaving = frames[:0]
            if end_leaving > first_leaving:
                leaving = self._src.get_frames(first_leaving, end_leaving)
            self._normalized.append(self._core.normalize(frames, leaving))
        return self._normalized.get(begin, end)

    def set_state(self, state: OnlineCmvnState) -> None:
        """Starts from another state; call it before the first frame is read.

        Raises:
            ConfigError: the statistics have a different dimension from the frames, or none are global.
        """
        self._core = make_online_cmvn(self._opts, state, self._src.dim())
        self._state = state

    def get_state(self, cur_frame: int) -> OnlineCmvnState:
        """Returns the state after frame ``cur_frame`` (-1: before any), for the speaker's next utterance.

        The speaker's statistics cover every frame since the start of the stream, not just the window.
        """
        counted = self._core.num_counted
        if cur_frame >= counted:
            self._core.count(self._src.get_frames(counted, cur_frame + 1))
        return self._state.after(self._core.total, self._core.frozen)

    def freeze(self, cur_frame: int) -> None:
        """Uses the statistics at ``cur_frame`` for all frames requested from now on."""
        window = min(cur_frame + 1, self._opts.cmn_window)
        self._core.freeze(self._src.get_frames(cur_frame + 1 - window, cur_frame + 1))


def make_online_cmvn(opts: OnlineCmvnOptions, state: OnlineCmvnState, dim: int) -> CoreOnlineCmvn:
    """Makes what normalises the frames of a stream.

    Args:
        opts: the options.
        state: what is known about the speaker.
        dim: dimension of the frames.

    Raises:
        ConfigError: the options are invalid, the statistics have a different dimension, or there are no
            global ones.
    """
    opts.validate()
    for stats in (state.speaker_cmvn_stats, state.global_cmvn_stats, state.frozen_state):
        if stats.size and stats.shape != (2, dim + 1):
            raise ConfigError(f"CMVN statistics: expected shape (2, {dim + 1}), found {stats.shape}")
    if not state.global_cmvn_stats.size:
        raise ConfigError("CMVN statistics: expected global statistics with a count above 0, found none")
    return CoreOnlineCmvn(
        dim=dim,
        window=opts.cmn_window,
        speaker_frames=opts.speaker_frames,
        global_frames=opts.global_frames,
        normalize_mean=opts.normalize_mean,
        normalize_variance=opts.normalize_variance,
        skip_dims=parse_int_list(opts.skip_dims, "skip-dims"),
        global_stats=_contiguous(state.global_cmvn_stats),
        speaker_stats=_contiguous(state.speaker_cmvn_stats) if state.speaker_cmvn_stats.size else None,
        frozen_stats=_contiguous(state.frozen_state) if state.frozen_state.size else None,
    )


def _contiguous(stats: Stats) -> Stats:
    return np.ascontiguousarray(stats, np.float64)
