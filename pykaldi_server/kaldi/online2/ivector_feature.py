"""Online i-vectors (``online2/online-ivector-feature.cc``).

Two chains of features lead to an i-vector: CMVN -> splice -> LDA selects the Gaussians (posteriors), and
splice -> LDA without CMVN provides the statistics, so that the i-vector learns the offset that CMVN would
remove. Silence weighting gives frames their weights; when it revises them, frames are subtracted again
(negative weights).
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, DecoderError
from pykaldi_server.kaldi._core import FrameBuffer, FrameWeights, GaussianPosteriors, OnlineIvectorModel
from pykaldi_server.kaldi._core import OnlineIvectorFeature as CoreIvectorFeature
from pykaldi_server.kaldi.feat.cmvn import (
    OnlineCmvnOptions,
    OnlineCmvnState,
    make_online_cmvn,
    read_cmvn_stats,
)
from pykaldi_server.kaldi.feat.feature_window import OnlineWindowedFeature
from pykaldi_server.kaldi.feat.online_feature import (
    FloatFrames,
    OnlineFeatureInterface,
    packed_transform,
    read_transform,
)
from pykaldi_server.kaldi.gmm import DiagGmm
from pykaldi_server.kaldi.ivector import IvectorExtractor, OnlineIvectorEstimationStats
from pykaldi_server.kaldi.online2.silence_weighting import DeltaWeights
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
from pykaldi_server.kaldi.util.options import Options, option, read_options

__all__ = [
    "OnlineIvectorExtractionConfig",
    "OnlineIvectorExtractionInfo",
    "OnlineIvectorExtractorAdaptationState",
    "OnlineIvectorFeature",
    "OnlineSpliceOptions",
]


@dataclass
class OnlineSpliceOptions(Options):
    """How many neighbours are appended to a frame."""

    left_context: int = option(4, "Frames of left context.")
    right_context: int = option(4, "Frames of right context.")

    def validate(self) -> None:
        if not (0 <= self.left_context <= 1000 and 0 <= self.right_context <= 1000):
            raise ConfigError(
                "left-context and right-context: expected 0 to 1000 frames, found "
                f"{self.left_context} and {self.right_context}"
            )


@dataclass
class OnlineIvectorExtractionConfig(Options):
    """Options of i-vector extraction, as in a model's ``ivector_extractor.conf``."""

    lda_mat_rxfilename: str = option("", "File of the LDA matrix.", name="lda-matrix", path=True)
    global_cmvn_stats_rxfilename: str = option(
        "", "File of global CMVN statistics.", name="global-cmvn-stats", path=True
    )
    splice_config_rxfilename: str = option(
        "", "Configuration file of splicing.", name="splice-config", path=True
    )
    cmvn_config_rxfilename: str = option("", "Configuration file of CMVN.", name="cmvn-config", path=True)
    online_cmvn_iextractor: bool = option(False, "Use CMVN for the statistics as well.")
    diag_ubm_rxfilename: str = option("", "File of the diagonal Gaussians (UBM).", name="diag-ubm", path=True)
    ivector_extractor_rxfilename: str = option(
        "", "File of the i-vector extractor.", name="ivector-extractor", path=True
    )
    ivector_period: int = option(
        10, "Frames between estimates; fewer follow the speaker faster and are slower."
    )
    num_gselect: int = option(5, "Maximum number of Gaussians per frame; more are slower and more accurate.")
    min_post: float = option(0.025, "Posteriors below this are dropped; larger is faster and less accurate.")
    posterior_scale: float = option(
        0.1, "Scale of the posteriors; smaller counts correlated frames less and adapts more slowly."
    )
    max_count: float = option(
        0.0, "Scaled frame count above which the prior grows in proportion; 0 for never."
    )
    num_cg_iters: int = option(
        15, "Conjugate-gradient steps per estimate; more are slower and closer to the exact solution."
    )
    use_most_recent_ivector: bool = option(True, "Use the newest estimate instead of the one for the frame.")
    greedy_ivector_extractor: bool = option(
        False, "Use all frames that are ready, even those after the current frame."
    )
    max_remembered_frames: float = option(
        1000.0,
        "Maximum number of frames remembered for a speaker's next stream; more adapt more slowly to "
        "a change.",
    )

    def validate(self) -> None:
        require_finite_options(self)
        if self.ivector_period < 1 or self.num_gselect < 1 or self.num_cg_iters < 1:
            raise ConfigError(
                "ivector-period, num-gselect and num-cg-iters: expected at least 1, found "
                f"{self.ivector_period}, {self.num_gselect}, {self.num_cg_iters}"
            )
        if not 0.0 <= self.min_post < 0.5:
            raise ConfigError(f"min-post: expected 0 to 0.5, found {self.min_post}")
        if not 0.0 < self.posterior_scale <= 1.0:
            raise ConfigError(f"posterior-scale: expected above 0 up to 1, found {self.posterior_scale}")
        if self.max_count < 0.0 or self.max_remembered_frames < 0.0:
            raise ConfigError(
                "max-count, max-remembered-frames: expected at least 0, "
                f"found {self.max_count}, {self.max_remembered_frames}"
            )


