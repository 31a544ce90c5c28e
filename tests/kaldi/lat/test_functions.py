"""Functions on lattices against path enumeration, and the n best against Kaldi's."""

import itertools
import math
from pathlib import Path

import pytest
from golden_data import lines
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import all_paths, best_by_words, costs_by_words, golden_lattices, make_lattice, raw_lattices
from lattices import word_symbols as read_symbols

from pykaldi_server.errors import ConfigError, LatticeError
from pykaldi_server.kaldi.lat import LatticeArc, LatticeVectorFst, LatticeWeight
from pykaldi_server.kaldi.lat.functions import (
    add_word_ins_pen_to_compact_lattice,
    compact_lattice_depth,
    compact_lattice_depth_per_frame,
    compact_lattice_shortest_path,
    compact_lattice_to_word_alignment,
    compute_lattice_alphas_and_betas,
    convert_compact_lattice_to_lattice,
    convert_lattice_to_compact_lattice,
    get_linear_symbol_sequence,
    lattice_forward_backward,
    lattice_state_times,
    longest_sentence_length_in_lattice,
    nbest,
    prune_lattice,
    scale_lattice,
    sentence_level_confidence,
    top_sort_lattice_if_needed,
)

GRAPHS = {"digits": "graph-digits", "digits-005": "graph-digits", "general": "graph", "segments": "graph"}


def log_sum(scores: list[float]) -> float:
    best = max(scores, default=-math.inf)
    return best if best == -math.inf else best + math.log(sum(math.exp(score - best) for score in scores))


def shuffled(lattice: LatticeVectorFst, order: list[int]) -> LatticeVectorFst:
    """The same lattice with other numbers of its states."""
    new = {state: order.index(state) for state in range(lattice.num_states())}
    other = LatticeVectorFst()
    for _ in order:
        other.add_state()
    for state in order:
        other.set_final(new[state], lattice.final(state))
        for arc in lattice.arcs(state):
            other.add_arc(new[state], LatticeArc(arc.ilabel, arc.olabel, arc.weight, new[arc.nextstate]))
    other.set_start(new[0])
    return other


def cyclic() -> LatticeVectorFst:
    return make_lattice(
        [(None, [(1, 1, 0.0, 0.0, 1)]), (0.0, [(2, 2, 1.0, 0.0, 2)]), (0.0, [(3, 3, 1.0, 0.0, 1)])]
    )


@pytest.mark.parametrize("folder", GRAPHS)
def test_nbest_is_kaldis(golden_root: Path, models: Path, folder: str) -> None:
    symbols = read_symbols(models / "english" / GRAPHS[folder] / "words.txt")
    expected = list(lines(golden_root / folder / "nbest.txt"))
    found = []
    for key, lattice in golden_lattices(golden_root / folder).items():
        for rank, path in enumerate(nbest(lattice, 5), 1):
            alignment, words, weight = get_linear_symbol_sequence(path)
            assert len(alignment) == lattice_state_times(path)[0]
            found.append((f"{key}-{rank}", weight, [symbols[word] for word in words]))
    assert [(name, words) for name, _, words in found] == [(row[0], row[3:]) for row in expected]
    for (_, weight, _), row in zip(found, expected, strict=True):
        # The lattices are in text form with six digits an arc.
        assert (weight.value1, weight.value2) == pytest.approx((float(row[1]), float(row[2])), abs=2e-3)


