"""The search with a wide open beam against a slow exact one, on random small graphs."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import DecoderError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import StdArc, StdConstFst, StdVectorFst
from pykaldi_server.kaldi.lat import LatticeWeight

# Sums of up to 20 float32 numbers below 20, added in different orders.
TOLERANCE = 1e-4
WIDE = 1e5
NUM_LABELS = 4

Arc = tuple[int, int, float, int]


@dataclass
class Graph:
    """Arcs (ilabel, olabel, cost, next state) and final costs by state; the start is 0."""

    arcs: list[list[Arc]]
    finals: list[float]

    def fst(self) -> StdConstFst:
        fst = StdVectorFst()
        for _ in self.arcs:
            fst.add_state()
        for state, (arcs, final) in enumerate(zip(self.arcs, self.finals, strict=True)):
            fst.set_final(state, final)
            for arc in arcs:
                fst.add_arc(state, StdArc(*arc))
        fst.set_start(0)
        return StdConstFst(fst)


@dataclass(frozen=True)
class Path:
    words: tuple[int, ...]
    alignment: tuple[int, ...]
    graph_cost: float
    acoustic_cost: float
    state: int

    @property
    def cost(self) -> float:
        return self.graph_cost + self.acoustic_cost


def all_paths(graph: Graph, loglikes: NDArray[np.float32]) -> list[Path]:
    """Every path that consumes all frames, without final costs. Epsilon arcs lead to higher states only."""
    found, waiting = [], [Path((), (), 0.0, 0.0, 0)]
    while waiting:
        path = waiting.pop()
        frame = len(path.alignment)
        if frame == len(loglikes):
            found.append(path)
        for ilabel, olabel, cost, state in graph.arcs[path.state]:
            if ilabel != 0 and frame == len(loglikes):
                continue
            waiting.append(
                Path(
                    path.words + (olabel,) * (olabel != 0),
                    path.alignment + (ilabel,) * (ilabel != 0),
                    path.graph_cost + cost,
                    path.acoustic_cost - (float(loglikes[frame, ilabel - 1]) if ilabel else 0.0),
                    state,
                )
            )
    return found


def end_costs(graph: Graph, paths: list[Path], use_final_probs: bool) -> list[float]:
    """What each path costs in the end: with its final cost, if these are to be used and one is finite."""
    finals = [graph.finals[path.state] for path in paths]
    if not use_final_probs or all(final == math.inf for final in finals):
        finals = [0.0] * len(paths)
    return [path.cost + final for path, final in zip(paths, finals, strict=True)]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 4))
    costs = st.integers(-8, 40).map(lambda x: x / 8)
    arcs = []
    for state in range(count):
        emitting = st.tuples(st.integers(1, NUM_LABELS), st.integers(0, 3), costs, st.integers(0, count - 1))
        arcs.append(draw(st.lists(emitting, min_size=0, max_size=3)))
        if state + 1 < count:
            epsilon = st.tuples(st.just(0), st.integers(0, 3), costs, st.integers(state + 1, count - 1))
            arcs[-1] = draw(st.permutations(arcs[-1] + draw(st.lists(epsilon, max_size=2))))
    # A way out of the start, so that few graphs lead nowhere at once.
    arcs[0].append((1, 1, 0.5, draw(st.integers(0, count - 1))))
    finals = draw(st.lists(costs | st.just(math.inf), min_size=count, max_size=count))
    return Graph(arcs, finals)


def loglike_blocks() -> st.SearchStrategy[NDArray[np.float32]]:
    rows = st.lists(st.integers(-60, 10).map(lambda x: x / 4), min_size=NUM_LABELS, max_size=NUM_LABELS)
    return st.lists(rows, min_size=1, max_size=4).map(lambda block: np.array(block, np.float32))


def wide_open_decoder(graph: Graph, **changes: float) -> LatticeFasterOnlineDecoder:
    options = LatticeFasterDecoderOptions(beam=WIDE, lattice_beam=WIDE, prune_interval=2, min_active=0)
    for name, value in changes.items():
        setattr(options, name, value)
    return LatticeFasterOnlineDecoder(graph.fst(), options, np.arange(-1, NUM_LABELS, dtype=np.int32))


def check_best_path(graph: Graph, loglikes: NDArray[np.float32], use_final_probs: bool) -> None:
    decoder = wide_open_decoder(graph)
    for frame in range(1, len(loglikes) + 1):
        paths = all_paths(graph, loglikes[:frame])
        if not paths:
            break
        decoder.advance_decoding(loglikes[frame - 1 : frame])
        costs = end_costs(graph, paths, use_final_probs)
        best = decoder.get_best_path(use_final_probs)
        assert best.graph_cost + best.acoustic_cost == pytest.approx(min(costs), abs=TOLERANCE)
        # The path that it names exists, and costs what it says.
        same = [
            cost
            for path, cost in zip(paths, costs, strict=True)
            if path.words == tuple(best.words) and path.alignment == tuple(best.alignment)
        ]
        assert min(same) == pytest.approx(min(costs), abs=TOLERANCE)
        plain = min(path.cost for path in paths)
        final = min(path.cost + graph.finals[path.state] for path in paths)
        assert decoder.final_relative_cost() == pytest.approx(final - plain, abs=TOLERANCE)
        assert decoder.reached_final() == (final != math.inf)


def check_incremental_traceback(graph: Graph, loglikes: NDArray[np.float32]) -> None:
    decoder = wide_open_decoder(graph, lattice_beam=2.0)
    known: list[int] = []
    perhaps_stale: set[int] = set()
    is_silence = np.array([0, 1, 0, 1, 0], np.uint8)
    for frame in range(1, len(loglikes) + 1):
        if not all_paths(graph, loglikes[:frame]):
            break
        decoder.advance_decoding(loglikes[frame - 1 : frame])
        best = decoder.get_best_path(use_final_probs=False)
        alignment = best.alignment.tolist()
        assert decoder.partial_words().tolist() == best.words.tolist()
        first, changes = decoder.traceback()
        known[first:] = changes.tolist()
        # In the frame before the changes the path may leave the same token by another link.
        perhaps_stale = {f for f in perhaps_stale if f < first} | {first - 1}
        assert len(known) == frame
        assert all(known[f] == alignment[f] for f in range(frame) if f not in perhaps_stale)
        last_sound = max((f for f in range(frame) if not is_silence[alignment[f]]), default=-1)
        assert decoder.trailing_silence_length(is_silence) == frame - 1 - last_sound
        assert decoder.traceback()[0] == frame


def check_stable_words(graph: Graph, loglikes: NDArray[np.float32]) -> None:
    decoder = wide_open_decoder(graph, lattice_beam=2.0)
    stable: list[int] = []
    for frame in range(1, len(loglikes) + 1):
        paths = all_paths(graph, loglikes[:frame])
        if not paths:
            break
        decoder.advance_decoding(loglikes[frame - 1 : frame])
        before, words = stable, decoder.partial_words().tolist()
        stable = words[: decoder.num_stable_words()]
        assert stable[: len(before)] == before
        assert decoder.num_stable_words() == len(stable)
        # The best paths into all states, one of which later paths come from, begin with them.
        for state in {path.state for path in paths}:
            costs = [path.cost for path in paths if path.state == state]
            best = [path for path in paths if path.state == state and path.cost <= min(costs) + TOLERANCE]
            assert any(list(path.words[: len(stable)]) == stable for path in best)
    decoder.finalize_decoding()
    assert decoder.get_best_path().words.tolist()[: len(stable)] == stable


def check_finalizing(graph: Graph, loglikes: NDArray[np.float32], lattice_beam: float) -> None:
    if not all_paths(graph, loglikes):
        return
    decoder = wide_open_decoder(graph, lattice_beam=lattice_beam)
    decoder.advance_decoding(loglikes)
    before, cost = decoder.get_best_path(), decoder.final_relative_cost()
    decoder.finalize_decoding()
    after = decoder.get_best_path()
    assert after.words.tolist() == before.words.tolist()
    assert after.alignment.tolist() == before.alignment.tolist()
    assert decoder.final_relative_cost() == cost


LatticePath = tuple[tuple[int, ...], tuple[int, ...], float]
"""Words, alignment and cost."""


def lattice_paths(lattice: Any) -> list[LatticePath]:
    """Words, alignment and cost of every complete path; the lattice must be topologically sorted."""
    found: list[LatticePath] = []
    waiting: list[tuple[int, tuple[int, ...], tuple[int, ...], float]] = [(lattice.start(), (), (), 0.0)]
    while waiting:
        state, words, alignment, cost = waiting.pop()
        final = lattice.final(state)
        if final != LatticeWeight.zero():
            found.append((words, alignment, cost + final.value1 + final.value2))
        for arc in lattice.arcs(state):
            assert arc.nextstate > state
            waiting.append(
                (
                    arc.nextstate,
                    words + (arc.olabel,) * (arc.olabel != 0),
                    alignment + (arc.ilabel,) * (arc.ilabel != 0),
                    cost + arc.weight.value1 + arc.weight.value2,
                )
            )
    return found


def check_lattice(graph: Graph, loglikes: NDArray[np.float32], lattice_beam: float) -> None:
    """The finalized lattice has all paths within the lattice beam, and none that the graph has not."""
    paths = all_paths(graph, loglikes)
    if not paths:
        return
    decoder = wide_open_decoder(graph, lattice_beam=lattice_beam)
    for row in loglikes:
        decoder.advance_decoding(row[np.newaxis])
    decoder.finalize_decoding()
    costs = end_costs(graph, paths, use_final_probs=True)
    existing = sorted((path.words, path.alignment, cost) for path, cost in zip(paths, costs, strict=True))
    kept = sorted(lattice_paths(decoder.get_raw_lattice()))
    # A path at the very limit may fall on either side of it.
    limit = min(costs) + lattice_beam - TOLERANCE
    within = [path for path in existing if path[2] < limit]
    allowed = [path for path in existing if path[2] != math.inf]
    assert count_matches(within, kept) == len(within)
    assert count_matches(kept, allowed) == len(kept)


def count_matches(some: Iterable[LatticePath], others: Iterable[LatticePath]) -> int:
    """How many of ``some`` have a partner of their own, equal but for rounding, among ``others``."""
    left: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for words, alignment, cost in others:
        left[words, alignment].append(cost)
    matches = 0
    for words, alignment, cost in some:
        partner = next((c for c in left[words, alignment] if abs(c - cost) < TOLERANCE), None)
        if partner is not None:
            left[words, alignment].remove(partner)
            matches += 1
    return matches


FEW = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=500, deadline=None)
LATTICE_BEAMS = st.sampled_from([0.5, 2.0, 100.0])


def check_active_bounds(costs: NDArray[np.float32], beam: float, max_active: int, min_active: int) -> None:
    """Arcs lead to as many states as there are costs, each of which has a loop: one arc per active token."""
    loops = [[(1, 0, 0.0, state)] for state in range(1, len(costs) + 1)]
    ways = [(1, 0, float(cost), state) for state, cost in enumerate(costs, 1)]
    decoder = wide_open_decoder(
        Graph([ways, *loops], [0.0] * (len(costs) + 1)),
        beam=beam,
        max_active=max_active,
        min_active=min_active,
    )
    silent = np.zeros((1, NUM_LABELS), np.float32)
    decoder.advance_decoding(silent)  # of one token, which is less than min_active: all arcs are taken
    before = decoder.statistics()
    assert before.num_tokens == len(costs)
    decoder.advance_decoding(silent)
    sorted_costs = np.sort(costs)
    cutoff = sorted_costs[0] + np.float32(beam)
    num_within = np.count_nonzero(costs <= cutoff)
    if num_within > max_active:
        cutoff = sorted_costs[max_active]
    elif num_within <= min_active:
        cutoff = sorted_costs[min_active] if len(costs) > min_active else np.float32(np.inf)
    # The arcs of the best token are looked at twice, the first time for the cutoff of the next frame.
    num_active = decoder.statistics().num_arcs - before.num_arcs - 1
    assert num_active == np.count_nonzero(costs <= cutoff)


@st.composite
def token_costs(draw: st.DrawFn) -> NDArray[np.float32]:
    """Costs near each other and far apart, some of them equal; all are exact in single precision."""
    count = draw(st.integers(1, 100))
    steps = draw(st.lists(st.integers(0, 300), min_size=count, max_size=count))
    far = draw(st.lists(st.sampled_from([0, 0, 0, 1 << 10]), min_size=count, max_size=count))
    unit = draw(st.sampled_from([1 / 64, 1 / 8, 1.0]))
    less = draw(st.integers(0, 400))
    costs: NDArray[np.float32] = ((np.array(steps) + np.array(far) - less) * unit).astype(np.float32)
    return costs


EIGHTHS = np.arange(100, dtype=np.float32) / 8
BEAMS = st.sampled_from([2.0**-20, 1.0, 13.0, 100.0, WIDE, math.inf])
ACTIVE = st.integers(2, 50).flatmap(lambda most: st.tuples(st.just(most), st.integers(1, most)))


@given(token_costs(), BEAMS, ACTIVE)
@example(EIGHTHS, 10.0, (40, 1))
@example(EIGHTHS, 10.0, (79, 1))
@example(EIGHTHS, 10.0, (80, 1))
@example(EIGHTHS, 1.0, (40, 30))
@example(EIGHTHS - 1000, math.inf, (40, 30))
@example(np.repeat(EIGHTHS, 3), 10.0, (40, 30))
@FEW
def test_tokens_up_to_the_bounds_are_active(costs: Any, beam: float, active: tuple[int, int]) -> None:
    check_active_bounds(costs, beam, *active)


@pytest.mark.slow
@given(token_costs(), BEAMS, ACTIVE)
@MANY
def test_tokens_up_to_the_bounds_are_active_500(costs: Any, beam: float, active: tuple[int, int]) -> None:
    check_active_bounds(costs, beam, *active)


@given(graphs(), loglike_blocks(), st.booleans())
@FEW
def test_best_path_is_exact(graph: Any, loglikes: Any, use_final_probs: bool) -> None:
    check_best_path(graph, loglikes, use_final_probs)


@pytest.mark.slow
@given(graphs(), loglike_blocks(), st.booleans())
@MANY
def test_best_path_is_exact_500(graph: Any, loglikes: Any, use_final_probs: bool) -> None:
    check_best_path(graph, loglikes, use_final_probs)


@given(graphs(), loglike_blocks())
@FEW
def test_incremental_traceback_follows_the_best_path(graph: Any, loglikes: Any) -> None:
    check_incremental_traceback(graph, loglikes)


@pytest.mark.slow
@given(graphs(), loglike_blocks())
@MANY
def test_incremental_traceback_follows_the_best_path_500(graph: Any, loglikes: Any) -> None:
    check_incremental_traceback(graph, loglikes)


@given(graphs(), loglike_blocks())
@FEW
def test_stable_words_stay(graph: Any, loglikes: Any) -> None:
    check_stable_words(graph, loglikes)


@pytest.mark.slow
@given(graphs(), loglike_blocks())
@MANY
def test_stable_words_stay_500(graph: Any, loglikes: Any) -> None:
    check_stable_words(graph, loglikes)


def test_words_are_stable_as_soon_as_paths_meet() -> None:
    """Two ways through two frames, with a word each, which then meet in one state."""
    ways = [(1, 1, 0.0, 1), (2, 2, 0.0, 2)]
    graph = Graph([ways, [(1, 0, 0.0, 3)], [(2, 0, 0.0, 3)], [(1, 3, 0.0, 3)]], [0.0] * 4)
    decoder = wide_open_decoder(graph)
    assert decoder.num_stable_words() == 0
    found = []
    for loglikes in ([0, -1, 0, 0], [0, -1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]):
        decoder.advance_decoding(np.array([loglikes], np.float32))
        found.append((decoder.partial_words().tolist(), decoder.num_stable_words()))
    # They meet in the second frame. The word of the last frame is not before a token that all paths have.
    assert found == [([1], 0), ([1], 1), ([1, 3], 1), ([1, 3, 3], 2)]
    decoder.init_decoding()
    assert decoder.num_stable_words() == 0
    decoder.advance_decoding(np.zeros((1, NUM_LABELS), np.float32))
    decoder.finalize_decoding()
    with pytest.raises(DecoderError, match="finalized"):
        decoder.num_stable_words()


@given(graphs(), loglike_blocks(), LATTICE_BEAMS)
@FEW
def test_finalizing_keeps_the_best_path(graph: Any, loglikes: Any, lattice_beam: float) -> None:
    check_finalizing(graph, loglikes, lattice_beam)


@pytest.mark.slow
@given(graphs(), loglike_blocks(), LATTICE_BEAMS)
@MANY
def test_finalizing_keeps_the_best_path_500(graph: Any, loglikes: Any, lattice_beam: float) -> None:
    check_finalizing(graph, loglikes, lattice_beam)


@given(graphs(), loglike_blocks(), LATTICE_BEAMS)
@FEW
def test_lattice_is_exact(graph: Any, loglikes: Any, lattice_beam: float) -> None:
    check_lattice(graph, loglikes, lattice_beam)


@pytest.mark.slow
@given(graphs(), loglike_blocks(), LATTICE_BEAMS)
@MANY
def test_lattice_is_exact_500(graph: Any, loglikes: Any, lattice_beam: float) -> None:
    check_lattice(graph, loglikes, lattice_beam)
