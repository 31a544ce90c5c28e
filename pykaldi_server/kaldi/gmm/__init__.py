"""Gaussian mixture models (``src/gmm``)."""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.kaldi.gmm.am_diag_gmm import AmDiagGmm
    from pykaldi_server.kaldi.gmm.diag_gmm import DiagGmm

__all__ = ["AmDiagGmm", "DiagGmm"]

_MODULES = {
    "pykaldi_server.kaldi.gmm.am_diag_gmm": ("AmDiagGmm",),
    "pykaldi_server.kaldi.gmm.diag_gmm": ("DiagGmm",),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
