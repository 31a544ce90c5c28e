"""Gaussian mixture models (``src/gmm``)."""

from pykaldi_server.kaldi.gmm.am_diag_gmm import AmDiagGmm
from pykaldi_server.kaldi.gmm.diag_gmm import DiagGmm

__all__ = ["AmDiagGmm", "DiagGmm"]
