"""The cache has one compiled graph for each content, and gives room back."""

import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest

from pykaldi_server.kaldi.fstext import compile_graph, graph_fingerprint
from pykaldi_server.session import graph_cache
from pykaldi_server.session.graph_cache import cached_path, find_cached, prune_cache

DAY_S = 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pykaldi-server"


@pytest.fixture(scope="module")
def compiled(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of general English, compiled."""
    path = tmp_path_factory.mktemp("compiled") / "general.graph"
    compile_graph(models / "english" / "graph", path)
    return path


def files(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


def put(cache: Path, name: str, size_bytes: int, age_s: float) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    (cache / name).write_bytes(bytes(size_bytes))
    used_s = time.time() - age_s
    os.utime(cache / name, (used_s, used_s))
    return cache / name


def test_copies_of_a_graph_share_one_file(
    models: Path, cache: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = models / "english" / "graph"
    two = Path(shutil.copytree(one, tmp_path / "copy", copy_function=shutil.copyfile))
    assert find_cached(one) is None
    path = cached_path(one)
    shutil.copy(compiled, path)
    assert cached_path(two) == path == find_cached(two) == find_cached(one)
    assert path.stem == graph_fingerprint(one).hex()
    # From now on both are found without reading their parts.
    with monkeypatch.context() as patch:
        patch.setattr(graph_cache, "graph_fingerprint", None)
        assert find_cached(one) == find_cached(two) == path

    grammar = bytearray((two / "Gr.fst").read_bytes())
    grammar[-5] ^= 1
    (two / "Gr.fst").write_bytes(grammar)
    assert cached_path(two) != path
    assert find_cached(two) is None
    assert find_cached(one) == path


def test_what_is_used_is_not_old(models: Path, cache: Path, compiled: Path) -> None:
    folder = models / "english" / "graph"
    path = cached_path(folder)
    shutil.copy(compiled, path)
    os.utime(path, (0, 0))
    assert find_cached(folder) == path
    prune_cache()
    assert path.exists()
    os.utime(path, (0, 0))
    prune_cache()
    assert not path.exists()


def test_what_is_damaged_is_not_used(models: Path, cache: Path) -> None:
    folder = models / "english" / "graph"
    path = cached_path(folder)
    path.write_bytes(b"nothing")
    assert find_cached(folder) is None


def test_what_has_not_been_used_for_long_goes(cache: Path) -> None:
    put(cache, "old.graph", 1, 100 * DAY_S)
    put(cache, "old.parts", 1, 100 * DAY_S)
    put(cache, "model-graph-0123456789abcdef.graph", 1, 100 * DAY_S)  # as earlier versions called them
    put(cache, "new.graph", 1, 80 * DAY_S)
    put(cache, "README", 1, 100 * DAY_S)
    prune_cache()
    assert files(cache) == {"new.graph", "README"}


def test_the_least_recently_used_go_when_there_are_too_many_bytes(cache: Path) -> None:
    for age in range(5):
        put(cache, f"{age}.graph", 100, age * DAY_S)
    prune_cache(most_bytes=350)
    assert files(cache) == {"0.graph", "1.graph", "2.graph"}


def test_what_a_killed_process_has_left_goes(cache: Path) -> None:
    put(cache, ".abc.graph-x1y2", 100, 0)
    prune_cache()
    assert files(cache) == set()


def test_nothing_goes_while_a_graph_is_being_compiled(cache: Path) -> None:
    put(cache, ".abc.graph-x1y2", 100, 0)
    put(cache, "old.graph", 1, 100 * DAY_S)
    descriptor = os.open(cache, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    prune_cache()
    os.close(descriptor)
    assert len(files(cache)) == 2


def test_without_a_cache_there_is_nothing_to_do(cache: Path) -> None:
    prune_cache()
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_to(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert find_cached(models / "english" / "graph") is None
    prune_cache()
