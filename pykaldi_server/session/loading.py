"""From a model's directory, configuration file or package to its parts in memory."""

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import DecodingGraph, SymbolTable
from pykaldi_server.models.library import (
    InstalledModel,
    find_model,
    language_of_folder,
    no_such_model,
)
from pykaldi_server.session.acoustics.stream import Endpoint
from pykaldi_server.session.endpoint_rules import rules_in_effect
from pykaldi_server.session.formats.checks import check_graph, check_phones, check_words
from pykaldi_server.session.formats.directories import read_directory, read_name
from pykaldi_server.session.formats.layouts import YAML_SUFFIXES
from pykaldi_server.session.formats.source import ModelSource
from pykaldi_server.session.graph import load_graph
from pykaldi_server.session.model_parts import ModelParts
from pykaldi_server.session.rescoring import Rescorer
from pykaldi_server.session.word_alignment import read_word_aligner

if TYPE_CHECKING:  # a model in a directory does not need it
    from pykaldi_server.session.formats.gstreamer_yaml import YamlFile

__all__ = ["find_name", "load_parts", "read_source", "split_model_name"]

logger = logging.getLogger(__name__)

# The i-vector learns from the decoder only between chunks of audio; chunks of 60 s cost 6.7 % of the words.
_LONG_CHUNK_S = 2.0


def load_parts(path: "str | Path | YamlFile", overrides: Mapping[str, str]) -> ModelParts:
    """Loads a model; see `Model.load`. The values of ``overrides`` are text."""
    start = time.perf_counter()
    source = read_source(path, dict(overrides))
    acoustics = source.acoustics
    if source.session.chunk_length_in_secs > _LONG_CHUNK_S:
        logger.warning(
            "model %s: chunk-length-in-secs is %g; above %g s, results come late and more words are wrong",
            source.name,
            source.session.chunk_length_in_secs,
            _LONG_CHUNK_S,
        )
    graph, words = load_graph(source.graph, source.words)
    labels = _check_graph(source, graph, words)
    parts = ModelParts(
        name=source.name,
        options=source.session,
        acoustics=acoustics,
        graph=graph,
        graph_path=source.graph,
        words=words,
        phones=_read_phones(source),
        endpoint_rules=source.endpoint,
        endpoint=_endpoint(source),
        word_aligner=read_word_aligner(
            source.word_boundary, source.align_lexicon, labels, acoustics.transition_model
        ),
        rescorer=Rescorer.read(source.rescoring, labels, words) if source.rescoring else None,
        language=_find_language(path),
    )
    logger.info("model %s loaded in %.1f s", parts.name, time.perf_counter() - start)
    return parts


def _endpoint(source: ModelSource) -> Endpoint | None:
    """What ends the segments of a model; None when endpointing is off."""
    if not source.session.do_endpointing:
        return None
    return source.acoustics.make_endpoint(rules_in_effect(source.endpoint, source.session))


def split_model_name(name: str | Path) -> tuple[Path, str | None]:
    """Splits ``DIRECTORY:GRAPH`` into the directory and the name of the graph's folder."""
    text = str(name)
    directory, colon, graph = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), None
    return Path(directory), graph


def read_source(path: "str | Path | YamlFile", overrides: dict[str, str]) -> ModelSource:
    """Finds out what a model is made of, and loads its acoustic side; see `Model.load`."""
    if not isinstance(path, str | Path) or Path(path).suffix in YAML_SUFFIXES:
        return _read_yaml(path, overrides)
    directory, graph = split_model_name(path)
    if not directory.exists():
        model = find_model(str(directory))
        if model is None:
            raise FileNotFoundError(no_such_model(str(directory)))
        graph = graph or model.graph
        source = read_directory(model.path, graph, overrides)
        return dataclasses.replace(source, name=_name_in_library(model, graph, source.name))
    if not directory.is_dir():
        raise ConfigError(f"{directory}: expected a model directory or a YAML file, found another file")
    return read_directory(directory, graph, overrides)


def _read_yaml(path: "str | Path | YamlFile", overrides: dict[str, str]) -> ModelSource:
    from pykaldi_server.session.formats.gstreamer_yaml import (
        YamlFile,
        read_gstreamer_yaml,
        say_what_is_not_used,
    )

    if isinstance(path, YamlFile):
        return read_gstreamer_yaml(path, overrides)
    file = YamlFile.read(Path(path))
    say_what_is_not_used(file)
    return read_gstreamer_yaml(file, overrides)


def find_name(path: "str | Path | YamlFile") -> str:
    """Finds out what a model will be called once it is loaded; see `Model.load`.

    Raises:
        ConfigError: a directory has several models, or there is no such graph.
    """
    file = Path(path) if isinstance(path, str | Path) else path.path
    if file.suffix in YAML_SUFFIXES:
        return file.stem
    directory, graph = split_model_name(file)
    if directory.is_dir():
        return read_name(directory, graph)
    model = find_model(str(directory))
    if model is None:
        return str(directory)
    graph = graph or model.graph
    return _name_in_library(model, graph, read_name(model.path, graph))


def _name_in_library(model: InstalledModel, graph: str | None, name: str) -> str:
    """The name of a model of the library: as it is called there, and with a graph that was asked for."""
    return model.name if graph is None else model.name + name.removeprefix(model.path.resolve().name)


def _find_language(path: "str | Path | YamlFile") -> str:
    """Finds out which language a model is for; "" where nothing says it."""
    file = Path(path) if isinstance(path, str | Path) else path.path
    if file.suffix in YAML_SUFFIXES:
        return language_of_folder(file.parent)
    directory, _ = split_model_name(file)
    if directory.exists():
        return language_of_folder(directory)
    model = find_model(str(directory))
    return "" if model is None else model.language


def _check_graph(source: ModelSource, graph: DecodingGraph, words: SymbolTable) -> list[int]:
    """Checks that a graph, its table of words and the model belong together; returns its output labels."""
    check_graph(source.graph, graph, source.acoustics.transition_model)
    labels = graph.output_labels()
    is_embedded = graph.output_symbols() is not None
    check_words(source.graph, labels, words, None if is_embedded else source.words)
    return labels


def _read_phones(source: ModelSource) -> SymbolTable | None:
    if source.phones is None:
        return None
    phones = SymbolTable.read_text(str(source.phones))
    check_phones(source.phones, phones, source.acoustics.transition_model)
    return phones
