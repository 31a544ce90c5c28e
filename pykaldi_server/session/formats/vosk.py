"""Models in Vosk's directory layout, and its older flat one::

    am/final.mdl                          final.mdl
    conf/mfcc.conf, conf/model.conf       mfcc.conf
    conf/pitch.conf                       pitch.conf
    am/global_cmvn.stats                  global_cmvn.stats
    graph/HCLG.fst, graph/words.txt       HCLG.fst, words.txt
    graph/HCLr.fst, Gr.fst, ...           HCLr.fst, Gr.fst, disambig_tid.int
    graph/phones/word_boundary.int        word_boundary.int
    ivector/final.ie, ...                 ivector/final.ie, ...
    rescore/G.fst, rescore/G.carpa

A model may have several graphs, in folders whose names begin with ``graph``. What Vosk sets for every model
without a file that says it is set here, too: the silence weight and the ``max-count`` of i-vectors and,
for the flat layout, all options (``src/model.cc`` of Vosk); there, Kaldi's file ``frame_subsampling_factor``
is read, too. Features have CMVN where there are global statistics, and pitch where there is its
configuration; there are i-vectors where there is an extractor.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat import OnlineCmvnOptions
from pykaldi_server.kaldi.feat.cmvn import read_cmvn_stats
from pykaldi_server.kaldi.feat.online_feature import read_transform
from pykaldi_server.kaldi.gmm import DiagGmm
from pykaldi_server.kaldi.ivector import IvectorExtractor
from pykaldi_server.kaldi.online2 import (
    OnlineIvectorExtractionConfig,
    OnlineIvectorExtractionInfo,
    OnlineNnetFeaturePipelineInfo,
    OnlineSilenceWeightingConfig,
    OnlineSpliceOptions,
)
from pykaldi_server.kaldi.online2.base_feature import OPTIONS_OF_TYPE, BaseOptions
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import (
    OptionsT,
    ParseOptions,
    read_options,
)
from pykaldi_server.session.formats.graph_files import (
    DEFAULT_GRAPH,
    find_graph,
    first_of,
    model_name,
    optional,
)
from pykaldi_server.session.formats.source import ModelSource, load_network, read_subsampling_factor
from pykaldi_server.session.options import NetworkOptions
from pykaldi_server.session.rescoring import RescoringFiles

__all__ = ["read_vosk_layout"]

logger = logging.getLogger(__name__)

_SILENCE_WEIGHT = 1e-3
_MAX_COUNT = 100.0
_EXTRACTOR = "final.ie"
_CMVN_STATS = "global_cmvn.stats"
_PITCH_CONFIG = "pitch.conf"
_FLAT_LAYOUT_OPTIONS = {
    "max-active": "7000",
    "beam": "13.0",
    "lattice-beam": "6.0",
    "acoustic-scale": "1.0",
    "frame-subsampling-factor": "3",
    "endpoint.silence-phones": "1:2:3:4:5:6:7:8:9:10",
    "endpoint.rule2.min-trailing-silence": "0.5",
    "endpoint.rule3.min-trailing-silence": "1.0",
    "endpoint.rule4.min-trailing-silence": "2.0",
}


def read_vosk_layout(directory: Path, graph: str | None, overrides: Mapping[str, str]) -> ModelSource:
    """Reads a model's acoustic side and finds its graph.

    Args:
        directory: the model's directory.
        graph: name of the graph's folder, or None for the default.
        overrides: options that win over those of the model.

    Raises:
        FileNotFoundError: a part of the i-vector extractor is missing.
        ConfigError: there is no acoustic model or no such graph, or an option is wrong.
        ModelFormatError: a file is damaged.
    """
    acoustic_model = first_of(directory, "an acoustic model", "am/final.mdl", "final.mdl")
    files = find_graph(directory, graph)
    options, places = _read_options(directory, overrides)
    return ModelSource(
        name=model_name(directory, files),
        acoustics=load_network(acoustic_model, _read_features(directory, options), options, places),
        graph=files.graph,
        words=files.words,
        phones=files.phones,
        word_boundary=files.word_boundary,
        align_lexicon=files.align_lexicon,
        session=options.session,
        endpoint=options.endpoint,
        rescoring=_find_rescoring(directory, files.directory),
    )


def _usual_graphs(directory: Path) -> tuple[Path, Path]:
    """The places of the graph that the models for rescoring belong to."""
    return directory, directory / DEFAULT_GRAPH


def _find_rescoring(directory: Path, graph: Path) -> RescoringFiles | None:
    """The language models for the model's usual graph, if there are any; other graphs have other words."""
    if graph not in _usual_graphs(directory):
        if (directory / "rescore").is_dir():
            logger.info("%s: without effect for %s, whose words may be others", directory / "rescore", graph)
        return None
    if (directory / "rnnlm").is_dir():
        logger.warning("%s: rescoring with a recurrent network is not supported; going on without", directory)
    old_lm, new_lm = directory / "rescore" / "G.fst", directory / "rescore" / "G.carpa"
    if not new_lm.exists():
        if old_lm.exists():
            logger.info("%s: there is no rescoring without %s", old_lm, new_lm.name)
        return None
    if not old_lm.exists():
        raise ConfigError(
            f"{new_lm}: expected {old_lm.name}, the language model of the graph, in the same folder, found "
            f"none; add it, or remove {new_lm.name} to go on without rescoring"
        )
    return RescoringFiles(old_lm, new_lm)


