"""Decoding graphs in two parts, HCLr and a language model, which are composed with lookahead.

``utils/mkgraph_lookahead.sh`` of Kaldi makes them, and Vosk's small models consist of them::

    HCLr.fst           transition-ids to words, of OpenFst's type olabel_lookahead
    Gr.fst             words to words, of type ngram (symbols embedded) or const
    disambig_tid.int   input labels of HCLr that stand for nothing

What composition with lookahead does is told in ``csrc/fst/lookahead-composition.h``.
"""

import os
from pathlib import Path
from typing import TypeAlias

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi._core import LookaheadFst, StdConstFst

DecodingGraph: TypeAlias = StdConstFst | LookaheadFst
"""What a decoder can search."""


def read_lookahead_graph(
    hcl: str | os.PathLike[str],
    grammar: str | os.PathLike[str],
    disambig: str | os.PathLike[str] | None = None,
    *,
    store_bytes: int = 256 << 20,
) -> LookaheadFst:
    """Reads the parts of a graph, for a decoder to compose while it searches.

    Args:
        hcl: ``HCLr.fst``.
        grammar: ``Gr.fst``.
        disambig: ``disambig_tid.int``; without it all input labels stand for transition-ids.
        store_bytes: memory for what was composed, shared by all decoders. Beyond it everything but what is
            in use is forgotten, and composed anew when it is needed: results do not depend on it.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: a file is damaged or of another kind, or nothing can be decoded with the graph.
    """
    fst = LookaheadFst.read(
        os.fspath(hcl), os.fspath(grammar), read_disambig_labels(disambig) if disambig else [], store_bytes
    )
    if fst.reader().start() < 0 or fst.max_input_label() == 0:
        raise ModelFormatError.at(hcl, None, expected="a decoding graph", found="an empty one")
    return fst


def read_disambig_labels(path: str | os.PathLike[str]) -> list[int]:
    """Reads ``disambig_tid.int``: positive integers, separated by white space.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: something in it is no positive integer that fits into 32 bits.
    """
    labels = []
    for word in Path(path).read_bytes().split():
        if not word.isdigit() or not 0 < int(word) < 2**31:
            found = repr(word[:20].decode(errors="replace"))
            raise ModelFormatError.at(path, None, expected="input labels", found=found)
        labels.append(int(word))
    return labels
