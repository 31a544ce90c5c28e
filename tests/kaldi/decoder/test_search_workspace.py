"""Memory that searches of a thread share does not stay as large as the hardest moment has made it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from pykaldi_server.kaldi.decoder import (
    LatticeFasterDecoderOptions,
    LatticeFasterOnlineDecoder,
    free_idle_workspaces,
)
from pykaldi_server.kaldi.fstext import DecodingGraph, read_decoding_graph

T = TypeVar("T")

NARROW, WIDE = 0.5, 16.0
NUM_FRAMES = 40
THREADS, ROUNDS = 3, 20


@pytest.fixture(autouse=True)
def no_other_workspaces() -> None:
    """Searches of earlier tests may have left some."""
    free_idle_workspaces()


@pytest.fixture(scope="module")
def digits_graph(models: Path) -> DecodingGraph:
    return read_decoding_graph(models / "english" / "graph-digits" / "HCLG.fst")


def search(graph: DecodingGraph, beam: float, piece_frames: int = NUM_FRAMES) -> list[int]:
    """Searches noise; returns the transition-ids of the best path."""
    id2pdf = np.arange(-1, graph.max_input_label(), dtype=np.int32)
    loglikes = np.random.default_rng(0).normal(size=(NUM_FRAMES, len(id2pdf))).astype(np.float32)
    options = LatticeFasterDecoderOptions(beam=beam, max_active=7000, min_active=0)
    decoder = LatticeFasterOnlineDecoder(graph, options, id2pdf)
    for begin in range(0, NUM_FRAMES, piece_frames):
        decoder.advance_decoding(loglikes[begin : begin + piece_frames])
    return list(map(int, decoder.get_best_path().alignment))


def in_a_thread(call: Callable[[], T]) -> T:
    """What a call in a thread of its own returns."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_after_a_hard_moment_a_thread_needs_no_more_than_before(digits_graph: DecodingGraph) -> None:
    def grow_and_recover() -> tuple[int, int, int, int]:
        search(digits_graph, NARROW)
        before = free_idle_workspaces()
        search(digits_graph, WIDE)
        search(digits_graph, NARROW)
        kept = free_idle_workspaces()
        nothing = free_idle_workspaces()
        search(digits_graph, NARROW)
        return before, kept, nothing, free_idle_workspaces()

    before, kept, nothing, after = in_a_thread(grow_and_recover)
    assert kept > 1.2 * before  # or else this shows nothing
    assert nothing == 0
    assert after == before


def test_the_workspace_of_another_thread_is_freed(digits_graph: DecodingGraph) -> None:
    has_searched, may_end = threading.Event(), threading.Event()

    def search_and_wait() -> None:
        search(digits_graph, NARROW)
        has_searched.set()
        may_end.wait()

    thread = threading.Thread(target=search_and_wait)
    thread.start()
    try:
        has_searched.wait()
        assert free_idle_workspaces() > 0
        assert free_idle_workspaces() == 0
    finally:
        may_end.set()
        thread.join()


def test_searches_find_the_same_whatever_is_freed_meanwhile(digits_graph: DecodingGraph) -> None:
    expected = search(digits_graph, WIDE)
    found: list[list[int]] = []

    def search_often() -> None:
        for _ in range(ROUNDS):
            found.append(search(digits_graph, WIDE, piece_frames=1))

    threads = [threading.Thread(target=search_often) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        free_idle_workspaces()
    for thread in threads:
        thread.join()
    assert found == THREADS * ROUNDS * [expected]