def _read_options(directory: Path, overrides: Mapping[str, str]) -> tuple[NetworkOptions, Mapping[str, str]]:
    options = NetworkOptions()
    parser = ParseOptions()
    parser.register(options)
    config = directory / "conf" / "model.conf"
    if config.exists():
        parser.read_config_file(config, directory)
    else:
        for name, value in _FLAT_LAYOUT_OPTIONS.items():
            parser.set(name, value, str(directory))
        read_subsampling_factor(directory, parser)
    for name, value in overrides.items():
        parser.set(name, value, f"{directory}: override")
    parser.validate(config if config.exists() else directory)
    return options, parser.places


def _read_features(directory: Path, options: NetworkOptions) -> OnlineNnetFeaturePipelineInfo:
    info = OnlineNnetFeaturePipelineInfo(_read_base_options(directory))
    cmvn_stats = optional(directory / "am" / _CMVN_STATS, directory / _CMVN_STATS)
    if cmvn_stats is not None:
        info.cmvn_opts = OnlineCmvnOptions()
        info.global_cmvn_stats = read_cmvn_stats(KaldiReader.open(cmvn_stats))
    pitch = optional(directory / "conf" / _PITCH_CONFIG, directory / _PITCH_CONFIG)
    if pitch is not None:
        from pykaldi_server.kaldi.online2.pitch_options import PitchOptions

        info.pitch_opts = read_options(PitchOptions, pitch, directory)
    if (directory / "ivector" / _EXTRACTOR).exists():
        info.ivector_extractor_info = _read_ivector_extractor(directory / "ivector")
        info.silence_weighting_config = OnlineSilenceWeightingConfig(
            silence_phones_str=options.endpoint.silence_phones, silence_weight=_SILENCE_WEIGHT
        )
    elif (directory / "ivector").is_dir():
        logger.info("%s: there are no i-vectors without %s", directory / "ivector", _EXTRACTOR)
    return info


def _read_base_options(directory: Path) -> BaseOptions:
    for feature_type, options_class in OPTIONS_OF_TYPE.items():
        name = f"{feature_type}.conf"
        found = optional(directory / "conf" / name, directory / name)
        if found is not None:
            return read_options(options_class, found, directory)
    names = ", ".join(f"{feature_type}.conf" for feature_type in OPTIONS_OF_TYPE)
    raise ConfigError(f"{directory}: expected one of {names} (in conf/ or here), found none")


def _read_ivector_extractor(folder: Path) -> OnlineIvectorExtractionInfo:
    return OnlineIvectorExtractionInfo(
        opts=OnlineIvectorExtractionConfig(max_count=_MAX_COUNT),
        lda_mat=read_transform(KaldiReader.open(folder / "final.mat")),
        global_cmvn_stats=read_cmvn_stats(KaldiReader.open(folder / "global_cmvn.stats")),
        diag_ubm=DiagGmm.read(KaldiReader.open(folder / "final.dubm")),
        extractor=IvectorExtractor.read(KaldiReader.open(folder / _EXTRACTOR)),
        cmvn_opts=_options_or_default(OnlineCmvnOptions, folder / "online_cmvn.conf"),
        splice_opts=_options_or_default(OnlineSpliceOptions, folder / "splice.conf"),
    )


def _options_or_default(options_class: type[OptionsT], path: Path) -> OptionsT:
    return read_options(options_class, path) if path.exists() else options_class()
