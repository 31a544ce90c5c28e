"""nnet3 networks: reading them, and computing them in a stream or over whole recordings."""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.kaldi.nnet3.am_nnet_simple import AmNnetSimple
    from pykaldi_server.kaldi.nnet3.decodable_online_looped import DecodableNnetLoopedOnline
    from pykaldi_server.kaldi.nnet3.looped import (
        DecodableNnetSimpleLoopedInfo,
        LoopedStream,
        NnetSimpleLoopedComputationOptions,
    )
    from pykaldi_server.kaldi.nnet3.nnet import Nnet, NnetSummary, read_raw_nnet
    from pykaldi_server.kaldi.nnet3.offline import NnetComputer, NnetSimpleComputationOptions

__all__ = [
    "AmNnetSimple",
    "DecodableNnetLoopedOnline",
    "DecodableNnetSimpleLoopedInfo",
    "LoopedStream",
    "Nnet",
    "NnetComputer",
    "NnetSimpleComputationOptions",
    "NnetSimpleLoopedComputationOptions",
    "NnetSummary",
    "read_raw_nnet",
]

_MODULES = {
    "pykaldi_server.kaldi.nnet3.am_nnet_simple": ("AmNnetSimple",),
    "pykaldi_server.kaldi.nnet3.decodable_online_looped": ("DecodableNnetLoopedOnline",),
    "pykaldi_server.kaldi.nnet3.looped": (
        "DecodableNnetSimpleLoopedInfo",
        "LoopedStream",
        "NnetSimpleLoopedComputationOptions",
    ),
    "pykaldi_server.kaldi.nnet3.nnet": ("Nnet", "NnetSummary", "read_raw_nnet"),
    "pykaldi_server.kaldi.nnet3.offline": ("NnetComputer", "NnetSimpleComputationOptions"),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
