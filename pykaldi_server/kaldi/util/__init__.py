"""Files, tables and options (``kaldi.util``)."""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
    from pykaldi_server.kaldi.util.options import ParseOptions
    from pykaldi_server.kaldi.util.table import (
        MatrixWriter,
        RandomAccessMatrixReader,
        RandomAccessVectorReader,
        SequentialMatrixReader,
        SequentialVectorReader,
        SequentialWaveReader,
        VectorWriter,
    )

__all__ = [
    "KaldiReader",
    "KaldiWriter",
    "MatrixWriter",
    "ParseOptions",
    "RandomAccessMatrixReader",
    "RandomAccessVectorReader",
    "SequentialMatrixReader",
    "SequentialVectorReader",
    "SequentialWaveReader",
    "VectorWriter",
]

_MODULES = {
    "pykaldi_server.kaldi.util.io": ("KaldiReader", "KaldiWriter"),
    "pykaldi_server.kaldi.util.options": ("ParseOptions",),
    "pykaldi_server.kaldi.util.table": (
        "MatrixWriter",
        "RandomAccessMatrixReader",
        "RandomAccessVectorReader",
        "SequentialMatrixReader",
        "SequentialVectorReader",
        "SequentialWaveReader",
        "VectorWriter",
    ),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
