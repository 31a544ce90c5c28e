"""Gaussian mixture models (``src/gmm``)."""

from pykaldi_server.kaldi.gmm.diag_gmm import DiagGmm

__all__ = ["DiagGmm"]
