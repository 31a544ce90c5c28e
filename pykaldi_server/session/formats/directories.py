"""Finds out how a model's directory is laid out, and reads it.

A directory is in Vosk's layout or in one of Kaldi's (`vosk`, `online`, `gmm`). Archives often contain a
folder with the name of the archive, so a directory with a model one folder down means that model.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.session.formats.graph_files import find_graph, model_name
from pykaldi_server.session.formats.layouts import (
    has_model,
    is_gmm_layout,
    is_online_layout,
    is_vosk_layout,
)
from pykaldi_server.session.formats.source import ModelSource

__all__ = ["find_model_directory", "read_directory", "read_name"]

logger = logging.getLogger(__name__)

_DEEPEST = 4  # folders down: Kaldi's recipes have exp/chain/tdnn/


def read_directory(directory: Path, graph: str | None, overrides: Mapping[str, str]) -> ModelSource:
    """Reads the acoustic side of the model in a directory, and finds its graph.

    Args:
        directory: the model's directory, or one that contains it and no other model.
        graph: name of the graph's folder; None for the default.
        overrides: options that win over those of the model.

    Raises:
        FileNotFoundError: a part of the model is missing.
        ConfigError: there is no model or no such graph, a file cannot be found, or an option is wrong.
        ModelFormatError: a file is damaged, or the files do not fit together.
    """
    inner = _directory_of_model(directory)
    source = _reader_for(inner)(inner, graph, overrides)
    if inner == directory:
        return source
    logger.info("%s: the model is in %s", directory, inner)
    return dataclasses.replace(source, name=_outer_name(directory, inner, source.name))


def _reader_for(directory: Path) -> Callable[[Path, str | None, Mapping[str, str]], ModelSource]:
    """Imports what reads models of the kind that is in a directory, and nothing else."""
    # A model in Vosk's layout may have a stray configuration of Kaldi's programs, which Vosk does not read.
    if not is_vosk_layout(directory):
        if is_gmm_layout(directory):
            from pykaldi_server.session.formats.gmm import read_gmm_layout

            return read_gmm_layout
        if is_online_layout(directory):
            from pykaldi_server.session.formats.online import read_online_layout

            return read_online_layout
    from pykaldi_server.session.formats.vosk import read_vosk_layout

    return read_vosk_layout


def read_name(directory: Path, graph: str | None) -> str:
    """Returns the name of the model that `read_directory` reads, without reading its files.

    Args:
        directory: the model's directory, or one that contains it and no other model.
        graph: name of the graph's folder; None for the default.

    Raises:
        ConfigError: there are several models, or there is no such graph.
    """
    inner = _directory_of_model(directory)
    return _outer_name(directory, inner, model_name(inner, find_graph(inner, graph)))


def _outer_name(directory: Path, inner: Path, name: str) -> str:
    """The name of a model inside a directory, which has the directory's name in place of its own."""
    return directory.resolve().name + name.removeprefix(inner.resolve().name)


def _directory_of_model(directory: Path) -> Path:
    """The directory itself or, where it has no model but one of its folders has one, that folder."""
    found = _models_in(directory, deepest=1)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(
            f"{directory}: expected one model, found several, of which one must be named: {names}"
        )
    return found[0] if found else directory


def find_model_directory(folder: Path) -> Path:
    """Finds the directory of the only model in a folder, such as an archive has it.

    Raises:
        ConfigError: there is no model, or there are several side by side.
    """
    found = _models_in(folder, _DEEPEST)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(directory.relative_to(folder).as_posix() for directory in found)
        raise ConfigError(f"{folder}: expected one model, found several: {names}")
    raise ConfigError(
        f"{folder}: expected a model in Vosk's layout (am/final.mdl) or Kaldi's (conf/online.conf, "
        "conf/online_decoding.conf), found neither"
    )


def _models_in(folder: Path, deepest: int) -> list[Path]:
    """The directories with a model that are the fewest levels below a folder, which itself is level 0."""
    level = [folder]
    for _ in range(deepest):
        if found := [directory for directory in level if has_model(directory)]:
            return found
        level = sorted(path for each in level for path in each.iterdir() if path.is_dir())
    return [directory for directory in level if has_model(directory)]
