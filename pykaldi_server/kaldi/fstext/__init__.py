"""Weighted transducers and symbol tables in OpenFst's formats (PyKaldi's ``kaldi.fstext``)."""

from pykaldi_server.kaldi._core import (
    CompactLatticeArc,
    CompactLatticeVectorFst,
    CompactLatticeWeight,
    CompiledGraph,
    FstFormat,
    LatticeArc,
    LatticeVectorFst,
    LatticeWeight,
    LookaheadFst,
    LookaheadFstReader,
    StdArc,
    StdConstFst,
    StdVectorFst,
    SymbolTable,
)
from pykaldi_server.kaldi.fstext.lookahead import (
    DecodingGraph,
    compile_graph,
    compiled_for,
    compiled_from,
    graph_fingerprint,
    graph_stamp,
    read_disambig_labels,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.fstext.utils import indices_to_symbols, read_decoding_graph, read_fst_kaldi

__all__ = [
    "NO_STATE_ID",
    "NO_SYMBOL",
    "CompactLatticeArc",
    "CompactLatticeVectorFst",
    "CompactLatticeWeight",
    "CompiledGraph",
    "DecodingGraph",
    "FstFormat",
    "LatticeArc",
    "LatticeVectorFst",
    "LatticeWeight",
    "LookaheadFst",
    "LookaheadFstReader",
    "StdArc",
    "StdConstFst",
    "StdVectorFst",
    "SymbolTable",
    "compile_graph",
    "compiled_for",
    "compiled_from",
    "graph_fingerprint",
    "graph_stamp",
    "indices_to_symbols",
    "read_decoding_graph",
    "read_disambig_labels",
    "read_fst_kaldi",
    "read_lookahead_graph",
]

NO_STATE_ID = -1
NO_SYMBOL = -1
