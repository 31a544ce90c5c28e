"""Online recognition: features, i-vectors, endpoints, decoding (``kaldi.online2``)."""

from pykaldi_server.kaldi.online2.endpoint import (
    EndpointDetector,
    OnlineEndpointConfig,
    OnlineEndpointRule,
    decoding_endpoint_detected,
    endpoint_detected,
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
    "DeltaWeights",
    "EndpointDetector",
    "OnlineEndpointConfig",
    "OnlineEndpointRule",
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
    "decoding_endpoint_detected",
    "endpoint_detected",
]
