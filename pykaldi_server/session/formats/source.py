"""What each format of a model is turned into: its acoustic side, the files of its graph, and its options."""

import logging
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.online_feature import HISTORY_FRAMES
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.online2 import OnlineEndpointConfig, OnlineNnetFeaturePipelineInfo
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import ParseOptions
from pykaldi_server.session.acoustics.stream import Acoustics
from pykaldi_server.session.formats.checks import check_silence_phones
from pykaldi_server.session.options import NetworkOptions, SessionOptions
from pykaldi_server.session.rescoring import RescoringFiles

if TYPE_CHECKING:  # a model needs one of them
    from pykaldi_server.session.acoustics.nnet2 import Nnet2Acoustics
    from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics

__all__ = ["ModelSource", "load_network", "read_subsampling_factor"]

logger = logging.getLogger(__name__)

_CHAIN_SUBSAMPLING_FACTOR = 3
_SUBSAMPLING = "frame_subsampling_factor"
_NNET3_TOKEN = "<Nnet3>"
_NNET2_TOKEN = "<Nnet>"
_ENDPOINT_PHONES = "endpoint.silence-phones"
_WEIGHTED_PHONES = "ivector-silence-weighting.silence-phones"


@dataclass(frozen=True)
class ModelSource:
    """A model whose acoustic side is loaded and whose graph is not.

    Attributes:
        name: what clients call it.
        acoustics: the acoustic model with its features.
        graph: the search graph: ``HCLG.fst``, or ``HCLr.fst`` if it comes in two parts.
        words: table of the graph's output symbols, if it is a file of its own.
        phones: table of phones, if there is one.
        word_boundary: which phones begin and end words, if known.
        align_lexicon: which phones words have, if known; for models without a word-boundary file.
        session: options of sessions.
        endpoint: when segments end.
        rescoring: language models for final lattices, if there are any.
    """

    name: str
    acoustics: Acoustics
    graph: Path
    words: Path | None
    phones: Path | None
    word_boundary: Path | None
    align_lexicon: Path | None
    session: SessionOptions
    endpoint: OnlineEndpointConfig
    rescoring: RescoringFiles | None = None


def read_subsampling_factor(directory: Path, parser: ParseOptions) -> None:
    """Sets the frame subsampling factor from the file that Kaldi writes next to chain models.

    Args:
        directory: the directory of ``final.mdl``; without such a file, nothing is set.
        parser: the parser of the model's options.

    Raises:
        ConfigError: the file does not contain a number.
    """
    factor = directory / _SUBSAMPLING
    if factor.exists():
        parser.set("frame-subsampling-factor", factor.read_text().strip(), str(factor))


def load_network(
    path: Path, features: OnlineNnetFeaturePipelineInfo, options: NetworkOptions, places: Mapping[str, str]
) -> "Nnet3Acoustics | Nnet2Acoustics":
    """Loads a neural network, nnet3 or nnet2.

    Args:
        path: ``final.mdl``.
        features: its features; their history is bounded here, because sessions may last for hours.
        options: how it is decoded. For a chain model, the options that ``places`` lacks are set here.
        places: where the model's description sets options itself (name -> place).

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or holds something else.
        ConfigError: network, transition model and options do not fit together.
    """
    reader = KaldiReader.open(path)
    transition_model = TransitionModel.read(reader)
    _check_silence(path, transition_model, features, options, places)
    features.feature_opts.frame_opts.max_feature_vectors = HISTORY_FRAMES
    kind = reader.peek_token()
    if kind == _NNET2_TOKEN:
        from pykaldi_server.kaldi.nnet2 import AmNnet
        from pykaldi_server.session.acoustics.nnet2 import Nnet2Acoustics

        _say_without_effect(places, {"frames-per-chunk", "frame-subsampling-factor"}, "an nnet2 model")
        return Nnet2Acoustics(transition_model, AmNnet.read(reader), features, options)
    if kind != _NNET3_TOKEN:
        raise reader.error(f"a neural network ({_NNET3_TOKEN} or {_NNET2_TOKEN})", repr(kind))
    from pykaldi_server.kaldi.nnet3 import AmNnetSimple
    from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics

    _say_without_effect(places, {"max-nnet-batch-size", "pad-input"}, "an nnet3 model")
    acoustic_model = AmNnetSimple.read(reader)
    if not transition_model.topology.is_hmm():
        _complete_chain_options(path, options, places)
    acoustics = Nnet3Acoustics(transition_model, acoustic_model, features, options)
    pdfs = transition_model.num_pdfs()
    if acoustics.network.output_dim != pdfs:
        raise ConfigError(
            f"{path}: expected {pdfs} outputs of the network (pdfs of the transition model), found "
            f"{acoustics.network.output_dim}"
        )
    return acoustics


def _say_without_effect(places: Mapping[str, str], names: Set[str], kind: str) -> None:
    for name in sorted(names & places.keys()):
        logger.info("%s has no effect: this is %s", places[name], kind)


def _check_silence(
    path: Path,
    transition_model: TransitionModel,
    features: OnlineNnetFeaturePipelineInfo,
    options: NetworkOptions,
    places: Mapping[str, str],
) -> None:
    """Checks the silence phones of endpoints, and those of i-vectors where they are others."""
    ends, weighted = options.endpoint.silence_phones, features.silence_weighting_config.silence_phones_str
    if options.session.do_endpointing and ends:
        place = f"{places.get(_ENDPOINT_PHONES, path)}: --{_ENDPOINT_PHONES}"
        check_silence_phones(place, ends, transition_model, are_needed=True)
    if weighted != ends:
        place = f"{places.get(_WEIGHTED_PHONES, path)}: --{_WEIGHTED_PHONES}"
        check_silence_phones(place, weighted, transition_model, are_needed=False)


def _complete_chain_options(path: Path, options: NetworkOptions, given: Collection[str]) -> None:
    """Sets what a chain model needs and its description leaves open; warns of values that cannot be right."""
    for name, field, right in (
        ("acoustic-scale", "acoustic_scale", 1.0),
        ("frame-subsampling-factor", "frame_subsampling_factor", _CHAIN_SUBSAMPLING_FACTOR),
    ):
        found = getattr(options.decodable, field)
        if name not in given:
            setattr(options.decodable, field, right)
        elif found != right:
            logger.warning(
                "%s is a chain model, which needs --%s=%s; the configuration says %s",
                path,
                name,
                right,
                found,
            )
