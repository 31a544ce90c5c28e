"""Chooses the graph that a model is decoded with.

A folder has a graph in one of two forms: ``HCLG.fst``, or ``HCLr.fst`` and ``Gr.fst``, which are composed
while they are searched. The composition can be compiled in advance, by `compile_graph` or in the background,
into ``composed.graph`` in the folder itself or into the user's cache (`graph_cache`). A compiled graph is
used as long as it was made of the parts that are there. If their sizes and times are those of before, a large
graph is opened without reading it or its parts; both are then checked in the background.

Words are named by the table that is embedded in the graph, as in Vosk, or else by ``words.txt``.
"""

import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.fstext import (
    CompiledGraph,
    DecodingGraph,
    LookaheadFst,
    SymbolTable,
    compiled_for,
    compiled_from,
    graph_fingerprint,
    read_decoding_graph,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.fstext.lookahead import HCL_NAME
from pykaldi_server.session.graph_cache import cached_path, find_cached, prune_cache

if TYPE_CHECKING:
    import subprocess

__all__ = [
    "COMPILED_NAME",
    "compile_in_background",
    "describe_graph",
    "find_compiled",
    "is_lookahead",
    "load_graph",
    "read_graph",
]

logger = logging.getLogger(__name__)

COMPILED_NAME = "composed.graph"
# Files up to this size are checked before they are used, which takes 20 ms.
_SMALL_FILE_BYTES = 64 << 20
_LESS_PRIORITY = 10
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
            graph = _read_compiled(compiled, path.parent)
            logger.info("%s: compiled in %s", path.parent, compiled)
            return graph
        except (ModelFormatError, OSError) as error:
            logger.warning("going on without a compiled graph, which should be deleted: %s", error)
    logger.info("%s: composed in the search", path.parent)
    return read_lookahead_graph(path.parent)


def _read_compiled(path: Path, folder: Path) -> CompiledGraph:
    """Reads a compiled graph; checks a small one at once and a large one in the background."""
    if path.stat().st_size <= _SMALL_FILE_BYTES:
        return CompiledGraph.read(os.fspath(path))
    graph = CompiledGraph.read(os.fspath(path), check=False)
    threading.Thread(target=_check_large, args=(graph, path, folder), daemon=True, name="graph").start()
    return graph


def _check_large(graph: CompiledGraph, path: Path, folder: Path) -> None:
    """Checks a graph that is in use; a file that must not be used again is removed, and reported."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LESS_PRIORITY)  # of this thread
    try:
        graph.check()
        if compiled_for(path, graph_fingerprint(folder)):
            return
        problem = f"{path}: expected a graph compiled from the files in {folder}, found one from others"
    except ModelFormatError as error:
        problem = str(error)
    except OSError as error:
        logger.info("a compiled graph was not checked: %s", error)
        return
    logger.error("results may be wrong until the next start: %s", problem)
    if path.name == COMPILED_NAME:  # not ours to delete
        logger.error("%s: this file should be deleted", path)
    else:
        path.unlink(missing_ok=True)


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
    own = folder / COMPILED_NAME
    if own.exists() and compiled_from(own, folder):
        return own
    try:
        return find_cached(folder)
    except (ConfigError, OSError) as error:  # such as a home directory of another user
        logger.debug("%s: %s", folder, error)
        return None


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
    import subprocess

    if not is_lookahead(path):
        return None
    prune_cache()
    if find_compiled(path.parent) is not None:
        return None
    out = cached_path(path.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    logger.info("%s: compiling into %s", path.parent, out)
    command = [sys.executable, "-m", _COMPILER, os.fspath(path.parent), os.fspath(out)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # this very package  # nosec B603
