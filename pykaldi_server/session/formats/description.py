"""Tells what a model, or one file of a model, is made of."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.fstext import read_fst_kaldi
from pykaldi_server.kaldi.gmm import AmDiagGmm, DiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.ivector import IvectorExtractor
from pykaldi_server.kaldi.nnet2 import AmNnet
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, Nnet
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.session.acoustics.gmm import GmmAcoustics
from pykaldi_server.session.acoustics.nnet2 import Nnet2Acoustics
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics
from pykaldi_server.session.acoustics.stream import Acoustics
from pykaldi_server.session.graph import describe_graph
from pykaldi_server.session.model import Model
from pykaldi_server.session.word_alignment import LexiconAligner

__all__ = ["describe", "describe_acoustics", "describe_file", "describe_model"]

Line = tuple[str, str]
"""What a fact is about, and the fact."""

_FST_MAGIC = b"\xd6\xfd\xb2\x7e"


def describe(path: Path) -> Iterator[Line]:
    """Yields what a model directory, a YAML file, or a file of a model contains.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ModelFormatError: the file is damaged or of an unknown kind.
        ConfigError: the model cannot be loaded.
    """
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        yield from describe_file(path)
    else:
        yield from describe_model(Model.load(path))


def describe_model(model: Model) -> Iterator[Line]:
    """Yields what a loaded model is made of."""
    yield "name", model.name
    yield "sample rate", f"{model.sample_rate_hz} Hz"
    yield "decoder frame", f"{1000 * model.frame_shift_s:g} ms"
    yield from describe_acoustics(model.acoustics)
    yield from _transition_model(model.acoustics.transition_model)
    yield "graph", describe_graph(model.graph)
    yield "words", f"{model.words.num_symbols():,} symbols"
    yield "phones", "no table" if model.phones is None else f"{model.phones.num_symbols():,} symbols"
    yield "word times", _word_times(model)
    yield "rescoring", "no" if model.rescorer is None else "yes"
    yield "endpoints", "no" if model.endpoint is None else "yes"


def describe_acoustics(acoustics: Acoustics) -> Iterator[Line]:
    """Yields what the acoustic side of a model is made of."""
    if isinstance(acoustics, Nnet3Acoustics):
        network = acoustics.network
        yield "kind", "nnet3"
        yield "features", f"{_kind_of_features(acoustics)}, {network.input_dim} dimensions"
        yield "i-vectors", f"{network.ivector_dim} dimensions" if network.ivector_dim else "none"
        yield "network", f"{network.output_dim:,} outputs every {acoustics.subsampling_factor} frames"
        left, right = network.frames_left_context, network.frames_right_context
        yield "context", f"{left} + {right} frames, computed {network.frames_per_chunk} frames at a time"
    elif isinstance(acoustics, Nnet2Acoustics):
        nnet = acoustics.acoustic_model.nnet
        yield "kind", "nnet2"
        yield "features", f"{_kind_of_features(acoustics)}, {nnet.input_dim()} dimensions with i-vectors"
        yield "network", f"{acoustics.acoustic_model.num_pdfs():,} outputs"
        yield "context", f"{nnet.left_context()} + {nnet.right_context()} frames"
    elif isinstance(acoustics, GmmAcoustics):
        yield "kind", "GMM with basis fMLLR" if acoustics.models.get_fmllr_basis() else "GMM"
        yield from _gmm(acoustics.models.get_model())
    else:
        yield "kind", "GMM as the original's plugin decodes it"


def describe_file(path: Path) -> Iterator[Line]:
    """Yields what one file of a model contains."""
    with path.open("rb") as file:
        is_fst = file.read(len(_FST_MAGIC)) == _FST_MAGIC
    if is_fst:
        yield from _fst(path)
        return
    reader = KaldiReader.open(path)
    for token, describe_kind in _KINDS.items():
        if reader.peek_token() == token:
            yield from describe_kind(reader)
            return
    if reader.binary or reader.peek_token() == "[":
        yield from _array(reader)
        return
    raise reader.error("a file of a Kaldi model", repr(reader.peek_token()[:40]))


def _fst(path: Path) -> Iterator[Line]:
    fst = read_fst_kaldi(path)
    yield "kind", "transducer (OpenFst)"
    yield "size", f"{fst.num_states():,} states, {fst.num_arcs():,} arcs"
    yield "labels", f"input up to {fst.max_input_label():,}, output up to {fst.max_output_label():,}"


def _acoustic_model(reader: KaldiReader) -> Iterator[Line]:
    transition_model = TransitionModel.read(reader)
    token = reader.peek_token()
    if token == "<Nnet3>":
        yield from _nnet3(AmNnetSimple.read(reader).nnet)
    elif token == "<Nnet>":
        nnet2 = AmNnet.read(reader)
        yield "kind", "nnet2 acoustic model"
        yield "network", f"{nnet2.nnet.input_dim()} inputs, {nnet2.num_pdfs():,} outputs"
    elif token:
        yield "kind", "GMM acoustic model"
        yield from _gmm(AmDiagGmm.read(reader))
    else:
        yield "kind", "transition model"
    yield from _transition_model(transition_model)


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


def _transition_model(model: TransitionModel) -> Iterator[Line]:
    yield "transition-ids", f"{model.num_transition_ids():,}"
    yield "pdfs", f"{model.num_pdfs():,}"
    yield "phones of the HMMs", f"{model.num_phones():,}"
    yield "topology", "HMM" if model.topology.is_hmm() else "chain"


def _gmm(model: AmDiagGmm) -> Iterator[Line]:
    yield "Gaussians", f"{model.num_gauss():,} of {model.dim()} dimensions in {model.num_pdfs():,} pdfs"


def _mixture(reader: KaldiReader) -> Iterator[Line]:
    mixture = DiagGmm.read(reader)
    yield "kind", "mixture of diagonal Gaussians"
    yield "Gaussians", f"{mixture.num_gauss():,} of {mixture.dim()} dimensions"


def _ivector_extractor(reader: KaldiReader) -> Iterator[Line]:
    extractor = IvectorExtractor.read(reader)
    yield "kind", "i-vector extractor"
    yield "Gaussians", f"{extractor.num_gauss():,} of {extractor.feat_dim()} dimensions"
    yield "i-vectors", f"{extractor.ivector_dim()} dimensions, prior offset {extractor.prior_offset():g}"


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


_KINDS: dict[str, Callable[[KaldiReader], Iterator[Line]]] = {
    "<TransitionModel>": _acoustic_model,
    "<Nnet3>": _raw_nnet3,
    "<DiagGMM>": _mixture,
    "<IvectorExtractor>": _ivector_extractor,
}


def _word_times(model: Model) -> str:
    if model.word_aligner is None:
        return "no (there is neither word_boundary.int nor align_lexicon.int)"
    return "by a lexicon" if isinstance(model.word_aligner, LexiconAligner) else "by the positions of phones"


def _kind_of_features(acoustics: Nnet3Acoustics | Nnet2Acoustics) -> str:
    return type(acoustics.features.feature_opts).__name__.removesuffix("Options").lower()
