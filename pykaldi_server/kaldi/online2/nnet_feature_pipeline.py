"""From samples to what a neural network reads (``online2/online-nnet2-feature-pipeline.cc``).

samples -> MFCC, PLP or filter bank -> [CMVN] -> [+ pitch] -> network
                    \\-> i-vector (without pitch) ------------> network
"""

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState, read_cmvn_stats
from pykaldi_server.kaldi.feat.feature_window import OnlineWindowedFeature
from pykaldi_server.kaldi.feat.mfcc import MfccOptions
from pykaldi_server.kaldi.feat.online_feature import (
    OnlineAppendFeature,
    OnlineBaseFeature,
    OnlineFeatureInterface,
)
from pykaldi_server.kaldi.online2.base_feature import (
    BaseFeatureConfig,
    BaseOptions,
    SamplesPipeline,
    make_base_feature,
    read_or_default,
)
from pykaldi_server.kaldi.online2.ivector_feature import (
    OnlineIvectorExtractionConfig,
    OnlineIvectorExtractionInfo,
    OnlineIvectorExtractorAdaptationState,
    OnlineIvectorFeature,
)
from pykaldi_server.kaldi.online2.silence_weighting import DeltaWeights, OnlineSilenceWeightingConfig
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import group, option, read_options

if TYPE_CHECKING:  # few models have pitch
    from pykaldi_server.kaldi.online2.pitch_options import PitchOptions

__all__ = [
    "OnlineNnetFeaturePipeline",
    "OnlineNnetFeaturePipelineConfig",
    "OnlineNnetFeaturePipelineInfo",
]


@dataclass
class OnlineNnetFeaturePipelineConfig(BaseFeatureConfig):
    """Options of the pipeline, as in a model's ``online.conf``."""

    cmvn_config: str = option(
        "", "Configuration file of CMVN of the network's input; without it, there is no CMVN.", path=True
    )
    global_cmvn_stats_rxfilename: str = option(
        "", "File of global CMVN statistics of the network's input.", name="global-cmvn-stats", path=True
    )
    add_pitch: bool = option(False, "Append pitch features to the base features (but not for i-vectors).")
    online_pitch_config: str = option("", "Configuration file of pitch features.", path=True)
    ivector_extraction_config: str = option(
        "", "Configuration file of i-vector extraction; without it, there are no i-vectors.", path=True
    )
    silence_weighting_config: OnlineSilenceWeightingConfig = group(
        OnlineSilenceWeightingConfig, prefix="ivector-silence-weighting."
    )

    def validate(self) -> None:
        super().validate()
        if self.cmvn_config and not self.global_cmvn_stats_rxfilename:
            raise ConfigError("cmvn-config: expected --global-cmvn-stats to be set as well, found none")
        self.silence_weighting_config.validate()


@dataclass
class OnlineNnetFeaturePipelineInfo:
    """What all streams share; immutable. Unused parts are None."""

    feature_opts: BaseOptions = field(default_factory=MfccOptions)
    cmvn_opts: OnlineCmvnOptions | None = None
    global_cmvn_stats: NDArray[np.float64] | None = None
    pitch_opts: "PitchOptions | None" = None
    ivector_extractor_info: OnlineIvectorExtractionInfo | None = None
    silence_weighting_config: OnlineSilenceWeightingConfig = field(
        default_factory=OnlineSilenceWeightingConfig
    )

    @functools.cached_property
    def base_prototype(self) -> OnlineWindowedFeature:
        """Base features without samples, whose tables all streams share."""
        return make_base_feature(self.feature_opts)

    @classmethod
    def from_config(
        cls, config: OnlineNnetFeaturePipelineConfig, model_dir: Path | None = None
    ) -> "OnlineNnetFeaturePipelineInfo":
        """Loads the files that a configuration names.

        Raises:
            ConfigError, FileNotFoundError, ModelFormatError: see the readers of these files.
        """
        config.validate()
        info = cls(
            feature_opts=config.read_base_options(model_dir),
            silence_weighting_config=config.silence_weighting_config,
        )
        if config.cmvn_config:
            info.cmvn_opts = read_options(OnlineCmvnOptions, config.cmvn_config, model_dir)
            info.global_cmvn_stats = read_cmvn_stats(KaldiReader.open(config.global_cmvn_stats_rxfilename))
        if config.add_pitch:
            from pykaldi_server.kaldi.online2.pitch_options import PitchOptions

            info.pitch_opts = read_or_default(PitchOptions, config.online_pitch_config, model_dir)
        if config.ivector_extraction_config:
            ivector_config = read_options(
                OnlineIvectorExtractionConfig, config.ivector_extraction_config, model_dir
            )
            info.ivector_extractor_info = OnlineIvectorExtractionInfo.from_config(ivector_config, model_dir)
        return info


