"""Features from samples (``kaldi.feat``)."""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.kaldi.feat.cmvn import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState
    from pykaldi_server.kaldi.feat.delta import DeltaFeaturesOptions, OnlineDeltaFeature
    from pykaldi_server.kaldi.feat.fbank import FbankOptions, OnlineFbank
    from pykaldi_server.kaldi.feat.feature_window import FrameExtractionOptions
    from pykaldi_server.kaldi.feat.mel_computations import MelBanksOptions
    from pykaldi_server.kaldi.feat.mfcc import MfccOptions, OnlineMfcc
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

_MODULES = {
    "pykaldi_server.kaldi.feat.cmvn": ("OnlineCmvn", "OnlineCmvnOptions", "OnlineCmvnState"),
    "pykaldi_server.kaldi.feat.delta": ("DeltaFeaturesOptions", "OnlineDeltaFeature"),
    "pykaldi_server.kaldi.feat.fbank": ("FbankOptions", "OnlineFbank"),
    "pykaldi_server.kaldi.feat.feature_window": ("FrameExtractionOptions",),
    "pykaldi_server.kaldi.feat.mel_computations": ("MelBanksOptions",),
    "pykaldi_server.kaldi.feat.mfcc": ("MfccOptions", "OnlineMfcc"),
    "pykaldi_server.kaldi.feat.online_feature": (
        "OnlineAppendFeature",
        "OnlineBaseFeature",
        "OnlineCacheFeature",
        "OnlineFeatureInterface",
        "OnlineMatrixFeature",
        "OnlineSpliceFrames",
        "OnlineTransform",
    ),
    "pykaldi_server.kaldi.feat.pitch": (
        "OnlinePitchFeature",
        "OnlineProcessPitch",
        "PitchExtractionOptions",
        "ProcessPitchOptions",
    ),
    "pykaldi_server.kaldi.feat.plp": ("OnlinePlp", "PlpOptions"),
    "pykaldi_server.kaldi.feat.resample": ("ArbitraryResample", "LinearResample"),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
