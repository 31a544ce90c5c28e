"""The features and endpoints of the original's GMM plugin (``gst-plugin/gst-online-gmm-decode-faster.cc``).

samples -> MFCC -> sliding-window cepstral mean -> splice -> LDA            (with an LDA matrix)
                                               \\-> two derivatives          (without one)

The mean subtracted from frame t (``online/online-feat-input.cc``) is that of the ``cmn_window`` frames before
it, or of all frames before it if there are fewer; for the first ``min_cmn_window`` frames it is the mean of
these frames. The stream therefore begins with a second of latency.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.feat.delta import DeltaFeaturesOptions, OnlineDeltaFeature
from pykaldi_server.kaldi.feat.mfcc import MfccOptions, OnlineMfcc
from pykaldi_server.kaldi.feat.online_feature import (
    HISTORY_FRAMES,
    FloatFrames,
    FrameBuffer,
    OnlineDerivedFeature,
    OnlineFeatureInterface,
    splice_and_transform,
)
from pykaldi_server.kaldi.online2.base_feature import SamplesPipeline
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option

__all__ = ["GmmPluginOptions", "GmmPluginPipeline", "OnlineSlidingCmn"]

_MAX_CONTEXT_FRAMES = 1000
_DELTA_ORDER = 2


@dataclass
class GmmPluginOptions(Options):
    """Properties of ``onlinegmmdecodefaster`` that concern features and endpoints, with its defaults."""

    acoustic_scale: float = option(
        1.0 / 13, "Scale of acoustic log-likelihoods; larger trusts the acoustics more."
    )
    left_context: int = option(4, "Frames of left context.")
    right_context: int = option(4, "Frames of right context.")
    cmn_window: int = option(600, "Frames in the running mean; fewer follow changes of the channel faster.")
    min_cmn_window: int = option(
        100, "Frames to wait for before the first one is normalised; more are later and more accurate."
    )
    inter_utt_sil: int = option(
        50, "Frames of silence that end an utterance; more end it later and split fewer."
    )
    max_utt_length: int = option(
        1500,
        "Utterance length in frames after which half the silence is enough, a third after twice as "
        "many, etc.",
    )
    batch_size: int = option(27, "Frames decoded between two tests for the end of the utterance.")

    def validate(self) -> None:
        require_finite_options(self)
        if self.acoustic_scale <= 0:
            raise ConfigError(f"acoustic-scale: expected a positive number, found {self.acoustic_scale}")
        if not 0 < self.min_cmn_window <= self.cmn_window:
            raise ConfigError(
                "min-cmn-window, cmn-window: expected 0 < min-cmn-window <= cmn-window, found "
                f"{self.min_cmn_window}, {self.cmn_window}"
            )
        if not all(0 <= n <= _MAX_CONTEXT_FRAMES for n in (self.left_context, self.right_context)):
            raise ConfigError(
                f"left-context, right-context: expected 0 to {_MAX_CONTEXT_FRAMES}, found "
                f"{self.left_context}, {self.right_context}"
            )
        if self.inter_utt_sil < 1 or self.max_utt_length < 1 or self.batch_size < 1:
            raise ConfigError(
                "inter-utt-sil, max-utt-length, batch-size: expected at least 1, found "
                f"{self.inter_utt_sil}, {self.max_utt_length}, {self.batch_size}"
            )

    def end_of_utterance(self, num_frames_decoded: int, trailing_silence_frames: int) -> bool:
        """Returns whether an utterance has ended (``online/online-faster-decoder.cc``).

        Args:
            num_frames_decoded: length of the utterance so far, in frames.
            trailing_silence_frames: frames of silence at the end of the best path.
        """
        enough = self.inter_utt_sil // (1 + num_frames_decoded // self.max_utt_length)
        return num_frames_decoded > 0 and trailing_silence_frames >= min(enough, num_frames_decoded)


class OnlineSlidingCmn(OnlineDerivedFeature):
    """Subtracts the running mean from each frame."""

    def __init__(
        self, src: OnlineFeatureInterface, cmn_window: int, min_window: int, history: int | None = None
    ):
        """Keeps ``history`` normalised frames (None: all); ``src`` must keep ``cmn_window`` frames."""
        super().__init__(src)
        self._cmn_window = cmn_window
        self._min_window = min_window
        self._normalized = FrameBuffer(src.dim(), history)
        self._sum = np.zeros(src.dim())

    def num_frames_ready(self) -> int:
        ready = self._src.num_frames_ready()
        if ready >= self._min_window or (ready > 0 and self._src.is_last_frame(ready - 1)):
            return ready
        return 0

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        if end > self.num_frames_ready():
            raise IndexError(
                f"expected frames up to {self.num_frames_ready()}, which are ready, found {begin} to {end}"
            )
        first = self._normalized.end
        if end > first:
            frames = self._src.get_frames(first, end)
            self._normalized.append(frames - self._means(frames, first))
        return self._normalized.get(begin, end)

    def _means(self, frames: FloatFrames, first: int) -> FloatFrames:
        """Returns what to subtract from the next frames, (n, dim); the first one has number ``first``."""
        start = min(self._src.num_frames_ready(), self._min_window)
        if first == 0:
            self._sum = self._src.get_frames(0, start).sum(axis=0, dtype=np.float64)
        numbers = np.arange(first, first + len(frames))
        # What enters the sum after each frame, and what leaves it.
        change = np.where(numbers[:, np.newaxis] >= start, frames, 0).astype(np.float64)
        leaving = numbers[numbers >= self._cmn_window] - self._cmn_window
        if len(leaving):
            change[-len(leaving) :] -= self._src.get_frames(leaving[0], leaving[-1] + 1)
        after = self._sum + np.cumsum(change, axis=0)
        sums = np.concatenate([self._sum[np.newaxis], after[:-1]])
        self._sum = after[-1]
        counts = np.clip(numbers, start, self._cmn_window)
        means: FloatFrames = (sums / counts[:, np.newaxis]).astype(np.float32)
        return means


class GmmPluginPipeline(SamplesPipeline):
    """The features of one stream of any length: history is bounded."""

    def __init__(self, opts: GmmPluginOptions, lda_mat: NDArray[np.float32] | None = None):
        """Starts a stream.

        Raises:
            ConfigError: an option is invalid.
            ModelFormatError: the LDA matrix does not fit the features.
        """
        opts.validate()
        mfcc_opts = MfccOptions(use_energy=False)
        # The original adds noise of one 16-bit unit; without it results are reproducible.
        mfcc_opts.frame_opts.dither = 0.0
        mfcc_opts.frame_opts.max_feature_vectors = opts.cmn_window + HISTORY_FRAMES
        base = OnlineMfcc(mfcc_opts)
        cmn = OnlineSlidingCmn(base, opts.cmn_window, opts.min_cmn_window, HISTORY_FRAMES)
        super().__init__(_with_context(opts, cmn, lda_mat), [base])


def _with_context(
    opts: GmmPluginOptions, cmn: OnlineSlidingCmn, lda_mat: NDArray[np.float32] | None
) -> OnlineFeatureInterface:
    if lda_mat is None:
        # The original derives the window from the left context.
        return OnlineDeltaFeature(DeltaFeaturesOptions(_DELTA_ORDER, opts.left_context // 2), cmn)
    try:
        return splice_and_transform(lda_mat, cmn, opts.left_context, opts.right_context)
    except ValueError as error:
        raise ModelFormatError(f"lda-mat: {error}") from None
