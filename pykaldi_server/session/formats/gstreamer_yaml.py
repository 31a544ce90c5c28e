"""Models described by the YAML files of kaldi-gstreamer-server.

The section ``decoder`` holds properties of a GStreamer plugin, which are Kaldi's options with other
spellings: hyphens for dots, silence weighting with or without its prefix. With ``use-nnet2: True`` the plugin
is kaldinnet2onlinedecoder (neural networks), without it onlinegmmdecodefaster. Everything else in the file is
about the worker.
"""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.online2 import (
    OnlineEndpointConfig,
    OnlineNnetFeaturePipelineConfig,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.kaldi.online2.feature_pipeline import read_transform
from pykaldi_server.kaldi.online2.gmm_models import read_gmm
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import Options, ParseOptions, PathBase, group, option
from pykaldi_server.session.acoustics.gmm_plugin import GmmPluginAcoustics, GmmPluginDecodingOptions
from pykaldi_server.session.acoustics.stream import Acoustics
from pykaldi_server.session.formats.source import ModelSource, load_network
from pykaldi_server.session.options import NetworkOptions, SessionOptions
from pykaldi_server.session.rescoring import RescoringFiles

logger = logging.getLogger(__name__)

_WEIGHTING_PREFIX = "ivector-silence-weighting."
# Accepted and without effect, with the reason that is logged.
_NO_EFFECT = {
    **dict.fromkeys(
        ("rt-min", "rt-max", "update-interval", "beam-update", "max-beam-update"),
        "the beam is fixed; the original tuned it by the wall clock",
    ),
    "silent": "there is no GStreamer element to be silenced",
    "use-threaded-decoder": "each session has a thread of its own",
    "nnet-mode": "the acoustic model itself says which kind it is",
    "num-phone-alignment": "do-phone-alignment aligns every hypothesis",
    **dict.fromkeys(("adaptation-state", "cmvn-state"), "it is the state of a stream, which clients send"),
}
# What onlinegmmdecodefaster takes where nothing is said.
_GMM_PLUGIN_FILES = {"model": "final.mdl", "fst": "HCLG.fst", "word-syms": "words.txt"}
_WORKER_KEYS = (
    "use-nnet2",
    "decoder",
    "out-dir",
    "use-vad",
    "silence-timeout",
    "timeout-decoder",
    "post-processor",
    "full-post-processor",
    "post-processor-timeout",
    "logging",
)


@dataclass
class _PluginFiles(Options):
    """Properties that name the parts of the model."""

    model: str = option("", "Acoustic model.", path=True)
    fst: str = option("", "Search graph.", path=True)
    word_syms: str = option("", "Table of words.", path=True)
    phone_syms: str = option("", "Table of phones.", path=True)
    word_boundary_file: str = option("", "Which phones begin and end words.", path=True)
    lm_fst: str = option("", "Language model of the graph, to be taken away in rescoring.", path=True)
    big_lm_const_arpa: str = option("", "Language model for rescoring.", path=True)


@dataclass
class _PluginOptions(Options):
    files: _PluginFiles = group(_PluginFiles, prefix="")
    features: OnlineNnetFeaturePipelineConfig = group(OnlineNnetFeaturePipelineConfig, prefix="")
    network: NetworkOptions = group(NetworkOptions, prefix="")


@dataclass
class _GmmPluginOptions(Options):
    files: _PluginFiles = group(_PluginFiles, prefix="")
    session: SessionOptions = group(SessionOptions, prefix="")
    decoding: GmmPluginDecodingOptions = group(GmmPluginDecodingOptions, prefix="")
    lda_mat: str = option("", "LDA matrix.", path=True)

    def validate(self) -> None:
        """Raises `ConfigError` where a value makes no sense."""
        self.session.validate()
        self.decoding.validate()


def _plugin_defaults() -> _PluginOptions:
    """The options with the plugin's defaults, where they are not Kaldi's or ours."""
    options = _PluginOptions()
    options.network.session.traceback_period_in_secs = 0.5
    options.network.session.do_endpointing = False
    return options


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a file; warns of keys that mean nothing.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML, found {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected a mapping of names, found {type(content).__name__}")
    for key in content:
        if key not in _WORKER_KEYS:
            near = difflib.get_close_matches(key, _WORKER_KEYS, n=1)
            hint = f"; the nearest known one is {near[0]!r}" if near else ""
            logger.warning("%s: unknown key %r%s", path, key, hint)
    return content


def read_gstreamer_yaml(path: Path, overrides: Mapping[str, str]) -> ModelSource:
    """Reads the description of a model, and the model's acoustic side.

    Args:
        path: the YAML file; paths in it may be relative to it, or to the working directory.
        overrides: options that win over those of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: a property is wrong, or a part of the model is not named.
        ModelFormatError: a file of the model is damaged.
    """
    content = read_yaml(path)
    properties = content.get("decoder")
    if not isinstance(properties, dict):
        raise ConfigError(f"{path}: decoder: expected a mapping of properties, found {properties!r}")
    texts = {str(name): _text(value) for name, value in properties.items()} | dict(overrides)
    read = _read_network if content.get("use-nnet2", False) else _read_gmm
    return read(path, texts)


def _read_network(path: Path, properties: Mapping[str, str]) -> ModelSource:
    """A model for the plugin kaldinnet2onlinedecoder."""
    options = _plugin_defaults()
    model_dir = _directory_of_model(path, properties)
    places = _set_properties(path, properties, options, model_dir)
    _require(path, options.files)
    features = OnlineNnetFeaturePipelineInfo.from_config(options.features, model_dir)
    acoustics = load_network(Path(options.files.model), features, options.network, places)
    return _source(path, options.files, acoustics, options.network.session, options.network.endpoint)


def _read_gmm(path: Path, properties: Mapping[str, str]) -> ModelSource:
    """A model for the plugin onlinegmmdecodefaster."""
    options = _GmmPluginOptions()
    given = set(map(_spelling, properties))
    defaults = {name: file for name, file in _GMM_PLUGIN_FILES.items() if name not in given}
    properties = {**defaults, **properties}
    _set_properties(path, properties, options, _directory_of_model(path, properties))
    _require(path, options.files)
    transition_model, acoustic_model = read_gmm(options.files.model)
    lda_mat = read_transform(KaldiReader.open(options.lda_mat)) if options.lda_mat else None
    acoustics = GmmPluginAcoustics(transition_model, acoustic_model, lda_mat, options.decoding)
    return _source(path, options.files, acoustics, options.session, OnlineEndpointConfig())


def _source(
    path: Path,
    files: _PluginFiles,
    acoustics: Acoustics,
    session: SessionOptions,
    endpoint: OnlineEndpointConfig,
) -> ModelSource:
    return ModelSource(
        name=path.stem,
        acoustics=acoustics,
        graph=Path(files.fst),
        words=Path(files.word_syms),
        phones=Path(files.phone_syms) if files.phone_syms else None,
        word_boundary=Path(files.word_boundary_file) if files.word_boundary_file else None,
        align_lexicon=None,
        session=session,
        endpoint=endpoint,
        rescoring=_rescoring(path, files),
    )


def _rescoring(path: Path, files: _PluginFiles) -> RescoringFiles | None:
    if bool(files.lm_fst) != bool(files.big_lm_const_arpa):
        raise ConfigError(f"{path}: decoder: lm-fst and big-lm-const-arpa: expected both or none")
    return RescoringFiles(Path(files.lm_fst), Path(files.big_lm_const_arpa)) if files.lm_fst else None


def _set_properties(
    path: Path, properties: Mapping[str, str], options: Options, model_dir: Path | None
) -> Mapping[str, str]:
    """Sets options from properties in any spelling; returns where each was set (name -> place)."""
    parser = ParseOptions()
    parser.register(options)
    spellings = _spellings(parser)
    for name, value in properties.items():
        place = f"{path}: decoder: {name}"
        known = spellings.get(_spelling(name))
        if known is not None:
            parser.set(known, value, place, PathBase(path.parent, model_dir))
        elif _spelling(name) in _NO_EFFECT:
            logger.info("%s has no effect: %s", place, _NO_EFFECT[_spelling(name)])
        else:
            near = difflib.get_close_matches(_spelling(name), spellings, n=1)
            hint = f"; the nearest known one is {near[0]!r}" if near else ""
            logger.warning("%s: unknown property%s", place, hint)
    parser.validate(path)
    return parser.places


def _spelling(name: str) -> str:
    return name.replace("_", "-").replace(".", "-")


def _spellings(parser: ParseOptions) -> dict[str, str]:
    """Every way to write each option -> its name."""
    names = {_spelling(name): name for name in parser.names()}
    for name in parser.names():
        if name.startswith(_WEIGHTING_PREFIX):
            names.setdefault(_spelling(name.removeprefix(_WEIGHTING_PREFIX)), name)
    return names


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _directory_of_model(path: Path, properties: Mapping[str, Any]) -> Path | None:
    """The model's directory: where files that are named by lost paths are looked for."""
    model = Path(str(properties.get("model", "")))
    for candidate in (path.parent / model, model):
        if candidate.is_file():
            return candidate.parent
    return None


def _require(path: Path, files: _PluginFiles) -> None:
    for name in ("model", "fst", "word_syms"):
        if not getattr(files, name):
            raise ConfigError(f"{path}: decoder: {name.replace('_', '-')} is not set")
