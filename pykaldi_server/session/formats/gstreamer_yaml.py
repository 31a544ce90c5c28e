"""Models described by the YAML files of kaldi-gstreamer-server.

The section ``decoder`` holds properties of a GStreamer plugin, which are Kaldi's options with other
spellings: hyphens for dots, silence weighting with or without its prefix. With ``use-nnet2: True`` the plugin
is kaldinnet2onlinedecoder (neural networks), without it onlinegmmdecodefaster. Everything else in the file is
about the worker, which reads the file itself (`YamlFile`) and hands this part on.
"""

import difflib
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.online_feature import read_transform
from pykaldi_server.kaldi.online2 import (
    OnlineEndpointConfig,
    OnlineNnetFeaturePipelineConfig,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.kaldi.online2.gmm_models import read_gmm
from pykaldi_server.kaldi.util.files import refuse_lfs_pointer
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.kaldi.util.options import Options, ParseOptions, PathBase, group, option
from pykaldi_server.repeated_keys import repeated_keys
from pykaldi_server.session.acoustics.gmm_plugin import GmmPluginAcoustics, GmmPluginDecodingOptions
from pykaldi_server.session.acoustics.stream import Acoustics
from pykaldi_server.session.formats.checks import check_silence_phones
from pykaldi_server.session.formats.source import ModelSource, load_network
from pykaldi_server.session.options import NetworkOptions, SessionOptions
from pykaldi_server.session.rescoring import RescoringFiles

__all__ = [
    "MODEL_KEYS",
    "NO_EFFECT",
    "YamlFile",
    "plugin_options",
    "read_gstreamer_yaml",
    "say_what_is_not_used",
]

logger = logging.getLogger(__name__)

_WEIGHTING_PREFIX = "ivector-silence-weighting."
NO_EFFECT = {
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
"""Properties that are accepted and without effect, each with the reason that is logged."""

# The defaults of onlinegmmdecodefaster.
_GMM_PLUGIN_FILES = {"model": "final.mdl", "fst": "HCLG.fst", "word-syms": "words.txt"}
USE_VAD = "use-vad"
MODEL_KEYS = ("use-nnet2", "decoder", USE_VAD)
"""The keys of a file that are about the model."""


class _Loader(yaml.SafeLoader):
    """Reads YAML whose numbers are plain decimals.

    By YAML 1.1, ``1:2:3``, a list of silence phones, would be a number to the base of 60, and ``7_000``,
    which Kaldi refuses, would be 7000.
    """


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_NUMBERS[0], re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _NUMBERS[1],
    re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z"),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class YamlFile:
    """A file that was read, in its two parts.

    Attributes:
        path: the file.
        model: what it says about the model: the values of `MODEL_KEYS`.
        other: everything else.
    """

    path: Path
    model: Mapping[str, Any]
    other: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "YamlFile":
        """Reads a file.

        Raises:
            FileNotFoundError: there is no such file.
            ConfigError: it is not a YAML mapping with names for keys.
            ModelFormatError: it is a Git LFS pointer.
        """
        data = path.read_bytes()
        refuse_lfs_pointer(data, path)
        try:
            content = yaml.load(data, _Loader)  # a SafeLoader  # nosec B506
            for line, key in repeated_keys(yaml.compose(data, _Loader)):
                logger.warning("%s: line %d: %r is there again; the last one counts", path, line, key)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected YAML, found {error}") from error
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise ConfigError(f"{path}: expected a mapping with names for keys, found {_kind(content)}")
        model = {key: value for key, value in content.items() if key in MODEL_KEYS}
        return cls(path, model, {key: value for key, value in content.items() if key not in MODEL_KEYS})

    def warn_of_unknown(self, known: Collection[str], keys: Collection[str]) -> None:
        """Warns of keys that are not known, each with the known one that is most like it."""
        for key in keys:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; the nearest known one is {near[0]!r}" if near else ""
            logger.warning("%s: unknown key %r%s", self.path, key, hint)


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        return next(f"the key {key!r}" for key in content if not isinstance(key, str))
    return "nothing" if content is None else f"a {type(content).__name__}"


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

    def validate(self) -> None:
        self.features.validate()
        self.network.validate()


@dataclass
class _GmmPluginOptions(Options):
    files: _PluginFiles = group(_PluginFiles, prefix="")
    session: SessionOptions = group(SessionOptions, prefix="")
    decoding: GmmPluginDecodingOptions = group(GmmPluginDecodingOptions, prefix="")
    lda_mat: str = option("", "LDA matrix.", path=True)

    def validate(self) -> None:
        self.session.validate()
        self.decoding.validate()


def plugin_options(use_nnet2: bool) -> Options:
    """Returns the options below ``decoder`` with the defaults of the plugin, where those differ from ours.

    Args:
        use_nnet2: those of kaldinnet2onlinedecoder rather than those of onlinegmmdecodefaster.
    """
    return _network_plugin_options() if use_nnet2 else _gmm_plugin_options()


def _network_plugin_options() -> _PluginOptions:
    options = _PluginOptions()
    options.network.session.traceback_period_in_secs = 0.5
    options.network.session.do_endpointing = False
    return options


def _gmm_plugin_options() -> _GmmPluginOptions:
    options = _GmmPluginOptions()
    for name, file in _GMM_PLUGIN_FILES.items():
        setattr(options.files, name.replace("-", "_"), file)
    return options


def read_gstreamer_yaml(file: YamlFile, overrides: Mapping[str, str]) -> ModelSource:
    """Reads the model that a file describes: its acoustic side, and where its graph is.

    Args:
        file: the file; paths in it may be relative to it, or to the working directory.
        overrides: options that win over those of the file.

    Raises:
        FileNotFoundError: a file of the model does not exist.
        ConfigError: a property is wrong, or a part of the model is not named.
        ModelFormatError: a file of the model is damaged.
    """
    properties = file.model.get("decoder")
    if not isinstance(properties, dict):
        found = "no such key" if "decoder" not in file.model else repr(properties)
        raise ConfigError(f"{file.path}: decoder: expected a mapping of properties, found {found}")
    if file.model.get(USE_VAD) is not None:  # an option of sessions here, for every kind of model
        properties = {USE_VAD: file.model[USE_VAD], **properties}
    texts = {str(name): _text(value) for name, value in properties.items()} | dict(overrides)
    read = _read_network if file.model.get("use-nnet2", False) else _read_gmm
    return read(file.path, texts)


def say_what_is_not_used(file: YamlFile) -> None:
    """Names the keys of a file that are not about the model, for readers that only take the model."""
    misspelt = [key for key in file.other if difflib.get_close_matches(key, MODEL_KEYS, n=1)]
    file.warn_of_unknown(MODEL_KEYS, misspelt)
    others = [key for key in file.other if key not in misspelt]
    if others:
        logger.info("%s: without effect here, as only workers use them: %s", file.path, ", ".join(others))


def _read_network(path: Path, properties: Mapping[str, str]) -> ModelSource:
    """A model for the plugin kaldinnet2onlinedecoder."""
    options = _network_plugin_options()
    places, model_dir = _set_properties(path, properties, options)
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
    places, _ = _set_properties(path, properties, options)
    _require(path, options.files)
    transition_model, acoustic_model = read_gmm(options.files.model)
    if "silence-phones" in places:
        silence = options.decoding.silence_phones
        place = f"{places['silence-phones']}: silence-phones"
        check_silence_phones(place, silence, transition_model, are_needed=True)
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
    path: Path, properties: Mapping[str, str], options: Options
) -> tuple[Mapping[str, str], Path | None]:
    """Sets options from properties in any spelling.

    Returns:
        Where each option is set (name -> place), and the innermost directory with all files of the model.
    """
    parser = ParseOptions()
    parser.register(options)
    spellings = _spellings(parser)
    known_names = {name: spellings[_spelling(name)] for name in properties if _spelling(name) in spellings}
    files = [name for name, known in known_names.items() if parser.is_path(known)]
    base = PathBase(path.parent, _common_directory(path.parent, [properties[name] for name in files]))
    for name, value in properties.items():
        place = f"{path}: decoder: {name}"
        if name in known_names:
            parser.set(known_names[name], value, place, base)
        elif _spelling(name) in NO_EFFECT:
            logger.info("%s has no effect: %s", place, NO_EFFECT[_spelling(name)])
        else:
            near = difflib.get_close_matches(_spelling(name), spellings, n=1)
            hint = f"; the nearest known one is {near[0]!r}" if near else ""
            logger.warning("%s: unknown property%s", place, hint)
    parser.validate(path)
    found = [str(parser.value(known_names[name])) for name in files]
    return parser.places, _common_directory(path.parent, found)


def _spelling(name: str) -> str:
    return name.replace("_", "-").replace(".", "-")


def _spellings(parser: ParseOptions) -> dict[str, str]:
    """Maps every spelling of each option to its name."""
    names = {_spelling(name): name for name in parser.names()}
    for name in parser.names():
        if name.startswith(_WEIGHTING_PREFIX):
            names.setdefault(_spelling(name.removeprefix(_WEIGHTING_PREFIX)), name)
    return names


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _common_directory(folder: Path, files: Iterable[str]) -> Path | None:
    """The innermost directory that has all those files of a model that exist, relative to a folder or not.

    Files that have moved, such as those that the model's own configurations name, are looked for there.
    """
    found = [place for file in files for place in (folder / file, Path(file)) if place.is_file()]
    if not found:
        return None
    common = Path(os.path.commonpath([place.absolute().parent for place in found]))
    # Files that have nothing in common do not make the whole file system the model.
    return common if common != Path(common.anchor) else found[0].parent


def _require(path: Path, files: _PluginFiles) -> None:
    for name in ("model", "fst", "word_syms"):
        if not getattr(files, name):
            raise ConfigError(f"{path}: decoder: {name.replace('_', '-')} is not set")
