"""From samples to what a GMM scores (``online2/online-feature-pipeline.cc``).

samples -> MFCC, PLP or filter bank -> CMVN -> [+ pitch] -> splice or deltas -> LDA -> [fMLLR]

CMVN follows the stream until the first fMLLR transform is estimated. From then on it is frozen, because the
transform assumes features that do not drift.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState, read_cmvn_stats
from pykaldi_server.kaldi.feat.delta import DeltaFeaturesOptions, OnlineDeltaFeature
from pykaldi_server.kaldi.feat.feature_window import OnlineWindowedFeature
from pykaldi_server.kaldi.feat.online_feature import (
    FloatFrames,
    OnlineAppendFeature,
    OnlineBaseFeature,
    OnlineFeatureInterface,
    OnlineSpliceFrames,
    OnlineTransform,
    read_transform,
    splice_and_transform,
)
from pykaldi_server.kaldi.feat.pitch import (
    OnlinePitchFeature,
    OnlineProcessPitch,
    PitchExtractionOptions,
    ProcessPitchOptions,
)
from pykaldi_server.kaldi.online2.base_feature import (
    BaseFeatureConfig,
    BaseOptions,
    SamplesPipeline,
    make_base_feature,
    read_or_default,
)
from pykaldi_server.kaldi.online2.ivector_feature import OnlineSpliceOptions
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import option

__all__ = ["OnlineFeaturePipeline", "OnlineFeaturePipelineConfig", "OnlineFeaturePipelineInfo"]


@dataclass
class OnlineFeaturePipelineConfig(BaseFeatureConfig):
    """Options of the pipeline, as in a GMM model's ``online_decoding.conf``."""

    add_pitch: bool = option(False, "Append pitch features, after CMVN.")
    pitch_config: str = option("", "Configuration file of pitch extraction.", path=True)
    pitch_process_config: str = option(
        "", "Configuration file of the features computed from pitch.", path=True
    )
    cmvn_config: str = option("", "Configuration file of CMVN.", path=True)
    global_cmvn_stats_rxfilename: str = option(
        "", "File of global CMVN statistics; required.", name="global-cmvn-stats", path=True
    )
    add_deltas: bool = option(False, "Append the time derivatives of each frame.")
    delta_config: str = option("", "Configuration file of the derivatives.", path=True)
    splice_feats: bool = option(False, "Append its neighbours to each frame.")
    splice_config: str = option("", "Configuration file of splicing.", path=True)
    lda_rxfilename: str = option("", "File of the LDA (or LDA+MLLT) matrix.", name="lda-matrix", path=True)

    def validate(self) -> None:
        super().validate()
        if not self.global_cmvn_stats_rxfilename:
            raise ConfigError("global-cmvn-stats: expected a file, found none")
        if self.add_deltas and self.splice_feats:
            raise ConfigError("add-deltas, splice-feats: expected at most one of them to be true, found both")


@dataclass(frozen=True)
class OnlineFeaturePipelineInfo:
    """What all streams share; immutable. Unused parts are None."""

    feature_opts: BaseOptions
    cmvn_opts: OnlineCmvnOptions
    global_cmvn_stats: NDArray[np.float64]
    pitch_opts: tuple[PitchExtractionOptions, ProcessPitchOptions] | None = None
    delta_opts: DeltaFeaturesOptions | None = None
    splice_opts: OnlineSpliceOptions | None = None
    lda_mat: NDArray[np.float32] | None = None

    @functools.cached_property
    def base_prototype(self) -> OnlineWindowedFeature:
        """Base features without samples, whose tables all streams share."""
        return make_base_feature(self.feature_opts)

    @classmethod
    def from_config(
        cls, config: OnlineFeaturePipelineConfig, model_dir: Path | None = None
    ) -> "OnlineFeaturePipelineInfo":
        """Loads the files that a configuration names.

        Raises:
            ConfigError, FileNotFoundError, ModelFormatError: see the readers of these files.
        """
        config.validate()
        cmvn_opts = read_or_default(OnlineCmvnOptions, config.cmvn_config, model_dir)
        pitch_opts = delta_opts = splice_opts = lda_mat = None
        if config.add_pitch:
            pitch_opts = (
                read_or_default(PitchExtractionOptions, config.pitch_config, model_dir),
                read_or_default(ProcessPitchOptions, config.pitch_process_config, model_dir),
            )
        if config.add_deltas:
            delta_opts = read_or_default(DeltaFeaturesOptions, config.delta_config, model_dir)
        if config.splice_feats:
            splice_opts = read_or_default(OnlineSpliceOptions, config.splice_config, model_dir)
        if config.lda_rxfilename:
            lda_mat = read_transform(KaldiReader.open(config.lda_rxfilename))
        stats = read_cmvn_stats(KaldiReader.open(config.global_cmvn_stats_rxfilename))
        return cls(
            config.read_base_options(model_dir),
            cmvn_opts,
            stats,
            pitch_opts,
            delta_opts,
            splice_opts,
            lda_mat,
        )


