"""Models described by the YAML files of kaldi-gstreamer-server.

The section ``decoder`` holds properties of its GStreamer plugin kaldinnet2onlinedecoder, which are Kaldi's
options with other spellings: hyphens for dots, silence weighting with or without its prefix. Everything
else in the file is about the worker (`WorkerSettings`).
"""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.online2 import OnlineNnetFeaturePipelineConfig, OnlineNnetFeaturePipelineInfo
from pykaldi_server.kaldi.util.options import Options, ParseOptions, PathBase, group, option
from pykaldi_server.session.model_source import ModelSource, load_network
from pykaldi_server.session.options import NetworkOptions

logger = logging.getLogger(__name__)

_WEIGHTING_PREFIX = "ivector-silence-weighting."
# Accepted and without effect, with the reason that is logged.
_NO_EFFECT = {
    "silent": "there is no GStreamer element to be silenced",
    "use-threaded-decoder": "each session has a thread of its own",
    "nnet-mode": "the acoustic model itself says which kind it is",
}
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


@dataclass
class _PluginOptions(Options):
    files: _PluginFiles = group(_PluginFiles, prefix="")
    features: OnlineNnetFeaturePipelineConfig = group(OnlineNnetFeaturePipelineConfig, prefix="")
    network: NetworkOptions = group(NetworkOptions, prefix="")


def _plugin_defaults() -> _PluginOptions:
    """The options with the plugin's defaults, where they are not Kaldi's or ours."""
    options = _PluginOptions()
    options.network.session.traceback_period_in_secs = 0.5
    options.network.session.do_endpointing = False
    options.network.decodable.frames_per_chunk = 24
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


def read_gstreamer_yaml(path: Path, overrides: Mapping[str, str] | None = None) -> ModelSource:
    """Reads the description of a model.

    Args:
        path: the YAML file; paths in it may be relative to it, or to the working directory.
        overrides: options that win over those of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: a property is wrong, or a part of the model is not named.
        ModelFormatError: a file of the model is damaged.
    """
    properties = read_yaml(path).get("decoder")
    if not isinstance(properties, dict):
        raise ConfigError(f"{path}: decoder: expected a mapping of properties, found {properties!r}")
    options = _plugin_defaults()
    parser = ParseOptions()
    parser.register(options)
    spellings = _spellings(parser)
    model_dir = _directory_of_model(path, properties)
    texts = {str(name): _text(value) for name, value in properties.items()} | dict(overrides or {})
    for name, value in texts.items():
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
    parser.validate()
    _require(path, options.files)
    features = OnlineNnetFeaturePipelineInfo.from_config(options.features, model_dir)
    acoustics = load_network(Path(options.files.model), features, options.network, parser.given)
    return ModelSource(
        name=path.stem,
        acoustics=acoustics,
        graph=Path(options.files.fst),
        words=Path(options.files.word_syms),
        phones=Path(options.files.phone_syms) if options.files.phone_syms else None,
        word_boundary=Path(options.files.word_boundary_file) if options.files.word_boundary_file else None,
        session=options.network.session,
        endpoint=options.network.endpoint,
    )


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
