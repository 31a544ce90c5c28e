"""A model: everything heavy, loaded once, immutable, shared by all sessions of a process."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.online_feature import HISTORY_FRAMES
from pykaldi_server.kaldi.fstext import StdConstFst, SymbolTable, read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat.align import WordBoundaryInfo, WordBoundaryInfoNewOpts
from pykaldi_server.kaldi.lat.functions import TransitionInformation, transition_information
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, DecodableNnetSimpleLoopedInfo
from pykaldi_server.kaldi.online2 import EndpointDetector, OnlineNnetFeaturePipelineInfo
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.session.gstreamer_yaml import read_gstreamer_yaml
from pykaldi_server.session.model_source import ModelSource
from pykaldi_server.session.options import RecognizerOptions
from pykaldi_server.session.vosk_layout import read_vosk_layout, split_model_name

if TYPE_CHECKING:
    from pykaldi_server.session.session import Session

logger = logging.getLogger(__name__)

_YAML_SUFFIXES = (".yaml", ".yml")
_CHAIN_SUBSAMPLING_FACTOR = 3


@dataclass(frozen=True)
class Model:
    """A neural-network model with its graph.

    Attributes:
        name: what clients call it.
        options: how it is decoded.
        transition_model: what transition-ids mean.
        features: what the feature pipelines of all sessions share.
        network: the compiled network.
        graph: the search graph.
        words: symbols of the graph's output labels.
        phones: symbols of the phones, if the model has a table.
        endpoint: ends segments; None without endpointing.
        transitions: what lattice functions need of the transition model.
        word_boundary: which phones begin and end words; None where the model does not say.
    """

    name: str
    options: RecognizerOptions
    transition_model: TransitionModel
    features: OnlineNnetFeaturePipelineInfo
    network: DecodableNnetSimpleLoopedInfo
    graph: StdConstFst
    words: SymbolTable
    phones: SymbolTable | None
    endpoint: EndpointDetector | None
    transitions: TransitionInformation
    word_boundary: WordBoundaryInfo | None

    @property
    def frame_shift_s(self) -> float:
        """Time from one decoder frame to the next."""
        return _frame_shift_s(self.features, self.options)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the samples that sessions take."""
        return int(self.features.feature_opts.frame_opts.samp_freq)

    @classmethod
    def load(cls, path: str | Path, **overrides: str | float | bool) -> "Model":
        """Loads a model.

        Args:
            path: a model directory (``DIRECTORY:GRAPH`` chooses one of several graphs), or a YAML file of
                kaldi-gstreamer-server.
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
        texts = {name: str(value) for name, value in overrides.items()}
        if Path(path).suffix in _YAML_SUFFIXES:
            source = read_gstreamer_yaml(Path(path), texts)
        else:
            source = read_vosk_layout(*split_model_name(path), texts)
        model = cls._from_source(source)
        logger.info("model %s loaded in %.1f s", model.name, time.perf_counter() - start)
        return model

    def session(self, adaptation_state: str | None = None) -> "Session":
        """Starts a session: one stream of audio of one speaker.

        Args:
            adaptation_state: what an earlier session learned of this speaker (`AdaptationState.value`). A
                state that does not fit the model is logged and the session starts afresh.
        """
        from pykaldi_server.session.session import Session  # the session needs this module

        return Session(self, adaptation_state)

    @classmethod
    def _from_source(cls, source: ModelSource) -> "Model":
        reader = KaldiReader.open(source.acoustic_model)
        transition_model = TransitionModel.read(reader)
        acoustic_model = AmNnetSimple.read(reader)
        _complete_options(source, transition_model)
        # Sessions may last for hours.
        source.features.feature_opts.frame_opts.max_feature_vectors = HISTORY_FRAMES
        model = cls(
            name=source.name,
            options=source.options,
            transition_model=transition_model,
            features=source.features,
            network=DecodableNnetSimpleLoopedInfo(source.options.decodable, acoustic_model),
            graph=read_decoding_graph(source.graph),
            words=SymbolTable.read_text(str(source.words)),
            phones=SymbolTable.read_text(str(source.phones)) if source.phones else None,
            endpoint=_endpoint_detector(source, transition_model),
            transitions=transition_information(transition_model),
            word_boundary=_read_word_boundary(source),
        )
        _check(source, model)
        return model


def _frame_shift_s(features: OnlineNnetFeaturePipelineInfo, options: RecognizerOptions) -> float:
    shift_s = features.feature_opts.frame_opts.frame_shift_ms * 0.001
    return shift_s * options.decodable.frame_subsampling_factor


def _endpoint_detector(source: ModelSource, transition_model: TransitionModel) -> EndpointDetector | None:
    if not source.options.session.do_endpointing:
        return None
    frame_shift_s = _frame_shift_s(source.features, source.options)
    return EndpointDetector(source.options.endpoint, transition_model, frame_shift_s)


def _read_word_boundary(source: ModelSource) -> WordBoundaryInfo | None:
    if source.word_boundary is None:
        return None
    return WordBoundaryInfo.from_file(WordBoundaryInfoNewOpts(), source.word_boundary)


def _complete_options(source: ModelSource, transition_model: TransitionModel) -> None:
    """Sets what the description leaves open and the kind of model decides; warns of what cannot be right."""
    if transition_model.topology.is_hmm():
        return
    decodable = source.options.decodable
    for name, field, right in (
        ("acoustic-scale", "acoustic_scale", 1.0),
        ("frame-subsampling-factor", "frame_subsampling_factor", _CHAIN_SUBSAMPLING_FACTOR),
    ):
        if name not in source.given:
            setattr(decodable, field, right)
        elif getattr(decodable, field) != right:
            logger.warning(
                "%s: %s is a chain model, which needs --%s=%s; the configuration says %s",
                source.name,
                source.acoustic_model,
                name,
                right,
                getattr(decodable, field),
            )


def _check(source: ModelSource, model: Model) -> None:
    pdfs = model.transition_model.num_pdfs()
    if model.network.output_dim != pdfs:
        raise ConfigError(
            f"{source.acoustic_model}: expected {pdfs} outputs of the network (pdfs of the transition "
            f"model), found {model.network.output_dim}"
        )
    transition_ids = model.transition_model.num_transition_ids()
    if model.graph.max_input_label() > transition_ids:
        raise ConfigError(
            f"{source.graph}: expected transition-ids up to {transition_ids}, found "
            f"{model.graph.max_input_label()}; the graph belongs to another model"
        )
