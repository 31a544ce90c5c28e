"""Lattices: the hypotheses of an utterance (PyKaldi's ``kaldi.lat``).

`functions` determinises, prunes and searches them, `align` finds where words and phones begin and end,
`sausages` computes confidences, `table` reads and writes archives of them.
"""

from pykaldi_server.kaldi._core import (
    CompactLatticeArc,
    CompactLatticeVectorFst,
    CompactLatticeWeight,
    LatticeArc,
    LatticeVectorFst,
    LatticeWeight,
)

__all__ = [
    "CompactLatticeArc",
    "CompactLatticeVectorFst",
    "CompactLatticeWeight",
    "LatticeArc",
    "LatticeVectorFst",
    "LatticeWeight",
]