@settings(max_examples=50, deadline=None)
@given(raw_lattices(), st.randoms(use_true_random=False))
def test_topological_sort_keeps_the_paths(lattice: LatticeVectorFst, random: object) -> None:
    order = list(range(lattice.num_states()))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = shuffled(lattice, order)
    top_sort_lattice_if_needed(other)
    assert other.start() == 0
    for state in range(other.num_states()):
        assert all(arc.nextstate > state for arc in other.arcs(state))
    assert sorted(all_paths(other)) == sorted(all_paths(lattice))


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_connect_keeps_the_paths_and_nothing_else(lattice: LatticeVectorFst) -> None:
    trimmed = lattice.copy()
    trimmed.connect()
    assert sorted(all_paths(trimmed)) == sorted(all_paths(lattice))
    for state in range(trimmed.num_states()):
        assert trimmed.final(state) != LatticeWeight.zero() or trimmed.arcs(state)


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_conversion_keeps_the_paths(lattice: LatticeVectorFst) -> None:
    compact = convert_lattice_to_compact_lattice(lattice)
    assert sorted(all_paths(compact)) == sorted(all_paths(lattice))
    assert sorted(all_paths(convert_compact_lattice_to_lattice(compact))) == sorted(all_paths(lattice))


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_forward_backward_is_the_sum_over_paths(lattice: LatticeVectorFst) -> None:
    lattice.connect()
    paths = list(all_paths(lattice))
    total, frames, acoustic = lattice_forward_backward(lattice)
    expected_total = log_sum([-path.cost for path in paths])
    assert total == pytest.approx(expected_total, abs=1e-6)
    posteriors: dict[tuple[int, int], float] = {}
    expected_acoustic = 0.0
    for path in paths:
        probability = math.exp(-path.cost - expected_total)
        expected_acoustic -= probability * path.acoustic_cost
        for frame, label in enumerate(path.ids):
            posteriors[frame, label] = posteriors.get((frame, label), 0.0) + probability
    found = {(frame, label): p for frame, pairs in enumerate(frames) for label, p in pairs}
    assert found == pytest.approx(posteriors, abs=1e-6)
    assert acoustic == pytest.approx(expected_acoustic, abs=1e-6)


def test_forward_backward_with_costs_that_overflow_on_a_dead_end() -> None:
    """Its scores are no numbers, and it is longer than the lattice: nothing of it counts."""
    lattice = LatticeVectorFst()
    for _ in range(200):
        lattice.add_state()
    lattice.set_start(0)
    free = LatticeWeight(0.0, 0.0)
    lattice.add_arc(0, LatticeArc(1, 0, free, 1))
    lattice.set_final(1, free)
    lattice.add_arc(0, LatticeArc(2, 0, LatticeWeight(-1e30, 0.0), 2))
    for state in range(2, 199):
        lattice.add_arc(state, LatticeArc(2, 0, free, state + 1))
    scale_lattice(lattice, 1e30, 1.0)
    _, frames, _ = lattice_forward_backward(lattice)
    assert [[label for label, _ in frame] for frame in frames] in ([], [[1]], [[]])


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_viterbi_scores_and_shortest_path(lattice: LatticeVectorFst) -> None:
    lattice.connect()
    paths = list(all_paths(lattice))
    best = min((path.cost for path in paths), default=math.inf)
    total, alpha, beta = compute_lattice_alphas_and_betas(lattice, True)
    assert total == -best
    assert all(a + b <= total for a, b in zip(alpha, beta, strict=True))
    shortest = compact_lattice_shortest_path(convert_lattice_to_compact_lattice(lattice))
    alignment, words, weight = get_linear_symbol_sequence(shortest)
    assert weight.value1 + weight.value2 == best
    if paths:
        found = (tuple(words), tuple(alignment), best)
        assert found in [(path.words, path.ids, path.cost) for path in paths]


@settings(max_examples=50, deadline=None)
@given(raw_lattices(), st.integers(1, 7))
def test_nbest_of_any_lattice_is_the_best_of_each_sentence(lattice: LatticeVectorFst, n: int) -> None:
    expected = sorted(costs_by_words(lattice).values())[:n]
    compact = convert_lattice_to_compact_lattice(lattice)
    found = [get_linear_symbol_sequence(path) for path in nbest(compact, n)]
    assert [weight.value1 + weight.value2 for _, _, weight in found] == expected
    best = best_by_words(lattice)
    for _, words, weight in found:
        assert best[tuple(words)].cost == weight.value1 + weight.value2
    assert len({tuple(words) for _, words, _ in found}) == len(found)


