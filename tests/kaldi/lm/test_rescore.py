"""Rescoring against Kaldi's, and composition with language models against path enumeration."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from golden_data import lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lattices import (
    all_paths,
    best_by_words,
    costs_by_words,
    golden_lattices,
    make_lattice,
    raw_lattices,
    word_symbols,
)
from ngrams import BOS, EOS, UNK, NgramModel, ngram_models

from pykaldi_server.errors import ConfigError, LatticeError, ModelFormatError
from pykaldi_server.kaldi._core import compose_compact_lattice_backoff, compose_compact_lattice_deterministic
from pykaldi_server.kaldi.fstext import StdArc, StdConstFst, StdVectorFst
from pykaldi_server.kaldi.lat import LatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    compact_lattice_shortest_path,
    convert_lattice_to_compact_lattice,
    determinize_lattice_pruned,
    get_linear_symbol_sequence,
    nbest,
)
from pykaldi_server.kaldi.lm import (
    BackoffLm,
    ConstArpaLm,
    build_const_arpa,
    lattice_lmrescore,
    lattice_lmrescore_const_arpa,
    read_backoff_lm,
    read_const_arpa,
)

many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# The arcs that Kaldi's lattice-lmrescore leaves of golden lattices whose paths may back off before, or after,
# arcs without a word: those that the repository has, and others.
OWN_ARCS = {"ps-librivox-0920": 201}
OTHER_ARCS = {"so0044-000440049": 274}
COST_TOLERANCE = 2e-3  # the golden lattices have six digits an arc


@pytest.mark.parametrize("data", ["golden", "shared_golden"])
def test_rescored_lattices_are_kaldis(request: pytest.FixtureRequest, models: Path, data: str) -> None:
    general = request.getfixturevalue(data) / "general"
    old = read_backoff_lm(models / "english/rescore/G.fst")
    new = read_const_arpa(models / "english/rescore/G.carpa")
    symbols = word_symbols(models / "english/graph/words.txt")
    best, rest = [], []
    for key, lattice in golden_lattices(general).items():
        rescored = lattice_lmrescore_const_arpa(lattice_lmrescore(lattice, old, -1.0), new, 1.0)
        best.append((key, compact_lattice_shortest_path(rescored)))
        rest += [(f"{key}-{rank}", path) for rank, path in enumerate(nbest(rescored, 5), 1)]
    for found, file in ((best, "rescored.txt"), (rest, "rescored_nbest.txt")):
        expected = list(lines(general / file))
        assert len(found) == len(expected)
        for (name, path), row in zip(found, expected, strict=True):
            _, words, weight = get_linear_symbol_sequence(path)
            assert [name, *(symbols[word] for word in words)] == [row[0], *row[3:]]
            costs = (float(row[1]), float(row[2]))
            assert (weight.value1, weight.value2) == pytest.approx(costs, abs=COST_TOLERANCE)


def const_arpa(folder: Path, model: NgramModel) -> ConstArpaLm:
    (folder / "G.arpa").write_text(model.arpa())
    build_const_arpa(folder / "G.arpa", folder / "G.carpa", bos_symbol=BOS, eos_symbol=EOS, unk_symbol=UNK)
    return read_const_arpa(folder / "G.carpa")


def backoff_fst(model: NgramModel) -> StdConstFst:
    """The model as G.fst: #0 (here 100) on the input side of the arcs that back off."""
    fst = StdVectorFst()
    states = sorted(model.states())
    number = {history: fst.add_state() for history in states}
    fst.set_start(number[BOS,])
    for history in states:
        for ngram, (log_prob, _) in model.ngrams.items():
            if ngram[:-1] != history or ngram[-1] == BOS:
                continue
            cost = -log_prob * math.log(10)
            if ngram[-1] == EOS:
                fst.set_final(number[history], cost)
            else:
                fst.add_arc(number[history], StdArc(ngram[-1], ngram[-1], cost, number[model.state(ngram)]))
        if history:
            cost = -model.ngrams[history][1] * math.log(10)
            fst.add_arc(number[history], StdArc(100, 0, cost, number[model.state(history[1:])]))
    return StdConstFst(fst)


@many
@given(raw_lattices(), ngram_models(), st.sampled_from([1.0, -1.0, 0.5]))
def test_adding_a_constant_model(
    tmp_path: Path, lattice: LatticeVectorFst, model: NgramModel, scale: float
) -> None:
    clat = determinize_lattice_pruned(lattice, math.inf)
    rescored = lattice_lmrescore_const_arpa(clat, const_arpa(tmp_path, model), scale)
    expected = {
        words: path.cost + scale * model.sentence_cost(words) for words, path in best_by_words(clat).items()
    }
    assert costs_by_words(rescored) == pytest.approx(expected, abs=1e-3)
    acoustic = {words: path.acoustic_cost for words, path in best_by_words(clat).items()}
    assert {p.words: p.acoustic_cost for p in all_paths(rescored)} == pytest.approx(acoustic, abs=1e-3)


@many
@given(raw_lattices(), ngram_models(), st.sampled_from([1.0, -1.0, 0.5]))
def test_adding_a_backoff_model(lattice: LatticeVectorFst, model: NgramModel, scale: float) -> None:
    clat = determinize_lattice_pruned(lattice, math.inf)
    rescored = lattice_lmrescore(clat, backoff_fst(model), scale)
    expected = {
        words: path.cost + scale * model.best_cost(words) for words, path in best_by_words(clat).items()
    }
    assert costs_by_words(rescored) == pytest.approx(expected, abs=1e-3)
    assert len(list(all_paths(rescored))) == len(expected)


