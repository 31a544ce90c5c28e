"""Rescoring: replaces the language-model scores of a lattice with those of a larger model.

This is what Kaldi's ``lattice-lmrescore`` and ``lattice-lmrescore-const-arpa`` do one after the other::

    clat = lattice_lmrescore(clat, old_lm, -1.0)
    clat = lattice_lmrescore_const_arpa(clat, new_lm, 1.0)

The old model is ``G.fst``, from which the decoding graph was made; the new one is ``G.carpa``.
"""

import os

from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi._core import BackoffLm, CompactLatticeVectorFst, ConstArpaLm, StdConstFst
from pykaldi_server.kaldi.fstext import read_fst_kaldi

__all__ = ["lattice_lmrescore", "lattice_lmrescore_const_arpa", "read_backoff_lm", "read_const_arpa"]


def read_backoff_lm(path: str | os.PathLike[str]) -> BackoffLm:
    """Reads ``G.fst`` and prepares it for rescoring: projected on its output, arcs sorted.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or of another kind; the text names the byte.
    """
    return BackoffLm(read_fst_kaldi(path))


def read_const_arpa(path: str | os.PathLike[str]) -> ConstArpaLm:
    """Maps ``G.carpa``.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or of another kind; the text names the byte.
    """
    return ConstArpaLm.read(os.fspath(path))


def lattice_lmrescore(
    clat: CompactLatticeVectorFst, lm: BackoffLm | StdConstFst, lm_scale: float
) -> CompactLatticeVectorFst:
    """Adds ``lm_scale`` times the cost of a backoff model to the graph costs.

    Args:
        clat: a determinised lattice; it is not modified.
        lm: the model; use a `BackoffLm` for many lattices.
        lm_scale: -1 subtracts the model.

    Returns:
        A deterministic lattice; empty if the model accepts none of the word sequences.

    Raises:
        LatticeError: the lattice has a cycle.
    """
    if isinstance(lm, StdConstFst):
        lm = BackoffLm(lm)
    return _core.lattice_lmrescore(clat, lm, lm_scale)


def lattice_lmrescore_const_arpa(
    clat: CompactLatticeVectorFst, lm: ConstArpaLm, lm_scale: float = 1.0
) -> CompactLatticeVectorFst:
    """Adds ``lm_scale`` times the cost of a constant n-gram model to the graph costs.

    Args:
        clat: a determinised lattice; it is not modified.
        lm: the model.
        lm_scale: 1 adds the model.

    Returns:
        A deterministic lattice; empty if the model accepts none of the word sequences.

    Raises:
        LatticeError: the lattice has a cycle.
        ModelFormatError: the model's file is damaged.
    """
    return _core.lattice_lmrescore_const_arpa(clat, lm, lm_scale)
