"""The graph of a model is found in any of its forms, and compiled where and when it should be."""

import shutil
from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import CompiledGraph, LookaheadFst, StdConstFst, compile_graph
from pykaldi_server.session.graph import (
    COMPILED_NAME,
    cached_path,
    compile_in_background,
    describe_graph,
    find_compiled,
    load_graph,
)


@pytest.fixture
def folder(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the general graph, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(models / "english" / "graph", tmp_path / "graph"))


def test_a_lookahead_graph(folder: Path) -> None:
    graph, words = load_graph(folder / "HCLr.fst", None)
    assert isinstance(graph, LookaheadFst)
    assert describe_graph(graph) == "composed while it is searched"
    # The embedded table is the only one that is sure to belong to the graph.
    assert words.find_index("abdulla") == 1


def test_a_static_graph(models: Path) -> None:
    folder = models / "english" / "graph-digits"
    graph, words = load_graph(folder / "HCLG.fst", folder / "words.txt")
    assert isinstance(graph, StdConstFst)
    assert words.find_index("seven") > 0
    assert describe_graph(graph).startswith("static, ")
    with pytest.raises(ConfigError, match=r"words\.txt"):
        load_graph(folder / "HCLG.fst", None)


def test_a_compiled_graph_is_used_while_it_is_up_to_date(folder: Path) -> None:
    assert find_compiled(folder) is None
    compile_graph(folder, folder / COMPILED_NAME)
    graph, words = load_graph(folder / "HCLr.fst", None)
    assert isinstance(graph, CompiledGraph)
    assert describe_graph(graph) == "compiled, 509,619 states, 1,798,607 arcs"
    assert words.find_index("abdulla") == 1

    grammar = bytearray((folder / "Gr.fst").read_bytes())
    grammar[-5] ^= 1  # the last bits of a cost
    (folder / "Gr.fst").write_bytes(grammar)
    assert find_compiled(folder) is None
    assert isinstance(load_graph(folder / "HCLr.fst", None)[0], LookaheadFst)


def test_compiling_in_the_background(folder: Path) -> None:
    process = compile_in_background(folder / "HCLr.fst")
    assert process is not None
    assert process.wait() == 0
    assert find_compiled(folder) == cached_path(folder)
    assert isinstance(load_graph(folder / "HCLr.fst", None)[0], CompiledGraph)
    assert compile_in_background(folder / "HCLr.fst") is None


def test_graphs_of_the_same_name_have_files_of_their_own(tmp_path: Path) -> None:
    places = [tmp_path / name / "model" / "graph" for name in ("a", "b")]
    assert cached_path(places[0]) != cached_path(places[1])
    assert cached_path(places[0]).name.startswith("a-model-graph-")
