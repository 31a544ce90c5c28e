"""Tables of lattices in Kaldi's binary and text forms (``lat/kaldi-lattice.cc``).

Lattices have no binary mark of their own: the key is followed either by a newline and text, or by an OpenFst
    file.
Each reader accepts both kinds of lattices and converts the other kind.
"""

from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi._core import CompactLatticeVectorFst, LatticeVectorFst
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.table import SequentialReader, TableWriter

__all__ = [
    "CompactLatticeWriter",
    "LatticeWriter",
    "SequentialCompactLatticeReader",
    "SequentialLatticeReader",
    "read_compact_lattice",
    "read_lattice",
]


def read_lattice(reader: KaldiReader) -> LatticeVectorFst:
    """Reads one lattice at the reader's position and advances the reader.

    Raises:
        ModelFormatError: the bytes are not a lattice; the text names the byte.
    """
    lattice, reader.offset = _core.read_lattice(reader.data, reader.offset, reader.path)
    return lattice


def read_compact_lattice(reader: KaldiReader) -> CompactLatticeVectorFst:
    """Reads one compact lattice at the reader's position and advances the reader.

    Raises:
        ModelFormatError: the bytes are not a lattice; the text names the byte.
    """
    lattice, reader.offset = _core.read_compact_lattice(reader.data, reader.offset, reader.path)
    return lattice


class SequentialLatticeReader(SequentialReader[LatticeVectorFst]):
    """Iterates over the (key, lattice) pairs of a table (``ark:FILE``, ``scp:FILE``)."""

    def __init__(self, rspecifier: str):
        super().__init__(rspecifier, read_lattice)


class SequentialCompactLatticeReader(SequentialReader[CompactLatticeVectorFst]):
    """Iterates over the (key, compact lattice) pairs of a table."""

    def __init__(self, rspecifier: str):
        super().__init__(rspecifier, read_compact_lattice)


class LatticeWriter(TableWriter[LatticeVectorFst]):
    """Writes a table of lattices (``ark:FILE``, ``ark,t:FILE``)."""

    def _write_object(self, value: LatticeVectorFst) -> None:
        self._archive.write(value.write(self._binary))


class CompactLatticeWriter(TableWriter[CompactLatticeVectorFst]):
    """Writes a table of compact lattices."""

    def _write_object(self, value: CompactLatticeVectorFst) -> None:
        self._archive.write(value.write(self._binary))
