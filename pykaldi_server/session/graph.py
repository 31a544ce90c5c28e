"""Chooses the graph that a model is decoded with.

A folder has a graph in one of two forms: ``HCLG.fst``, or ``HCLr.fst`` and ``Gr.fst``, which are composed
while they are searched. The composition can be compiled in advance, by `compile_graph` or in the background,
into ``composed.graph`` in the folder itself or into a file in the user's cache. A compiled graph is used as
long as it was made of the parts that are there: their contents are compared, not their dates.

Words are named by the table that is embedded in the graph, as in Vosk, or else by ``words.txt``.
"""

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.fstext import (
    CompiledGraph,
    DecodingGraph,
    LookaheadFst,
    SymbolTable,
    compiled_for,
    graph_fingerprint,
    read_decoding_graph,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.fstext.lookahead import HCL_NAME

__all__ = [
    "COMPILED_NAME",
    "cached_path",
    "compile_in_background",
    "describe_graph",
    "find_compiled",
    "is_lookahead",
    "load_graph",
    "read_graph",
]

logger = logging.getLogger(__name__)

COMPILED_NAME = "composed.graph"
_COMPILER = "pykaldi_server.session.compile_graph"


def load_graph(path: Path, words: Path | None) -> tuple[DecodingGraph, SymbolTable]:
    """Loads a graph, and the table of its output labels.

    Args:
        path: ``HCLG.fst``, or ``HCLr.fst`` with its neighbours.
        words: ``words.txt``; not needed where the graph has a table.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: a file is damaged or of another kind.
        ConfigError: the graph has no table of words, and there is no words.txt.
    """
    graph = read_graph(path)
    table = graph.output_symbols()
    if table is None and words is None:
        raise ConfigError(f"{path}: expected a table of words, in the graph or in words.txt, found none")
    return graph, table or SymbolTable.read_text(str(words))


def read_graph(path: Path) -> DecodingGraph:
    """Reads a graph, a compiled one where there is one; see `load_graph`."""
    if not is_lookahead(path):
        return read_decoding_graph(path)
    compiled = find_compiled(path.parent)
    if compiled is not None:
        try:
            graph = CompiledGraph.read(os.fspath(compiled))
            logger.info("%s: compiled in %s", path.parent, compiled)
            return graph
        except (ModelFormatError, OSError) as error:
            logger.warning("going on without a compiled graph, which should be deleted: %s", error)
    logger.info("%s: composed in the search", path.parent)
    return read_lookahead_graph(path.parent)


def describe_graph(graph: DecodingGraph) -> str:
    """Says of what kind a graph is, and how large."""
    if isinstance(graph, LookaheadFst):
        return "composed while it is searched"
    kind = "compiled" if isinstance(graph, CompiledGraph) else "static"
    return f"{kind}, {graph.num_states():,} states, {graph.num_arcs():,} arcs"


def is_lookahead(path: Path) -> bool:
    """Whether a graph's file is the first part of a lookahead graph."""
    return path.name == HCL_NAME


def find_compiled(folder: Path) -> Path | None:
    """The compiled form of the lookahead graph in a folder, if there is one that is up to date."""
    places = [folder / COMPILED_NAME]
    try:
        places.append(cached_path(folder))
    except ConfigError as error:
        logger.debug("%s: %s", folder, error)
    there = [path for path in places if os.path.exists(path)]
    if not there:
        return None
    fingerprint = graph_fingerprint(folder)
    return next((path for path in there if compiled_for(path, fingerprint)), None)


def cached_path(folder: Path) -> Path:
    """The file for the graph in a folder, in the user's cache, ``$XDG_CACHE_HOME/pykaldi-server``.

    Raises:
        ConfigError: there is neither XDG_CACHE_HOME nor a home directory.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise ConfigError(f"XDG_CACHE_HOME: expected a directory, found none, and {error}") from None
    place = folder.resolve()
    digest = hashlib.blake2b(os.fsencode(place), digest_size=8).hexdigest()
    return cache / "pykaldi-server" / f"{'-'.join(place.parts[-3:])}-{digest}.graph"


def compile_in_background(path: Path) -> "subprocess.Popen[bytes] | None":
    """Compiles a model's graph into the user's cache, in a process with low priority that ends with this one.

    It fails if the disk is too full; everything works without it.

    Args:
        path: ``HCLG.fst``, or ``HCLr.fst`` with its neighbours.

    Returns:
        The process, or None when there is nothing to do: the graph is static, or was compiled before.

    Raises:
        ConfigError: there is no cache, see `cached_path`.
        OSError: the cache cannot be made, or the process cannot be started.
    """
    if not is_lookahead(path) or find_compiled(path.parent) is not None:
        return None
    out = cached_path(path.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    logger.info("%s: compiling into %s", path.parent, out)
    command = [sys.executable, "-m", _COMPILER, os.fspath(path.parent), os.fspath(out)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # this very package  # nosec B603