@settings(max_examples=50, deadline=None)
@given(raw_lattices(), st.integers(1, 300).map(lambda n: n / 32))
def test_pruning_keeps_arcs_within_the_beam(lattice: LatticeVectorFst, beam: float) -> None:
    paths = list(all_paths(lattice))
    pruned = lattice.copy()
    assert prune_lattice(beam, pruned) == bool(paths)
    best = min((path.cost for path in paths), default=math.inf)
    within = sorted(path for path in paths if path.cost <= best + beam)
    kept = sorted(all_paths(pruned))
    assert [path for path in kept if path.cost <= best + beam] == within
    if paths:
        _, alpha, beta = compute_lattice_alphas_and_betas(pruned, True)
        for state in range(pruned.num_states()):
            for arc in pruned.arcs(state):
                cost = arc.weight.value1 + arc.weight.value2 - alpha[state] - beta[arc.nextstate]
                assert cost <= best + beam


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_scale_and_word_insertion_penalty(lattice: LatticeVectorFst) -> None:
    compact = convert_lattice_to_compact_lattice(lattice)
    expected = [
        (path.words, path.ids, 0.5 * path.graph_cost + 0.25 * len(path.words), 2 * path.acoustic_cost)
        for path in all_paths(lattice)
    ]
    scale_lattice(compact, 0.5, 2.0)
    add_word_ins_pen_to_compact_lattice(0.25, compact)
    assert sorted(map(tuple, all_paths(compact))) == sorted(expected)


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_depth_and_length(lattice: LatticeVectorFst) -> None:
    lattice.connect()
    compact = convert_lattice_to_compact_lattice(lattice)
    num_frames, times = lattice_state_times(lattice)
    crossing = [0] * num_frames
    for state, arc in itertools.chain.from_iterable(
        ((state, arc) for arc in lattice.arcs(state)) for state in range(lattice.num_states())
    ):
        if arc.ilabel:
            crossing[times[state]] += 1
    assert compact_lattice_depth_per_frame(compact) == crossing
    depth, frames = compact_lattice_depth(compact)
    assert frames == num_frames
    assert depth == pytest.approx(sum(crossing) / num_frames if num_frames else 1.0)
    longest = max((len(path.words) for path in all_paths(lattice)), default=0)
    assert longest_sentence_length_in_lattice(lattice) == longest


def test_golden_lattices_have_consistent_times(golden: Path) -> None:
    for lattice in golden_lattices(golden / "general").values():
        top_sort_lattice_if_needed(lattice)
        num_frames, times = lattice_state_times(lattice)
        assert min(times) == 0
        assert len(get_linear_symbol_sequence(nbest(lattice, 1)[0])[0]) == num_frames


@pytest.mark.parametrize(
    "use",
    [
        top_sort_lattice_if_needed,
        lattice_forward_backward,
        lambda lat: prune_lattice(1.0, lat),
        lambda lat: nbest(convert_lattice_to_compact_lattice(lat), 3),
        lambda lat: compact_lattice_shortest_path(convert_lattice_to_compact_lattice(lat)),
        longest_sentence_length_in_lattice,
    ],
)
def test_cycles_are_refused(use: object) -> None:
    with pytest.raises(LatticeError, match="cycle"):
        use(cyclic())  # type: ignore[operator]


def test_linear_paths_only() -> None:
    with pytest.raises(LatticeError, match="linear"):
        get_linear_symbol_sequence(cyclic())
    with pytest.raises(LatticeError, match="linear"):
        compact_lattice_to_word_alignment(convert_lattice_to_compact_lattice(cyclic()))
    assert get_linear_symbol_sequence(LatticeVectorFst()) == ([], [], LatticeWeight.zero())


def test_times_want_topological_order() -> None:
    with pytest.raises(LatticeError, match="topological order"):
        lattice_state_times(cyclic())


def test_paths_of_other_lengths_are_refused() -> None:
    uneven = make_lattice([(None, [(1, 1, 0.0, 0.0, 1), (0, 1, 0.0, 0.0, 1)]), (0.0, [])])
    with pytest.raises(LatticeError, match=r"expected paths of one length"):
        lattice_state_times(uneven)


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="beam"):
        prune_lattice(0.0, cyclic())
    with pytest.raises(ConfigError, match="at least 0 paths, found -1"):
        nbest(convert_lattice_to_compact_lattice(cyclic()), -1)


def test_sentence_confidence() -> None:
    two = make_lattice([(None, [(1, 1, 1.0, 0.5, 1), (2, 2, 2.0, 0.75, 1)]), (0.0, [])])
    compact = convert_lattice_to_compact_lattice(two)
    assert sentence_level_confidence(compact) == (1.25, 2, [1], [2])
    one = make_lattice([(None, [(1, 1, 1.0, 0.5, 1)]), (0.0, [])])
    assert sentence_level_confidence(convert_lattice_to_compact_lattice(one)) == (math.inf, 1, [1], [])
