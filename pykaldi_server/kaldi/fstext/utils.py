"""Helpers for transducers and symbol tables."""

import os
from collections.abc import Iterable

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi._core import StdConstFst, SymbolTable

__all__ = ["indices_to_symbols", "read_decoding_graph", "read_fst_kaldi"]


def read_fst_kaldi(path: str | os.PathLike[str]) -> StdConstFst:
    """Reads an OpenFst file of type ``const`` (mapped, shared by all processes) or ``vector`` (copied).

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or of another kind; the text names the byte.
    """
    return StdConstFst.read(os.fspath(path))


def read_decoding_graph(path: str | os.PathLike[str]) -> StdConstFst:
    """Reads a graph that a decoder can search: one with a start state and transition-ids.

    Args:
        path: ``HCLG.fst``; input labels are transition-ids, output labels are words.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or of another kind, or cannot be decoded with.
    """
    fst = read_fst_kaldi(path)
    if fst.start() < 0 or fst.max_input_label() == 0:
        found = "no start state" if fst.start() < 0 else "no input labels"
        raise ModelFormatError.at(path, None, expected="a decoding graph", found=f"an FST with {found}")
    return fst


def indices_to_symbols(symbol_table: SymbolTable, indices: Iterable[int]) -> list[str]:
    """Looks up the symbols for keys.

    Raises:
        KeyError: the table has no symbol for a key.
    """
    symbols = []
    for index in indices:
        if not symbol_table.member_index(index):
            raise KeyError(f"{symbol_table.name()}: expected a key with a symbol, found {index}")
        symbols.append(symbol_table.find_symbol(index))
    return symbols
