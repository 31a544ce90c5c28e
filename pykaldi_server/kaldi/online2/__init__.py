"""Online recognition: features, i-vectors, endpoints, decoding (``kaldi.online2``)."""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.kaldi.online2.endpoint import (
        EndpointDetector,
        OnlineEndpointConfig,
        OnlineEndpointRule,
        decoding_endpoint_detected,
        endpoint_detected,
    )
    from pykaldi_server.kaldi.online2.feature_pipeline import (
        OnlineFeaturePipeline,
        OnlineFeaturePipelineConfig,
        OnlineFeaturePipelineInfo,
    )
    from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
    from pykaldi_server.kaldi.online2.gmm_decodable import DecodableDiagGmmScaledOnline
    from pykaldi_server.kaldi.online2.gmm_decoding import SingleUtteranceGmmDecoder
    from pykaldi_server.kaldi.online2.gmm_models import (
        OnlineGmmDecodingAdaptationPolicyConfig,
        OnlineGmmDecodingConfig,
        OnlineGmmDecodingModels,
    )
    from pykaldi_server.kaldi.online2.ivector_feature import (
        OnlineIvectorExtractionConfig,
        OnlineIvectorExtractionInfo,
        OnlineIvectorExtractorAdaptationState,
        OnlineIvectorFeature,
        OnlineSpliceOptions,
    )
    from pykaldi_server.kaldi.online2.nnet_feature_pipeline import (
        OnlineNnetFeaturePipeline,
        OnlineNnetFeaturePipelineConfig,
        OnlineNnetFeaturePipelineInfo,
    )
    from pykaldi_server.kaldi.online2.silence_weighting import (
        DeltaWeights,
        OnlineSilenceWeighting,
        OnlineSilenceWeightingConfig,
    )

__all__ = [
    "DecodableDiagGmmScaledOnline",
    "DeltaWeights",
    "EndpointDetector",
    "OnlineEndpointConfig",
    "OnlineEndpointRule",
    "OnlineFeaturePipeline",
    "OnlineFeaturePipelineConfig",
    "OnlineFeaturePipelineInfo",
    "OnlineGmmAdaptationState",
    "OnlineGmmDecodingAdaptationPolicyConfig",
    "OnlineGmmDecodingConfig",
    "OnlineGmmDecodingModels",
    "OnlineIvectorExtractionConfig",
    "OnlineIvectorExtractionInfo",
    "OnlineIvectorExtractorAdaptationState",
    "OnlineIvectorFeature",
    "OnlineNnetFeaturePipeline",
    "OnlineNnetFeaturePipelineConfig",
    "OnlineNnetFeaturePipelineInfo",
    "OnlineSilenceWeighting",
    "OnlineSilenceWeightingConfig",
    "OnlineSpliceOptions",
    "SingleUtteranceGmmDecoder",
    "decoding_endpoint_detected",
    "endpoint_detected",
]

_MODULES = {
    "pykaldi_server.kaldi.online2.endpoint": (
        "EndpointDetector",
        "OnlineEndpointConfig",
        "OnlineEndpointRule",
        "decoding_endpoint_detected",
        "endpoint_detected",
    ),
    "pykaldi_server.kaldi.online2.feature_pipeline": (
        "OnlineFeaturePipeline",
        "OnlineFeaturePipelineConfig",
        "OnlineFeaturePipelineInfo",
    ),
    "pykaldi_server.kaldi.online2.gmm_adaptation_state": ("OnlineGmmAdaptationState",),
    "pykaldi_server.kaldi.online2.gmm_decodable": ("DecodableDiagGmmScaledOnline",),
    "pykaldi_server.kaldi.online2.gmm_decoding": ("SingleUtteranceGmmDecoder",),
    "pykaldi_server.kaldi.online2.gmm_models": (
        "OnlineGmmDecodingAdaptationPolicyConfig",
        "OnlineGmmDecodingConfig",
        "OnlineGmmDecodingModels",
    ),
    "pykaldi_server.kaldi.online2.ivector_feature": (
        "OnlineIvectorExtractionConfig",
        "OnlineIvectorExtractionInfo",
        "OnlineIvectorExtractorAdaptationState",
        "OnlineIvectorFeature",
        "OnlineSpliceOptions",
    ),
    "pykaldi_server.kaldi.online2.nnet_feature_pipeline": (
        "OnlineNnetFeaturePipeline",
        "OnlineNnetFeaturePipelineConfig",
        "OnlineNnetFeaturePipelineInfo",
    ),
    "pykaldi_server.kaldi.online2.silence_weighting": (
        "DeltaWeights",
        "OnlineSilenceWeighting",
        "OnlineSilenceWeightingConfig",
    ),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
