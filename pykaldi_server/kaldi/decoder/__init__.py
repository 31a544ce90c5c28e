"""Search in decoding graphs (PyKaldi's ``kaldi.decoder``)."""

from pykaldi_server.kaldi._core import BestPath, SearchStatistics
from pykaldi_server.kaldi.decoder.lattice_faster_online_decoder import (
    LatticeFasterDecoderOptions,
    LatticeFasterOnlineDecoder,
    free_idle_workspaces,
)

__all__ = [
    "BestPath",
    "LatticeFasterDecoderOptions",
    "LatticeFasterOnlineDecoder",
    "SearchStatistics",
    "free_idle_workspaces",
]
