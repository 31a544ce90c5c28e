"""Features from samples (``kaldi.feat``)."""

from pykaldi_server.kaldi.feat.cmvn import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState
from pykaldi_server.kaldi.feat.delta import DeltaFeaturesOptions, OnlineDeltaFeature
from pykaldi_server.kaldi.feat.mfcc import (
    FbankOptions,
    FrameExtractionOptions,
    MelBanksOptions,
    MfccOptions,
    OnlineFbank,
    OnlineMfcc,
)
from pykaldi_server.kaldi.feat.online_feature import (
    OnlineAppendFeature,
    OnlineBaseFeature,
    OnlineCacheFeature,
    OnlineFeatureInterface,
    OnlineMatrixFeature,
    OnlineSpliceFrames,
    OnlineTransform,
)
from pykaldi_server.kaldi.feat.pitch import (
    OnlinePitchFeature,
    OnlineProcessPitch,
    PitchExtractionOptions,
    ProcessPitchOptions,
)
from pykaldi_server.kaldi.feat.plp import OnlinePlp, PlpOptions
from pykaldi_server.kaldi.feat.resample import ArbitraryResample, LinearResample

__all__ = [
    "ArbitraryResample",
    "DeltaFeaturesOptions",
    "FbankOptions",
    "FrameExtractionOptions",
    "LinearResample",
    "MelBanksOptions",
    "MfccOptions",
    "OnlineAppendFeature",
    "OnlineBaseFeature",
    "OnlineCacheFeature",
    "OnlineCmvn",
    "OnlineCmvnOptions",
    "OnlineCmvnState",
    "OnlineDeltaFeature",
    "OnlineFbank",
    "OnlineFeatureInterface",
    "OnlineMatrixFeature",
    "OnlineMfcc",
    "OnlinePitchFeature",
    "OnlinePlp",
    "OnlineProcessPitch",
    "OnlineSpliceFrames",
    "OnlineTransform",
    "PitchExtractionOptions",
    "PlpOptions",
    "ProcessPitchOptions",
]