@dataclass
class OnlineIvectorExtractionInfo:
    """What all streams share: options, transforms and models; immutable.

    Attributes:
        lda_mat: (dim, spliced dim), or (dim, spliced dim + 1) with an offset column.
        global_cmvn_stats: (2, feat_dim + 1), float64.
        core: all of it, ready for use.
    """

    opts: OnlineIvectorExtractionConfig
    lda_mat: NDArray[np.floating]
    global_cmvn_stats: NDArray[np.float64]
    diag_ubm: DiagGmm
    extractor: IvectorExtractor
    cmvn_opts: OnlineCmvnOptions = field(default_factory=OnlineCmvnOptions)
    splice_opts: OnlineSpliceOptions = field(default_factory=OnlineSpliceOptions)
    core: OnlineIvectorModel = field(init=False)

    def __post_init__(self) -> None:
        self.opts.validate()
        self.check()
        opts, splice, ubm = self.opts, self.splice_opts, self.diag_ubm
        window = splice.left_context + 1 + splice.right_context
        self.core = OnlineIvectorModel(
            lda=packed_transform(self.lda_mat, window * self.expected_feature_dim()),
            gaussians=GaussianPosteriors(ubm.means_invvars, ubm.inv_vars, ubm.gconsts),
            linear=self.extractor.linear,
            quadratic=self.extractor.quadratic,
            left_context=splice.left_context,
            right_context=splice.right_context,
            adds_normalized=opts.online_cmvn_iextractor,
            num_gselect=opts.num_gselect,
            min_post=opts.min_post,
            posterior_scale=opts.posterior_scale,
        )

    @classmethod
    def from_config(
        cls, config: OnlineIvectorExtractionConfig, model_dir: Path | None = None
    ) -> "OnlineIvectorExtractionInfo":
        """Loads the files that a configuration names.

        Raises:
            ConfigError: a file is not named, or the parts do not fit together.
            FileNotFoundError: a file does not exist.
            ModelFormatError: a file is damaged.
        """
        for file in dataclasses.fields(config):
            if file.name.endswith("_rxfilename") and not getattr(config, file.name):
                name = file.metadata["name"]
                raise ConfigError(f"i-vector extraction: expected a file as --{name}, found none")
        return cls(
            opts=config,
            lda_mat=read_transform(KaldiReader.open(config.lda_mat_rxfilename)),
            global_cmvn_stats=read_cmvn_stats(KaldiReader.open(config.global_cmvn_stats_rxfilename)),
            diag_ubm=DiagGmm.read(KaldiReader.open(config.diag_ubm_rxfilename)),
            extractor=IvectorExtractor.read(KaldiReader.open(config.ivector_extractor_rxfilename)),
            cmvn_opts=read_options(OnlineCmvnOptions, config.cmvn_config_rxfilename, model_dir),
            splice_opts=read_options(OnlineSpliceOptions, config.splice_config_rxfilename, model_dir),
        )

    def expected_feature_dim(self) -> int:
        """Dimension of the input features."""
        return int(self.global_cmvn_stats.shape[1]) - 1

    def check(self) -> None:
        """Checks that the parts fit together.

        Raises:
            ConfigError: they do not.
        """
        window = self.splice_opts.left_context + 1 + self.splice_opts.right_context
        spliced = self.expected_feature_dim() * window
        if self.lda_mat.shape[1] not in (spliced, spliced + 1):
            raise ConfigError(
                f"i-vector extraction: expected an LDA matrix with {spliced} or {spliced + 1} columns "
                f"({window} frames of {self.expected_feature_dim()}), found {self.lda_mat.shape[1]}"
            )
        dims = self.lda_mat.shape[0], self.diag_ubm.dim(), self.extractor.feat_dim()
        if len(set(dims)) > 1:
            raise ConfigError(
                "i-vector extraction: expected the same dimension of LDA matrix, Gaussians and extractor, "
                f"found {dims[0]}, {dims[1]}, {dims[2]}"
            )
        if self.diag_ubm.num_gauss() != self.extractor.num_gauss():
            raise ConfigError(
                f"i-vector extraction: expected {self.extractor.num_gauss()} diagonal Gaussians, as in the "
                f"extractor, found {self.diag_ubm.num_gauss()}"
            )


