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
from pykaldi_server.kaldi.feat.resample import LinearResample

__all__ = [
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
    "OnlineSpliceFrames",
    "OnlineTransform",
]
