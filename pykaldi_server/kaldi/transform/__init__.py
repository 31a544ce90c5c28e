"""Feature transforms that adapt to a speaker (``src/transform``)."""

from pykaldi_server.kaldi.transform.basis_fmllr_diag_gmm import BasisFmllrEstimate, BasisFmllrOptions
from pykaldi_server.kaldi.transform.fmllr_diag_gmm import FmllrDiagGmmAccs

__all__ = ["BasisFmllrEstimate", "BasisFmllrOptions", "FmllrDiagGmmAccs"]
