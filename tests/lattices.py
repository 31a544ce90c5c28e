"""Lattices for tests: golden ones, random ones, and the slow exact way to look at them, path by path."""

import gzip
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from hypothesis import assume
from hypothesis import strategies as st

from pykaldi_server.kaldi.lat import (
    CompactLatticeArc,
    CompactLatticeVectorFst,
    CompactLatticeWeight,
    LatticeArc,
    LatticeVectorFst,
    LatticeWeight,
)
from pykaldi_server.kaldi.lat.functions import compute_lattice_alphas_and_betas
from pykaldi_server.kaldi.lat.table import read_compact_lattice
from pykaldi_server.kaldi.util.io import KaldiReader

AnyLattice = LatticeVectorFst | CompactLatticeVectorFst


def golden_lattices(folder: Path) -> dict[str, CompactLatticeVectorFst]:
    """The lattices of lat.txt.gz by recording."""
    with gzip.open(folder / "lat.txt.gz") as file:
        data = file.read()
    keys = KaldiReader(data, folder / "lat.txt", binary=False)
    lattices = {}
    while not keys.at_end():
        key = keys.read_token()
        entry = KaldiReader(data, folder / "lat.txt", keys.offset)
        lattices[key] = read_compact_lattice(entry)
        keys.offset = entry.offset
    return lattices


def word_symbols(path: Path) -> dict[int, str]:
    """words.txt or phones.txt: the symbol of each integer."""
    with path.open() as file:
        return {int(key): symbol for symbol, key in map(str.split, file)}


class LatticePath(NamedTuple):
    """One path of a lattice."""

    words: tuple[int, ...]
    ids: tuple[int, ...]
    graph_cost: float
    acoustic_cost: float

    @property
    def cost(self) -> float:
        return self.graph_cost + self.acoustic_cost


def arc_parts(arc: LatticeArc | CompactLatticeArc) -> tuple[int, list[int], LatticeWeight]:
    """Word, transition-ids and costs of an arc of either kind."""
    if isinstance(arc, LatticeArc):
        return arc.olabel, [arc.ilabel] if arc.ilabel else [], arc.weight
    return arc.ilabel, arc.weight.string, arc.weight.weight


def final_parts(lattice: AnyLattice, state: int) -> tuple[list[int], LatticeWeight]:
    """Transition-ids and costs of a final weight."""
    final = lattice.final(state)
    return ([], final) if isinstance(final, LatticeWeight) else (final.string, final.weight)


def all_paths(lattice: AnyLattice) -> Iterator[LatticePath]:
    """Every complete path."""
    stack = [(lattice.start(), LatticePath((), (), 0.0, 0.0))] if lattice.start() >= 0 else []
    while stack:
        state, path = stack.pop()
        ids, final = final_parts(lattice, state)
        if final.value1 != math.inf:
            yield _extend(path, 0, ids, final)
        for arc in lattice.arcs(state):
            stack.append((arc.nextstate, _extend(path, *arc_parts(arc))))


def _extend(path: LatticePath, word: int, ids: list[int], weight: LatticeWeight) -> LatticePath:
    return LatticePath(
        path.words + ((word,) if word else ()),
        path.ids + tuple(ids),
        path.graph_cost + weight.value1,
        path.acoustic_cost + weight.value2,
    )


def best_by_words(lattice: AnyLattice) -> dict[tuple[int, ...], LatticePath]:
    """The best path of each word sequence."""
    best: dict[tuple[int, ...], LatticePath] = {}
    for path in all_paths(lattice):
        if path.words not in best or path.cost < best[path.words].cost:
            best[path.words] = path
    return best


def costs_by_words(lattice: AnyLattice) -> dict[tuple[int, ...], float]:
    """The lowest cost of each word sequence."""
    return {words: path.cost for words, path in best_by_words(lattice).items()}


# Random lattices. Costs are multiples of 1/64, so that float32 sums are exact and ties happen.

_MAX_PATHS = 200
_COSTS = st.integers(-256, 640).map(lambda n: n / 64)


def make_lattice(
    states: list[tuple[float | None, list[tuple[int, int, float, float, int]]]],
) -> LatticeVectorFst:
    """Builds a lattice from (final graph cost or None, arcs) for each state; state 0 is the start."""
    lattice = LatticeVectorFst()
    for _ in states:
        lattice.add_state()
    for state, (final, arcs) in enumerate(states):
        if final is not None:
            lattice.set_final(state, LatticeWeight(final, 0.0))
        for ilabel, olabel, graph, acoustic, nextstate in arcs:
            lattice.add_arc(state, LatticeArc(ilabel, olabel, LatticeWeight(graph, acoustic), nextstate))
    if states:
        lattice.set_start(0)
    return lattice