@dataclass
class OnlineIvectorExtractorAdaptationState:
    """What has been learned about a speaker by the end of a stream, for the next one."""

    cmvn_state: OnlineCmvnState
    ivector_stats: OnlineIvectorEstimationStats

    @classmethod
    def from_info(cls, info: OnlineIvectorExtractionInfo) -> "OnlineIvectorExtractorAdaptationState":
        """Returns the state of an unknown speaker."""
        stats = OnlineIvectorEstimationStats.from_prior(
            info.extractor.ivector_dim(), info.extractor.prior_offset(), info.opts.max_count
        )
        return cls(OnlineCmvnState(global_cmvn_stats=info.global_cmvn_stats), stats)

    def limit_frames(self, max_remembered_frames: float, posterior_scale: float) -> None:
        """Scales the statistics down to at most ``max_remembered_frames`` frames."""
        speaker = self.cmvn_state.speaker_cmvn_stats
        if speaker.size and speaker[0, -1] > max_remembered_frames:
            self.cmvn_state.speaker_cmvn_stats = speaker * (max_remembered_frames / speaker[0, -1])
        limit = max_remembered_frames * posterior_scale
        if self.ivector_stats.num_frames > limit:
            self.ivector_stats.scale(limit / self.ivector_stats.num_frames)

    def check(self, info: OnlineIvectorExtractionInfo) -> None:
        """Checks that the state fits the model, and that audio can have its statistics.

        Raises:
            AdaptationStateError: it does not fit, or its statistics cannot come from audio.
        """
        self.ivector_stats.check(info.extractor)
        self.cmvn_state.check(info.global_cmvn_stats)

    @classmethod
    def read(cls, reader: KaldiReader) -> "OnlineIvectorExtractorAdaptationState":
        """Reads Kaldi's form, binary or text.

        Raises:
            ModelFormatError: the state is damaged.
        """
        reader.expect_token("<OnlineIvectorExtractorAdaptationState>")
        reader.expect_token("<CmvnState>")
        cmvn_state = OnlineCmvnState.read(reader)
        reader.expect_token("<IvectorStats>")
        ivector_stats = OnlineIvectorEstimationStats.read(reader)
        reader.expect_token("</OnlineIvectorExtractorAdaptationState>")
        return cls(cmvn_state, ivector_stats)

    def write(self, writer: KaldiWriter) -> None:
        """Writes Kaldi's form."""
        writer.write_token("<OnlineIvectorExtractorAdaptationState>")
        writer.write_token("<CmvnState>")
        self.cmvn_state.write(writer)
        writer.write_token("<IvectorStats>")
        self.ivector_stats.write(writer)
        writer.write_token("</OnlineIvectorExtractorAdaptationState>")


