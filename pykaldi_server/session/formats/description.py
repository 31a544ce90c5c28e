"""Describes a model: what it is made of and what it can do."""

from collections.abc import Iterator
from pathlib import Path

from pykaldi_server.session.acoustics.gmm import GmmAcoustics
from pykaldi_server.session.acoustics.nnet2 import Nnet2Acoustics
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics
from pykaldi_server.session.acoustics.stream import Acoustics
from pykaldi_server.session.formats.file_description import (
    Line,
    describe_file,
    describe_gmm,
    describe_transition_model,
)
from pykaldi_server.session.formats.layouts import YAML_SUFFIXES
from pykaldi_server.session.graph import describe_graph
from pykaldi_server.session.model import Model
from pykaldi_server.session.word_alignment import LexiconAligner

__all__ = ["describe", "describe_acoustics", "describe_model"]


def describe(path: Path) -> Iterator[Line]:
    """Yields what a model directory, a YAML file, or a file of a model contains.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ModelFormatError: the file is damaged or of an unknown kind.
        ConfigError: the model cannot be loaded, or an option in the file is wrong.
    """
    if path.is_file() and path.suffix not in YAML_SUFFIXES:
        yield from describe_file(path)
    else:
        yield from describe_model(Model.load(path))


def describe_model(model: Model) -> Iterator[Line]:
    """Yields what a loaded model is made of."""
    yield "name", model.name
    yield "sample rate", f"{model.sample_rate_hz} Hz"
    yield "decoder frame", f"{1000 * model.frame_shift_s:g} ms"
    yield from describe_acoustics(model.acoustics)
    yield from describe_transition_model(model.acoustics.transition_model)
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
        yield from describe_gmm(acoustics.models.get_model())
    else:
        yield "kind", "GMM as the original's plugin decodes it"


def _word_times(model: Model) -> str:
    if model.word_aligner is None:
        return "no (there is neither word_boundary.int nor align_lexicon.int)"
    return "by a lexicon" if isinstance(model.word_aligner, LexiconAligner) else "by the positions of phones"


def _kind_of_features(acoustics: Nnet3Acoustics | Nnet2Acoustics) -> str:
    return type(acoustics.features.feature_opts).__name__.removesuffix("Options").lower()
