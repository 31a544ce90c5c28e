"""Describes a single file of a model, whatever its name: the kind is found by the content.

Binary files begin with a mark of OpenFst, of Kaldi, or of our own compiled graphs; Kaldi's begin with a token
that names the kind, or are vectors and matrices. Text files are told apart by their first line.
"""

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.fstext import (
    CompiledGraph,
    SymbolTable,
    read_disambig_labels,
    read_fst_kaldi,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.fstext.lookahead import GRAMMAR_NAME, HCL_NAME
from pykaldi_server.kaldi.gmm import AmDiagGmm, DiagGmm
from pykaldi_server.kaldi.hmm import HmmTopology, TransitionModel
from pykaldi_server.kaldi.ivector import IvectorExtractor
from pykaldi_server.kaldi.lat.align import read_lexicon_for_word_align, read_word_boundary
from pykaldi_server.kaldi.lm import read_const_arpa
from pykaldi_server.kaldi.nnet2 import AmNnet
from pykaldi_server.kaldi.nnet2 import Nnet as Nnet2
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, Nnet
from pykaldi_server.kaldi.transform.basis_fmllr_diag_gmm import BasisFmllrEstimate
from pykaldi_server.kaldi.util.files import load_bytes
from pykaldi_server.kaldi.util.io import BINARY_MARK, KaldiReader
from pykaldi_server.kaldi.util.options import parse_int_list, read_config_lines

__all__ = ["Line", "describe_file", "describe_gmm", "describe_transition_model"]

Line = tuple[str, str]
"""What a fact is about, and the fact."""

_FST_MAGIC = b"\xd6\xfd\xb2\x7e"
_COMPILED_MAGIC = b"PKSgraph"
_OLD_CONST_ARPA = re.compile(rb"\0B\x04.{4}\x04.{4}\x04.{4}\x04.{4}\x08", re.DOTALL)
_FIRST_LINE_BYTES = 4096


def describe_file(path: Path) -> Iterator[Line]:
    """Yields what one file of a model contains.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or of an unknown kind.
        ConfigError: the file is a configuration with a wrong line.
    """
    data = load_bytes(path)
    start = bytes(data[:_FIRST_LINE_BYTES])
    if start.startswith(_FST_MAGIC):
        yield from _fst(path, start)
    elif start.startswith(_COMPILED_MAGIC):
        yield from _compiled_graph(path)
    elif _OLD_CONST_ARPA.match(start):
        yield from _const_arpa(path)
    elif not start.startswith(BINARY_MARK) and (describe_text := _kind_of_text(start)):
        yield from describe_text(path)
    else:
        yield from _kaldi_file(KaldiReader(data, path))


def _kaldi_file(reader: KaldiReader) -> Iterator[Line]:
    token = reader.peek_token()
    if token == "<ConstArpaLm>":
        yield from _const_arpa(Path(reader.path))
    elif token in _KINDS:
        yield from _KINDS[token](reader)
    elif reader.binary or token == "[":
        yield from _array(reader)
    else:
        raise reader.error("a file of a Kaldi model", repr(token[:40]))


# Graphs and language models


def _fst(path: Path, start: bytes) -> Iterator[Line]:
    fst_type = _fst_type(start, path)
    if fst_type == "olabel_lookahead":
        yield "kind", "first part of a graph: transition-ids to words (OpenFst, olabel_lookahead)"
        yield from _lookahead_graph(path, HCL_NAME, GRAMMAR_NAME)
    elif fst_type == "ngram":
        yield "kind", "language model, second part of a graph (OpenFst, ngram)"
        yield "size", f"{struct.unpack_from('<q', start, _after_types(start) + 24)[0]:,} states"
        yield from _lookahead_graph(path, GRAMMAR_NAME, HCL_NAME)
    else:
        fst = read_fst_kaldi(path)
        yield "kind", f"transducer (OpenFst, {fst_type})"
        yield "size", f"{fst.num_states():,} states, {fst.num_arcs():,} arcs"
        yield "labels", f"input up to {fst.max_input_label():,}, output up to {fst.max_output_label():,}"
        symbols = fst.output_symbols()
        yield "output symbols", "not in the file" if symbols is None else f"{symbols.num_symbols():,}"


def _fst_type(start: bytes, path: Path) -> str:
    end = _after_types(start)
    if end < 0 or end + 40 > len(start):
        raise ModelFormatError.at(path, 0, expected="the header of an OpenFst file", found="the end of it")
    (size,) = struct.unpack_from("<i", start, 4)
    return start[8 : 8 + size].decode("ascii", errors="replace")


def _after_types(start: bytes) -> int:
    """Where the version in the header of an FST is: after its type and that of its arcs; -1 if nowhere."""
    place = 4
    for _ in range(2):
        if place + 4 > len(start):
            return -1
        (size,) = struct.unpack_from("<i", start, place)
        if not 0 <= size <= 100:
            return -1
        place += 4 + size
    return place


def _lookahead_graph(path: Path, name: str, other: str) -> Iterator[Line]:
    """What can be said of one part of a graph only together with the other one."""
    if path.name != name or not path.with_name(other).exists():
        yield "checked", f"no, as that takes {HCL_NAME} and {GRAMMAR_NAME} in one folder"
        return
    graph = read_lookahead_graph(path.parent)
    symbols = graph.output_symbols()
    yield "labels", f"input up to {graph.max_input_label():,}; {len(graph.output_labels()):,} words"
    yield "output symbols", "not in the file" if symbols is None else f"{symbols.num_symbols():,}"


def _compiled_graph(path: Path) -> Iterator[Line]:
    graph = CompiledGraph.read(str(path))
    yield "kind", "compiled graph"
    yield "size", f"{graph.num_states():,} states, {graph.num_arcs():,} arcs"
    yield "made of parts", CompiledGraph.read_fingerprint(str(path)).hex()[:16]


def _const_arpa(path: Path) -> Iterator[Line]:
    lm = read_const_arpa(path)
    yield "kind", "language model for rescoring (constant n-grams)"
    yield "order", str(lm.get_ngram_order())
    yield "words", f"up to {lm.num_words() - 1:,}"
    unknown = lm.get_unk_symbol()
    sentence = f"sentences from {lm.get_bos_symbol()} to {lm.get_eos_symbol()}"
    yield "special words", f"{sentence}, {'none' if unknown < 0 else unknown} for unknown words"


# Acoustic models


def _acoustic_model(reader: KaldiReader) -> Iterator[Line]:
    transition_model = TransitionModel.read(reader)
    token = reader.peek_token()
    if token == "<Nnet3>":
        yield from _nnet3(AmNnetSimple.read(reader).nnet)
    elif token == "<Nnet>":
        nnet2 = AmNnet.read(reader)
        yield "kind", "nnet2 acoustic model"
        yield from _nnet2(nnet2.nnet)
    elif token:
        yield "kind", "GMM acoustic model"
        yield from describe_gmm(AmDiagGmm.read(reader))
    else:
        yield "kind", "transition model"
    yield from describe_transition_model(transition_model)


def describe_transition_model(model: TransitionModel) -> Iterator[Line]:
    """Yields what a transition model contains."""
    yield "transition-ids", f"{model.num_transition_ids():,}"
    yield "pdfs", f"{model.num_pdfs():,}"
    yield "phones of the HMMs", f"{model.num_phones():,}"
    yield "topology", "HMM" if model.topology.is_hmm() else "chain"


def describe_gmm(model: AmDiagGmm) -> Iterator[Line]:
    """Yields what a GMM acoustic model contains."""
    yield "Gaussians", f"{model.num_gauss():,} of {model.dim()} dimensions in {model.num_pdfs():,} pdfs"


def _nnet3(nnet: Nnet) -> Iterator[Line]:
    summary = nnet.summary()
    yield "kind", "nnet3 network"
    yield "parameters", f"{summary.num_parameters:,}"
    yield "inputs", ", ".join(f"{name} ({dim})" for name, dim in summary.inputs.items())
    yield "outputs", ", ".join(f"{name} ({dim:,})" for name, dim in summary.outputs.items())
    for name, count in summary.component_counts.items():
        yield "components", f"{count} {name}"


def _raw_nnet3(reader: KaldiReader) -> Iterator[Line]:
    yield from _nnet3(Nnet.read(reader))


def _raw_nnet2(reader: KaldiReader) -> Iterator[Line]:
    nnet = Nnet2.read(reader)
    yield "kind", "nnet2 network"
    yield from _nnet2(nnet)


def _nnet2(nnet: Nnet2) -> Iterator[Line]:
    yield "network", f"{nnet.input_dim()} inputs, {nnet.output_dim():,} outputs"
    yield "context", f"{nnet.left_context()} + {nnet.right_context()} frames"


def _mixture(reader: KaldiReader) -> Iterator[Line]:
    mixture = DiagGmm.read(reader)
    yield "kind", "mixture of diagonal Gaussians"
    yield "Gaussians", f"{mixture.num_gauss():,} of {mixture.dim()} dimensions"


def _topology(reader: KaldiReader) -> Iterator[Line]:
    topology = HmmTopology.read(reader)
    yield "kind", "topology of HMMs"
    yield "topology", "HMM" if topology.is_hmm() else "chain"


def _tree(reader: KaldiReader) -> Iterator[Line]:
    reader.expect_token("ContextDependency")
    width, central = reader.read_int(), reader.read_int()
    yield "kind", "decision tree (models are decoded without it)"
    yield "context", f"{width} phones, number {central} of which is the one that is modelled"


# Features and adaptation


def _ivector_extractor(reader: KaldiReader) -> Iterator[Line]:
    extractor = IvectorExtractor.read(reader)
    yield "kind", "i-vector extractor"
    yield "Gaussians", f"{extractor.num_gauss():,} of {extractor.feat_dim()} dimensions"
    yield "i-vectors", f"{extractor.ivector_dim()} dimensions, prior offset {extractor.prior_offset():g}"


def _fmllr_basis(reader: KaldiReader) -> Iterator[Line]:
    basis = BasisFmllrEstimate.read(reader)
    yield "kind", "basis of fMLLR transforms"
    yield "size", f"{basis.basis_size()} transforms of {basis.dim()} dimensions"


def _array(reader: KaldiReader) -> Iterator[Line]:
    start = reader.offset
    try:
        array = reader.read_matrix()
    except ModelFormatError:
        reader.offset = start
        array = reader.read_vector()
    yield "kind", "vector" if array.ndim == 1 else "matrix"
    yield "shape", " x ".join(map(str, array.shape))
    if array.size:
        yield "values", f"{array.min():g} to {array.max():g}"
    if array.ndim == 2 and len(array) == 2 and array.shape[1] > 1 and array[0, -1] > 0 and not array[1, -1]:
        yield "CMVN statistics", f"{array[0, -1]:,.0f} frames of {array.shape[1] - 1} dimensions, if they are"


_KINDS: dict[str, Callable[[KaldiReader], Iterator[Line]]] = {
    "<TransitionModel>": _acoustic_model,
    "<Nnet3>": _raw_nnet3,
    "<Nnet>": _raw_nnet2,
    "<DiagGMM>": _mixture,
    "<DiagGMMBegin>": _mixture,
    "<Topology>": _topology,
    "<IvectorExtractor>": _ivector_extractor,
    "<BASISFMLLRPARAM>": _fmllr_basis,
    "ContextDependency": _tree,
}

# Text files


def _kind_of_text(start: bytes) -> Callable[[Path], Iterator[Line]] | None:
    """What describes a text file that begins so; None where that is no text file of a model."""
    for line in start.split(b"\n"):
        line = line.split(b"#", 1)[0].strip() if line.lstrip().startswith((b"#", b"--")) else line.strip()
        if line:
            return next((kind for pattern, kind in _TEXT_KINDS if re.fullmatch(pattern, line)), None)
    return None


def _configuration(path: Path) -> Iterator[Line]:
    yield "kind", "configuration"
    for name, value, _ in read_config_lines(path):
        yield f"--{name}", "true" if value is None else value


def _symbols(path: Path) -> Iterator[Line]:
    table = SymbolTable.read_text(str(path))
    yield "kind", "table of symbols"
    yield "symbols", f"{table.num_symbols():,}, numbers up to {table.available_key() - 1:,}"
    names = (table.find_symbol(number) for number in range(min(5, table.available_key())))
    yield "first ones", " ".join(name for name in names if name)


def _word_boundary(path: Path) -> Iterator[Line]:
    types = np.array(read_word_boundary(path))
    names = ("begin", "end", "singleton", "internal", "nonword")
    yield "kind", "positions of phones in words"
    yield "phones", ", ".join(f"{np.count_nonzero(types == i)} {name}" for i, name in enumerate(names, 1))


def _align_lexicon(path: Path) -> Iterator[Line]:
    lexicon = read_lexicon_for_word_align(path)
    yield "kind", "lexicon for word times"
    yield "entries", f"{len(lexicon):,} for {len({entry[0] for entry in lexicon}):,} words"


def _labels(path: Path) -> Iterator[Line]:
    labels = read_disambig_labels(path)
    yield "kind", "list of numbers, such as labels that disambiguate"
    yield "numbers", f"{len(labels):,}, from {min(labels):,} to {max(labels):,}"


def _phone_list(path: Path) -> Iterator[Line]:
    phones = parse_int_list(path.read_text(encoding="ascii").strip(), str(path))
    yield "kind", "list of phones"
    yield "phones", ", ".join(map(str, phones))


def _arpa(path: Path) -> Iterator[Line]:
    yield "kind", "language model in ARPA form, of which `model const-arpa` makes G.carpa"
    with path.open("rb") as file:
        for line in file:
            if counted := re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line.strip()):
                yield f"{counted[1].decode()}-grams", f"{int(counted[2]):,}"
            elif line.startswith(b"\\1-grams"):
                break


_TEXT_KINDS: tuple[tuple[bytes, Callable[[Path], Iterator[Line]]], ...] = (
    (rb"--[^\s=]+(\s*=.*)?", _configuration),
    (rb"\\data\\", _arpa),
    (rb"\d+(:\d+)+", _phone_list),
    (rb"\d+\s+(begin|end|singleton|internal|nonword)", _word_boundary),
    (rb"\d+\s+\d+\s+\d[\d\s]*", _align_lexicon),
    (rb"\d+", _labels),
    (rb"\S+\s+\d+", _symbols),
)
