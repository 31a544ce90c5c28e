"""Finds the graphs in a model's directory, and the tables that belong to them."""

from pathlib import Path
from typing import NamedTuple

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext.lookahead import HCL_NAME

DEFAULT_GRAPH = "graph"
HCLG_NAME = "HCLG.fst"


class GraphFiles(NamedTuple):
    """The files of one graph; those that do not exist are None."""

    directory: Path
    graph: Path
    words: Path | None
    phones: Path | None
    word_boundary: Path | None
    align_lexicon: Path | None


def find_graph(directory: Path, name: str | None) -> GraphFiles:
    """Finds a graph of a model.

    Args:
        directory: the model's directory.
        name: the folder of the graph; None for ``graph``, or else the only folder whose name begins with it,
            or else the directory itself.

    Raises:
        ConfigError: there is no such graph; the text lists those that exist.
    """
    folder = _folder(directory, name)
    return GraphFiles(
        directory=folder,
        graph=first_of(folder, "a graph", HCLG_NAME, HCL_NAME),
        words=optional(folder / "words.txt"),
        phones=optional(folder / "phones.txt", directory / "phones.txt"),
        word_boundary=optional(
            folder / "phones" / "word_boundary.int",
            directory / DEFAULT_GRAPH / "phones" / "word_boundary.int",
            directory / "word_boundary.int",
        ),
        align_lexicon=optional(folder / "phones" / "align_lexicon.int", directory / "align_lexicon.int"),
    )


def model_name(directory: Path, graph: GraphFiles) -> str:
    """What clients call a model: by its directory, and by its graph unless that is the default one."""
    suffix = ""
    if graph.directory != directory:
        suffix = graph.directory.name.removeprefix(DEFAULT_GRAPH).strip("-_")
    name = directory.resolve().name
    return f"{name}-{suffix}" if suffix else name


def first_of(directory: Path, what: str, *names: str) -> Path:
    """The first of several files that exists.

    Raises:
        ConfigError: none of them exists.
    """
    found = optional(*(directory / name for name in names))
    if found is None:
        raise ConfigError(f"{directory}: expected {what} ({' or '.join(names)}), found none")
    return found


def optional(*paths: Path) -> Path | None:
    """The first of several paths that exists, or None."""
    return next((path for path in paths if path.exists()), None)


def _folder(directory: Path, name: str | None) -> Path:
    names = sorted(path.name for path in directory.glob(f"{DEFAULT_GRAPH}*") if path.is_dir())
    if name is not None:
        if not (directory / name).is_dir():
            there = ", ".join(names) or "none"
            raise ConfigError(f"{directory}: there is no graph {name!r}; those that there are: {there}")
        return directory / name
    if DEFAULT_GRAPH in names:
        return directory / DEFAULT_GRAPH
    return directory / names[0] if len(names) == 1 else directory
