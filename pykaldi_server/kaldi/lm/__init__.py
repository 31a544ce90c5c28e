"""Language models and rescoring (PyKaldi's ``kaldi.lm``).

`const_arpa` builds the model that rescoring adds, `rescore` changes the scores of lattices.
"""

from typing import TYPE_CHECKING

from pykaldi_server.kaldi._core import BackoffLm, ConstArpaLm, ConstArpaLmDeterministicFst
from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.kaldi.lm.const_arpa import build_const_arpa
    from pykaldi_server.kaldi.lm.rescore import (
        lattice_lmrescore,
        lattice_lmrescore_const_arpa,
        read_backoff_lm,
        read_const_arpa,
    )

__all__ = [
    "BackoffLm",
    "ConstArpaLm",
    "ConstArpaLmDeterministicFst",
    "build_const_arpa",
    "lattice_lmrescore",
    "lattice_lmrescore_const_arpa",
    "read_backoff_lm",
    "read_const_arpa",
]

_MODULES = {
    "pykaldi_server.kaldi.lm.const_arpa": ("build_const_arpa",),
    "pykaldi_server.kaldi.lm.rescore": (
        "lattice_lmrescore",
        "lattice_lmrescore_const_arpa",
        "read_backoff_lm",
        "read_const_arpa",
    ),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