@st.composite
def raw_lattices(
    draw: st.DrawFn, max_frames: int = 3, max_width: int = 3, max_word: int = 3
) -> LatticeVectorFst:
    """Small state-level lattices: states in layers, one a frame; arcs with a transition-id to the next layer,
    arcs without one inside a layer. Words are on any of them."""
    widths = draw(st.lists(st.integers(1, max_width), min_size=1, max_size=max_frames + 1))
    first = [0, *itertools.accumulate(widths)]
    words = st.integers(0, max_word)
    states = []
    for layer, width in enumerate(widths):
        for state in range(first[layer], first[layer] + width):
            arcs = []
            if layer + 1 < len(widths):
                following = st.integers(first[layer + 1], first[layer + 2] - 1)
                timed = st.tuples(st.integers(1, 4), words, _COSTS, _COSTS, following)
                arcs += draw(st.lists(timed, min_size=1, max_size=3))
            if state + 1 < first[layer + 1]:
                inside = st.integers(state + 1, first[layer + 1] - 1)
                arcs += draw(st.lists(st.tuples(st.just(0), words, _COSTS, _COSTS, inside), max_size=1))
            is_last_layer = layer + 1 == len(widths)
            may_end = is_last_layer and (state == first[layer] or draw(st.booleans()))
            final = draw(_COSTS) if may_end else None
            states.append((final, arcs))
    lattice = make_lattice(states)
    assume(sum(1 for _ in itertools.islice(all_paths(lattice), _MAX_PATHS)) < _MAX_PATHS)
    return lattice


def copy_with_costs(lattice: CompactLatticeVectorFst, factors: Iterator[float]) -> CompactLatticeVectorFst:
    """A lattice with each cost multiplied by the next factor."""
    copy = CompactLatticeVectorFst()
    for _ in range(lattice.num_states()):
        copy.add_state()
    copy.set_start(lattice.start())

    def scaled(weight: CompactLatticeWeight) -> CompactLatticeWeight:
        old = weight.weight
        return CompactLatticeWeight(
            LatticeWeight(old.value1 * next(factors), old.value2 * next(factors)), weight.string
        )

    for state in range(lattice.num_states()):
        copy.set_final(state, scaled(lattice.final(state)))
        for arc in lattice.arcs(state):
            copy.add_arc(state, CompactLatticeArc(arc.ilabel, scaled(arc.weight), arc.nextstate))
    return copy


def text_variants(lattice: CompactLatticeVectorFst, count: int = 24) -> Iterator[CompactLatticeVectorFst]:
    """The lattice, and others that have the same costs up to the six digits of the text form."""
    yield lattice
    random = Random(1)
    for _ in range(count):
        yield copy_with_costs(lattice, iter(lambda: 1 + random.uniform(-5e-6, 5e-6), None))


def missing_sentences(
    lattice: CompactLatticeVectorFst, other: CompactLatticeVectorFst, beam: float, tolerance: float
) -> list[str]:
    """What of the word sequences of a deterministic lattice within the beam another one does not have.

    Walks both at once, so that the number of word sequences does not matter. A word sequence that is in both
    must have the same graph cost and the same acoustic cost, within the tolerance.
    """
    lattice, other = lattice.copy(), other.copy()
    lattice.topsort()
    other.topsort()
    total, _, beta = compute_lattice_alphas_and_betas(lattice, True)
    cutoff = beam - total
    arcs = [{arc.ilabel: arc for arc in other.arcs(state)} for state in range(other.num_states())]
    # For each state, by the other's state and the rounded differences so far: cost, differences.
    pairs: list[dict[tuple[int, int, int], tuple[float, float, float]]] = [{} for _ in beta]
    pairs[0][0, 0, 0] = (0.0, 0.0, 0.0)
    problems = []
    for state, here in enumerate(pairs):
        for (other_state, _, _), (cost, graph, acoustic) in here.items():
            final, other_final = lattice.final(state).weight, other.final(other_state).weight
            if cost + final.value1 + final.value2 <= cutoff:
                graph_error = abs(graph + final.value1 - other_final.value1)
                acoustic_error = abs(acoustic + final.value2 - other_final.value2)
                if not max(graph_error, acoustic_error) <= tolerance:
                    problems.append(f"costs differ by {graph_error} and {acoustic_error} at state {state}")
            for arc in lattice.arcs(state):
                weight = arc.weight.weight
                next_cost = cost + weight.value1 + weight.value2
                if next_cost - beta[arc.nextstate] > cutoff:
                    continue
                twin = arcs[other_state].get(arc.ilabel)
                if twin is None:
                    problems.append(f"no arc for word {arc.ilabel} at state {state}")
                    continue
                differences = (
                    graph + weight.value1 - twin.weight.weight.value1,
                    acoustic + weight.value2 - twin.weight.weight.value2,
                )
                key = (twin.nextstate, round(differences[0]), round(differences[1]))
                known = pairs[arc.nextstate].get(key)
                if known is None or next_cost < known[0]:
                    pairs[arc.nextstate][key] = (next_cost, *differences)
    return problems
