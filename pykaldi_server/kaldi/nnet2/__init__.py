"""Neural networks of the nnet2 kind (``src/nnet2``)."""

from pykaldi_server.kaldi.nnet2.am_nnet import AmNnet
from pykaldi_server.kaldi.nnet2.nnet import Nnet, NnetOnlineComputer
from pykaldi_server.kaldi.nnet2.online_decodable import DecodableNnet2Online, DecodableNnet2OnlineOptions

__all__ = ["AmNnet", "DecodableNnet2Online", "DecodableNnet2OnlineOptions", "Nnet", "NnetOnlineComputer"]