class OnlineFeaturePipeline(SamplesPipeline):
    """The features of one utterance; all frames are kept, for fMLLR and rescoring."""

    def __init__(self, info: OnlineFeaturePipelineInfo, dither_seed: int = 0):
        """Starts without a transform.

        Raises:
            ConfigError: CMVN statistics and features have different dimensions.
            ModelFormatError: the LDA matrix does not fit the features.
        """
        self._info = info
        self._dither_seed = dither_seed
        base = info.base_prototype.new(dither_seed)
        sources: list[OnlineBaseFeature] = [base]
        state = OnlineCmvnState(global_cmvn_stats=info.global_cmvn_stats)
        self._cmvn = OnlineCmvn(info.cmvn_opts, state, base)
        unadapted: OnlineFeatureInterface = self._cmvn
        if info.pitch_opts is not None:
            extraction, processing = info.pitch_opts
            pitch = OnlinePitchFeature(extraction)
            unadapted = OnlineAppendFeature(unadapted, OnlineProcessPitch(processing, pitch, dither_seed))
            sources.append(pitch)
        if info.delta_opts is not None:
            unadapted = OnlineDeltaFeature(info.delta_opts, unadapted)
        splice = info.splice_opts or OnlineSpliceOptions(left_context=0, right_context=0)
        context = splice.left_context, splice.right_context
        if info.lda_mat is not None:
            try:
                unadapted = splice_and_transform(info.lda_mat, unadapted, *context)
            except ValueError as error:
                raise ModelFormatError(f"lda-matrix: {error}") from None
        elif info.splice_opts is not None:
            unadapted = OnlineSpliceFrames(unadapted, *context)
        super().__init__(unadapted, sources)
        self._fmllr: OnlineTransform | None = None

    def new(self) -> "OnlineFeaturePipeline":
        """Creates a pipeline of the same kind for another utterance."""
        return OnlineFeaturePipeline(self._info, self._dither_seed)

    def get_frames(self, begin: int, end: int) -> FloatFrames:
        return (self._fmllr or self._src).get_frames(begin, end)

    def set_transform(self, transform: NDArray[np.float32] | None) -> None:
        """Applies an fMLLR transform, (dim, dim + 1), to all frames requested from now on.

        Args:
            transform: None for no transform.
        """
        self._fmllr = None if transform is None else OnlineTransform(transform, self._src)

    def have_fmllr_transform(self) -> bool:
        """True if a transform is in use."""
        return self._fmllr is not None

    def freeze_cmvn(self) -> None:
        """Freezes the CMVN statistics at the newest frame, for all frames requested from now on.

        Raises:
            DecoderError: there are no frames yet.
        """
        if self._cmvn.num_frames_ready() == 0:
            raise DecoderError("expected at least one frame before CMVN is frozen, found none")
        self._cmvn.freeze(self._cmvn.num_frames_ready() - 1)

    def get_cmvn_state(self) -> OnlineCmvnState:
        """Returns the state of CMVN after the newest frame."""
        return self._cmvn.get_state(self._cmvn.num_frames_ready() - 1)
