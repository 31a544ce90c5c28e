"""The graph of a model is found in any of its forms, and compiled where and when it should be."""

import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from processes import Watched

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import CompiledGraph, LookaheadFst, StdConstFst, compile_graph
from pykaldi_server.session.graph import (
    COMPILED_NAME,
    compile_in_background,
    describe_graph,
    find_compiled,
    load_graph,
)
from pykaldi_server.session.graph_cache import cached_path


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
    with process:
        assert process.wait() == 0
    assert find_compiled(folder) == cached_path(folder)
    assert isinstance(load_graph(folder / "HCLr.fst", None)[0], CompiledGraph)
    assert compile_in_background(folder / "HCLr.fst") is None


def test_a_damaged_compiled_graph_is_not_needed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    compile_graph(folder, folder / COMPILED_NAME)
    content = bytearray((folder / COMPILED_NAME).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = b"\xff" * 1000
    (folder / COMPILED_NAME).write_bytes(content)
    assert isinstance(load_graph(folder / "HCLr.fst", None)[0], LookaheadFst)
    assert f"which should be deleted: {folder / COMPILED_NAME}: at byte" in caplog.text


def test_nothing_is_compiled_without_a_place_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert isinstance(load_graph(folder / "HCLr.fst", None)[0], LookaheadFst)
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME: expected a directory, found none"):
        compile_in_background(folder / "HCLr.fst")


def test_a_model_needs_no_cache_that_can_be_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the home directory of another user: the tests may run as root, who may read that, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", f"/{'x' * 300}")  # longer than names may be
    assert find_compiled(folder) is None
    assert isinstance(load_graph(folder / "HCLr.fst", None)[0], LookaheadFst)


SCRIPT = """
import os, sys
from pathlib import Path
from pykaldi_server.session.graph import compile_in_background
process = compile_in_background(Path(sys.argv[1]))
while not list(Path(sys.argv[2]).glob("pykaldi-server/.*-*")):
    assert process.poll() is None
print(process.pid, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "process.terminate(); process.wait()"])
def test_compiling_that_is_interrupted_leaves_nothing(folder: Path, tmp_path: Path, end: str) -> None:
    """Its process ends with the one that wanted it, and takes with it what it has written."""
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", SCRIPT.format(end=end), str(folder / "HCLr.fst"), str(cache)]
    parent = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert parent.returncode in (-signal.SIGKILL, 0)
    with suppress(ProcessLookupError):  # it has ended already
        Watched(int(parent.stdout)).wait()
    assert find_compiled(folder) is None
    assert {path.suffix for path in (cache / "pykaldi-server").iterdir()} == {".parts"}
