"""Files, tables and options (``kaldi.util``)."""

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
