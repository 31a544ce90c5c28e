"""Determinisation: one path for each word sequence, the best one, with its costs and transition-ids."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import (
    LatticePath,
    all_paths,
    best_by_words,
    costs_by_words,
    golden_lattices,
    make_lattice,
    raw_lattices,
)

from pykaldi_server.errors import ConfigError, LatticeError
from pykaldi_server.kaldi._core import TransitionInformation
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst, LatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    DeterminizeLatticePhonePrunedOptions,
    DeterminizeLatticePrunedOptions,
    compact_lattice_shortest_path,
    convert_compact_lattice_to_lattice,
    convert_lattice_to_compact_lattice,
    determinize_lattice_phone_pruned,
    determinize_lattice_pruned,
    get_linear_symbol_sequence,
    minimize_compact_lattice,
    push_compact_lattice_strings,
    push_compact_lattice_weights,
)

# Transition-ids 1 to 4 of raw_lattices: two phones, each with a first transition and a self-loop.
TOY = TransitionInformation([0, 1, 1, 2, 2], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0])
NO_LIMIT = DeterminizeLatticePhonePrunedOptions(max_mem=-1)


def check_deterministic(lattice: CompactLatticeVectorFst) -> None:
    for state in range(lattice.num_states()):
        words = [arc.ilabel for arc in lattice.arcs(state)]
        assert 0 not in words
        assert len(set(words)) == len(words)


def check_paths(found: CompactLatticeVectorFst, lattice: LatticeVectorFst, beam: float = math.inf) -> None:
    """Each word sequence of the lattice within the beam is there once, with the best path's cost and a
    path of the lattice that has it."""
    check_deterministic(found)
    best = best_by_words(lattice)
    paths = list(all_paths(found))
    assert len({path.words for path in paths}) == len(paths)
    cutoff = min((path.cost for path in best.values()), default=math.inf) + beam
    expected = {words: path.cost for words, path in best.items() if path.cost <= cutoff}
    assert {path.words: path.cost for path in paths if path.cost <= cutoff} == expected
    real = set(all_paths(lattice))
    assert all(path in real for path in paths if path.cost <= cutoff)


@settings(max_examples=500, deadline=None)
@given(raw_lattices(max_frames=4), st.integers(1, 300).map(lambda n: n / 32))
def test_every_sentence_within_the_beam_has_its_best_path(lattice: LatticeVectorFst, beam: float) -> None:
    check_paths(determinize_lattice_pruned(lattice, math.inf), lattice)
    check_paths(determinize_lattice_pruned(lattice, beam), lattice, beam)
    check_paths(determinize_lattice_phone_pruned(lattice, TOY, beam, NO_LIMIT), lattice, beam)


@settings(max_examples=50, deadline=None)
@given(raw_lattices(max_frames=4))
def test_minimized(lattice: LatticeVectorFst) -> None:
    options = DeterminizeLatticePhonePrunedOptions(minimize=True)
    found = determinize_lattice_phone_pruned(lattice, TOY, 1e6, options)
    check_paths(found, lattice)
    plain = determinize_lattice_phone_pruned(lattice, TOY, 1e6)
    assert found.num_states() <= plain.num_states()


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_compact_input_gives_the_same(lattice: LatticeVectorFst) -> None:
    check_paths(determinize_lattice_pruned(convert_lattice_to_compact_lattice(lattice), math.inf), lattice)


@settings(max_examples=50, deadline=None)
@given(raw_lattices())
def test_one_pass_options(lattice: LatticeVectorFst) -> None:
    words_only = DeterminizeLatticePhonePrunedOptions(phone_determinize=False)
    check_paths(determinize_lattice_phone_pruned(lattice, TOY, 1e6, words_only), lattice)
    phones_only = DeterminizeLatticePhonePrunedOptions(word_determinize=False)
    by_phones = determinize_lattice_phone_pruned(lattice, TOY, 1e6, phones_only)
    assert costs_by_words(by_phones) == costs_by_words(lattice)
    neither = DeterminizeLatticePhonePrunedOptions(phone_determinize=False, word_determinize=False)
    copy = determinize_lattice_phone_pruned(lattice, TOY, 1e6, neither)
    assert sorted(all_paths(copy)) == sorted(all_paths(lattice))


@settings(max_examples=50, deadline=None)
@given(raw_lattices(max_frames=4), st.integers(1, 3000), st.integers(1, 8))
def test_limits_leave_a_part_of_the_result(lattice: LatticeVectorFst, max_mem: int, max_arcs: int) -> None:
    """Whatever the limit: paths are real ones, and the best path survives when anything does."""
    real = set(all_paths(lattice))
    for options in (
        DeterminizeLatticePrunedOptions(max_mem=max_mem),
        DeterminizeLatticePrunedOptions(max_arcs=max_arcs),
        DeterminizeLatticePrunedOptions(max_states=max_arcs),
    ):
        found = determinize_lattice_pruned(lattice, 8.0, options)
        check_deterministic(found)
        paths = set(all_paths(found))
        assert paths <= real
        assert not paths or min(path.cost for path in paths) == min(path.cost for path in real)
    without_limits = determinize_lattice_pruned(lattice, 8.0)
    assert (without_limits.num_states() > 0) == (len(real) > 0)


@pytest.mark.parametrize("folder", ["digits", "general", "returning", "gmm/fresh"])
def test_golden_lattices_stay_the_same(
    golden_root: Path, english: TransitionInformation, folder: str
) -> None:
    """A determinised lattice spelled out and determinised again has the same best path and size or less."""
    for lattice in list(golden_lattices(golden_root / folder).values())[:10]:
        again = determinize_lattice_pruned(convert_compact_lattice_to_lattice(lattice), 100.0)
        check_deterministic(again)
        assert again.num_states() <= lattice.num_states()
        _, words, weight = get_linear_symbol_sequence(compact_lattice_shortest_path(lattice))
        _, words_again, weight_again = get_linear_symbol_sequence(compact_lattice_shortest_path(again))
        assert words_again == words
        # Residual costs are subtracted and added again in float32.
        assert weight_again.value1 == pytest.approx(weight.value1, abs=2e-3)
        assert weight_again.value2 == pytest.approx(weight.value2, abs=2e-3)


def test_pushing_and_minimizing_golden_lattices(golden: Path) -> None:
    before = after = 0
    for lattice in golden_lattices(golden / "digits").values():
        small = lattice.copy()
        push_compact_lattice_strings(small)
        push_compact_lattice_weights(small)
        minimize_compact_lattice(small)
        assert small.num_states() <= lattice.num_states()
        before, after = before + lattice.num_states(), after + small.num_states()
        alignment, words, weight = get_linear_symbol_sequence(compact_lattice_shortest_path(lattice))
        again = get_linear_symbol_sequence(compact_lattice_shortest_path(small))
        assert (again[0], again[1]) == (alignment, words)
        assert again[2].value2 == pytest.approx(weight.value2, abs=2e-3)
    assert after < 0.7 * before


def test_ties_prefer_the_shorter_then_the_larger_string() -> None:
    shorter = make_lattice([(None, [(1, 7, 0.0, 0.0, 1), (1, 7, 0.0, 0.0, 2)]), (None, [(0, 0, 0.0, 0.0, 3)]),
                            (None, [(2, 0, 0.0, 0.0, 3)]), (0.0, [])])  # fmt: skip
    assert next(all_paths(determinize_lattice_pruned(shorter, 5.0))) == LatticePath((7,), (1,), 0.0, 0.0)
    larger = make_lattice([(None, [(1, 7, 0.0, 0.0, 1), (2, 7, 0.0, 0.0, 1)]), (0.0, [])])
    assert next(all_paths(determinize_lattice_pruned(larger, 5.0))) == LatticePath((7,), (2,), 0.0, 0.0)


def test_equal_sums_prefer_the_lower_graph_cost() -> None:
    lattice = make_lattice([(None, [(1, 7, 1.0, 0.0, 1), (2, 7, 0.0, 1.0, 1)]), (0.0, [])])
    assert next(all_paths(determinize_lattice_pruned(lattice, 5.0))) == LatticePath((7,), (2,), 0.0, 1.0)


def test_refusals() -> None:
    cyclic = make_lattice([(None, [(1, 1, 0.0, 0.0, 1)]), (0.0, [(2, 2, 1.0, 0.0, 0)])])
    with pytest.raises(LatticeError, match="cycle"):
        determinize_lattice_phone_pruned(cyclic, TOY, 6.0)
    with pytest.raises(LatticeError, match="cycle"):
        determinize_lattice_pruned(cyclic, 6.0)
    stranger = make_lattice([(None, [(5, 1, 0.0, 0.0, 1)]), (0.0, [])])
    with pytest.raises(LatticeError, match="transition-ids of 1 to 4"):
        determinize_lattice_phone_pruned(stranger, TOY, 6.0)
    for beam in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="beam"):
            determinize_lattice_pruned(stranger, beam)
    with pytest.raises(ConfigError, match="delta"):
        determinize_lattice_pruned(stranger, 6.0, DeterminizeLatticePrunedOptions(delta=-1.0))


def test_empty_lattices() -> None:
    for lattice in (LatticeVectorFst(), make_lattice([(None, [(1, 1, 0.0, 0.0, 1)]), (None, [])])):
        assert determinize_lattice_phone_pruned(lattice, TOY, 6.0).num_states() == 0
        assert determinize_lattice_pruned(lattice, 6.0).num_states() == 0