@settings(many, max_examples=500)
@given(raw_lattices(), ngram_models())
def test_composition_has_every_way_through_the_model(
    tmp_path: Path, lattice: LatticeVectorFst, model: NgramModel
) -> None:
    compact = convert_lattice_to_compact_lattice(lattice)
    deterministic = compose_compact_lattice_deterministic(compact, const_arpa(tmp_path, model))
    found = sorted((path.words, path.ids, path.cost) for path in all_paths(deterministic))
    expected = sorted(
        (path.words, path.ids, path.cost + model.sentence_cost(path.words)) for path in all_paths(lattice)
    )
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], abs=1e-3)


def ways(lm: StdConstFst, state: int, words: tuple[int, ...]) -> Iterator[float]:
    """The cost of each path from a state that accepts the words."""
    if not words and lm.final(state) != math.inf:
        yield lm.final(state)
    for arc in lm.arcs(state):
        if arc.olabel in (0, *words[:1]):
            yield from (arc.weight + cost for cost in ways(lm, arc.nextstate, words[arc.olabel != 0 :]))


@settings(many, max_examples=300)
@given(raw_lattices(), ngram_models())
def test_composition_has_every_way_through_a_backoff_model_once(
    lattice: LatticeVectorFst, model: NgramModel
) -> None:
    fst = backoff_fst(model)
    composed = compose_compact_lattice_backoff(convert_lattice_to_compact_lattice(lattice), BackoffLm(fst))
    found = sorted((path.words, path.ids, path.cost) for path in all_paths(composed))
    expected = sorted(
        (path.words, path.ids, path.cost + cost)
        for path in all_paths(lattice)
        for cost in ways(fst, fst.start(), path.words)
    )
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], abs=1e-3)


@pytest.mark.parametrize(("data", "arcs"), [("golden", OWN_ARCS), ("shared_golden", OWN_ARCS | OTHER_ARCS)])
def test_taking_the_old_model_away_leaves_kaldis_arcs(
    request: pytest.FixtureRequest, models: Path, data: str, arcs: dict[str, int]
) -> None:
    lattices = golden_lattices(request.getfixturevalue(data) / "general")
    old = read_backoff_lm(models / "english/rescore/G.fst")
    found = {key: lattice_lmrescore(lattices[key], old, -1.0).num_arcs() for key in arcs}
    assert found == arcs


def test_taking_away_what_was_added_gives_the_lattice_back(golden: Path, models: Path) -> None:
    new = read_const_arpa(models / "english/rescore/G.carpa")
    for lattice in golden_lattices(golden / "general").values():
        back = lattice_lmrescore_const_arpa(lattice_lmrescore_const_arpa(lattice, new, 1.0), new, -1.0)
        _, words, weight = get_linear_symbol_sequence(compact_lattice_shortest_path(lattice))
        again = get_linear_symbol_sequence(compact_lattice_shortest_path(back))
        assert again[1] == words
        assert again[2].value1 == pytest.approx(weight.value1, abs=COST_TOLERANCE)


def simple(word: int) -> LatticeVectorFst:
    return make_lattice([(None, [(1, word, 1.0, 2.0, 1)]), (0.5, [])])


def test_models_that_do_not_accept_the_words() -> None:
    fst = StdVectorFst()
    fst.set_start(fst.add_state())
    fst.add_state()
    fst.add_arc(0, StdArc(2, 2, 1.0, 1))
    fst.set_final(1, 0.25)
    lm = BackoffLm(StdConstFst(fst))
    assert lattice_lmrescore(convert_lattice_to_compact_lattice(simple(1)), lm, 1.0).num_states() == 0
    accepted = lattice_lmrescore(convert_lattice_to_compact_lattice(simple(2)), lm, 1.0)
    assert [path.cost for path in all_paths(accepted)] == [4.75]


def test_scale_zero_changes_nothing(models: Path) -> None:
    lattice = convert_lattice_to_compact_lattice(simple(1))
    new = read_const_arpa(models / "english/rescore/G.carpa")
    assert sorted(all_paths(lattice_lmrescore_const_arpa(lattice, new, 0.0))) == sorted(all_paths(lattice))


def test_refusals(models: Path) -> None:
    new = read_const_arpa(models / "english/rescore/G.carpa")
    with pytest.raises(ConfigError, match="scale"):
        lattice_lmrescore_const_arpa(convert_lattice_to_compact_lattice(simple(1)), new, math.nan)
    cyclic = make_lattice([(None, [(1, 1, 0.0, 0.0, 1)]), (0.0, [(2, 2, 1.0, 0.0, 0)])])
    compact = convert_lattice_to_compact_lattice(cyclic)
    with pytest.raises(LatticeError, match="cycle"):
        lattice_lmrescore_const_arpa(compact, new, 1.0)
    with pytest.raises(ModelFormatError, match="without a start"):
        BackoffLm(StdConstFst(StdVectorFst()))
    loop = StdVectorFst()
    loop.set_start(loop.add_state())
    loop.add_arc(0, StdArc(100, 0, 1.0, 0))
    loop.add_arc(0, StdArc(1, 1, 1.0, 0))
    loop.set_final(0, 0.0)
    with pytest.raises(LatticeError, match="cycle"):
        lattice_lmrescore(convert_lattice_to_compact_lattice(simple(1)), StdConstFst(loop), 1.0)
