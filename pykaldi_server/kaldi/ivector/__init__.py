"""i-vectors: what is known about a speaker, as one short vector (``src/ivector``)."""

from pykaldi_server.kaldi.ivector.extractor import IvectorExtractor, OnlineIvectorEstimationStats

__all__ = ["IvectorExtractor", "OnlineIvectorEstimationStats"]