class OnlineIvectorFeature(OnlineFeatureInterface):
    """The i-vectors of one stream."""

    def __init__(
        self,
        info: OnlineIvectorExtractionInfo,
        base_feature: OnlineFeatureInterface,
        history: int | None = None,
    ):
        """Keeps ``history`` frames of intermediate features behind the newest one; None keeps all.

        Raises:
            ConfigError: the extractor was trained on features of another dimension.
        """
        if base_feature.dim() != info.expected_feature_dim():
            raise ConfigError(
                f"i-vector extraction: expected features of dimension {info.expected_feature_dim()}, found "
                f"{base_feature.dim()}"
            )
        self._info = info
        self._base = base_feature
        self._history = history
        # The core reads features that are computed from samples where they are, and others as copies.
        self._is_copied = not isinstance(base_feature, OnlineWindowedFeature)
        if isinstance(base_feature, OnlineWindowedFeature):
            self._frames = base_feature.frame_buffer()
        else:
            self._frames = FrameBuffer(base_feature.dim(), history)
        self._by_period: list[FloatFrames] = []
        self._num_frames_stats = 0
        self._pending = FrameWeights()
        self._weighted = False
        self._start(OnlineIvectorExtractorAdaptationState.from_info(info))

    def dim(self) -> int:
        return self._info.extractor.ivector_dim()

    def num_frames_ready(self) -> int:
        ready = self._base.num_frames_ready()
        if self._base_is_finished():
            return ready
        return max(0, ready - self._info.splice_opts.right_context)

    def is_last_frame(self, frame: int) -> bool:
        return self._base.is_last_frame(frame)

    def frame_shift_in_seconds(self) -> float:
        return self._base.frame_shift_in_seconds()

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        """Returns the i-vectors for input frames, (end - begin, dim) float32, minus the prior's mean."""
        return np.stack([self.get_frame(frame) for frame in range(begin, end)])

    def get_frame(self, frame: int) -> FloatFrames:
        """Returns the i-vector for an input frame, (dim,) float32, minus the prior's mean.

        The statistics advance to this frame, so frames should be requested in order.
        """
        opts = self._info.opts
        self._advance(self.num_frames_ready() - 1 if opts.greedy_ivector_extractor else frame)
        if opts.use_most_recent_ivector or opts.greedy_ivector_extractor:
            return self._newest.copy()
        return self._by_period[frame // opts.ivector_period]

    def update_frame_weights(self, delta_weights: DeltaWeights) -> None:
        """Accepts differences of frame weights, as `OnlineSilenceWeighting.get_delta_weights` returns them.

        Call this before the first i-vector is requested and again after each block of audio, or never.

        Raises:
            DecoderError: i-vectors have already been estimated without weights.
        """
        if not self._weighted and self._num_frames_stats:
            raise DecoderError("expected frame weights before the first i-vector, found them after it")
        self._weighted = True
        if len(delta_weights):
            self._pending.add(delta_weights.frames, delta_weights.deltas)

    def set_adaptation_state(self, state: OnlineIvectorExtractorAdaptationState) -> None:
        """Starts from what is known about the speaker.

        Raises:
            AdaptationStateError: the state does not fit the model, or its statistics cannot come from audio.
            DecoderError: frames have already been used.
        """
        if self._num_frames_stats:
            raise DecoderError("expected an adaptation state before the first frame, found it after some")
        state.check(self._info)
        self._start(state)

    def get_adaptation_state(self) -> OnlineIvectorExtractorAdaptationState:
        """Returns what has been learned about the speaker, limited to ``max_remembered_frames``."""
        self._copy_frames()
        cmvn = self._cmvn_state
        state = OnlineIvectorExtractorAdaptationState(
            cmvn.after(self._core.cmvn_total(), cmvn.frozen_state), self._stats()
        )
        state.limit_frames(self._info.opts.max_remembered_frames, self._info.opts.posterior_scale)
        return state

    def all_stats(self) -> OnlineIvectorEstimationStats:
        """Returns the statistics of all frames that are ready, not limited as in an adaptation state."""
        if self.num_frames_ready():
            self._advance(self.num_frames_ready() - 1)
        return self._stats()

    def _start(self, state: OnlineIvectorExtractorAdaptationState) -> None:
        """Begins with what is known about the speaker."""
        cmvn = state.cmvn_state
        if not cmvn.global_cmvn_stats.size:
            cmvn = dataclasses.replace(cmvn, global_cmvn_stats=self._info.global_cmvn_stats)
        self._cmvn_state = cmvn
        self._start_stats = stats = state.ivector_stats
        self._core = CoreIvectorFeature(
            model=self._info.core,
            base=self._frames,
            cmvn=make_online_cmvn(self._info.cmvn_opts, cmvn, self._base.dim()),
            prior_offset=stats.prior_offset,
            max_count=stats.max_count,
            num_frames=stats.num_frames,
            linear_term=stats.linear_term,
            quadratic_term=stats.quadratic_term,
            history=self._history,
        )
        self._newest = np.zeros(self.dim(), np.float32)

    def _stats(self) -> OnlineIvectorEstimationStats:
        num_frames, linear_term, quadratic_term = self._core.stats()
        start = self._start_stats
        return OnlineIvectorEstimationStats(
            start.prior_offset, start.max_count, num_frames, quadratic_term, linear_term
        )

    def _base_is_finished(self) -> bool:
        ready = self._base.num_frames_ready()
        return ready > 0 and self._base.is_last_frame(ready - 1)

    def _copy_frames(self) -> None:
        """Gives base features to the core that it does not see."""
        if self._is_copied:
            self._frames.append(self._base.get_frames(self._frames.end, self._base.num_frames_ready()))

    def _advance(self, last: int) -> None:
        """Uses all frames up to ``last``."""
        if last >= self.num_frames_ready():
            raise IndexError(
                f"expected a frame below {self.num_frames_ready()}, which are ready, found {last}"
            )
        if self._num_frames_stats > last:
            return
        self._copy_frames()
        opts = self._info.opts
        if opts.use_most_recent_ivector or opts.greedy_ivector_extractor:
            self._add(last + 1)
            self._newest = self._core.estimate(opts.num_cg_iters)
            return
        for frame in range(len(self._by_period) * opts.ivector_period, last + 1, opts.ivector_period):
            self._add(frame + 1)
            self._by_period.append(self._core.estimate(opts.num_cg_iters))
        self._add(last + 1)

    def _add(self, end: int) -> None:
        """Adds the frames before ``end`` to the statistics, with their weights."""
        weights = self._pending if self._weighted else None
        self._core.add(weights, self._num_frames_stats, end, self._base_is_finished())
        self._num_frames_stats = end