class OnlineNnetFeaturePipeline(SamplesPipeline):
    """The features of one stream."""

    def __init__(self, info: OnlineNnetFeaturePipelineInfo, dither_seed: int = 0):
        """Keeps as many past frames as ``max-feature-vectors`` of the base features allows."""
        kept = info.feature_opts.frame_opts.max_feature_vectors
        history = None if kept < 0 else kept
        base = info.base_prototype.new(dither_seed)
        sources: list[OnlineBaseFeature] = [base]
        self._input: OnlineFeatureInterface = base
        self._cmvn: OnlineCmvn | None = None
        if info.cmvn_opts is not None and info.global_cmvn_stats is not None:
            self._global_cmvn_stats = info.global_cmvn_stats
            state = OnlineCmvnState(global_cmvn_stats=info.global_cmvn_stats)
            self._input = self._cmvn = OnlineCmvn(info.cmvn_opts, state, base, history)
        if info.pitch_opts is not None:
            from pykaldi_server.kaldi.feat.pitch import OnlinePitchFeature, OnlineProcessPitch

            pitch = OnlinePitchFeature(info.pitch_opts.extraction, history)
            processed = OnlineProcessPitch(info.pitch_opts.processing, pitch, dither_seed)
            self._input = OnlineAppendFeature(self._input, processed)
            sources.append(pitch)
        self._ivector: OnlineIvectorFeature | None = None
        final = self._input
        if info.ivector_extractor_info is not None:
            self._ivector = OnlineIvectorFeature(info.ivector_extractor_info, base, history)
            final = OnlineAppendFeature(self._input, self._ivector)
        super().__init__(final, sources)

    def input_feature(self) -> OnlineFeatureInterface:
        """What the network reads besides the i-vector."""
        return self._input

    def ivector_feature(self) -> OnlineIvectorFeature | None:
        """The i-vectors; None if the model does not use them."""
        return self._ivector

    def update_frame_weights(self, delta_weights: DeltaWeights) -> None:
        """Passes frame weights to the i-vectors, if the model uses them."""
        if self._ivector is not None:
            self._ivector.update_frame_weights(delta_weights)

    def set_adaptation_state(self, adaptation_state: OnlineIvectorExtractorAdaptationState) -> None:
        """Starts from what is known about the speaker; does nothing without i-vectors."""
        if self._ivector is not None:
            self._ivector.set_adaptation_state(adaptation_state)

    def get_adaptation_state(
        self, adaptation_state: OnlineIvectorExtractorAdaptationState | None = None
    ) -> OnlineIvectorExtractorAdaptationState | None:
        """Returns what has been learned about the speaker; None without i-vectors.

        Args:
            adaptation_state: if given, it is updated and returned, as in PyKaldi.
        """
        if self._ivector is None:
            return None
        state = self._ivector.get_adaptation_state()
        if adaptation_state is None:
            return state
        adaptation_state.cmvn_state = state.cmvn_state
        adaptation_state.ivector_stats = state.ivector_stats
        return adaptation_state

    def set_cmvn_state(self, cmvn_state: OnlineCmvnState) -> None:
        """Normalises the network's input from a state on; does nothing without CMVN of the input.

        Call it before the first samples. The global statistics stay the model's where the state has none.

        Raises:
            AdaptationStateError: the state does not fit the model, or audio cannot have its statistics.
        """
        if self._cmvn is None:
            return
        cmvn_state.check(self._global_cmvn_stats)
        if not cmvn_state.global_cmvn_stats.size:
            cmvn_state = replace(cmvn_state, global_cmvn_stats=self._global_cmvn_stats)
        self._cmvn.set_state(cmvn_state)

    def get_cmvn_state(self) -> OnlineCmvnState | None:
        """Returns the state of the CMVN of the network's input at the newest frame; None without it."""
        return None if self._cmvn is None else self._cmvn.get_state(self._cmvn.num_frames_ready() - 1)
