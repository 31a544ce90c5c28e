"""Times of words and phones against Kaldi's, and what alignment does with broken lattices."""

from pathlib import Path

import pytest
from golden_data import lines
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import all_paths, costs_by_words, golden_lattices, make_lattice, raw_lattices, word_symbols

from pykaldi_server.errors import ConfigError, LatticeError, ModelFormatError
from pykaldi_server.kaldi._core import CompactLatticeArc, TransitionInformation
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst, LatticeVectorFst
from pykaldi_server.kaldi.lat.align import (
    PhoneAlignLatticeOptions,
    WordAlignLatticeLexiconInfo,
    WordAlignLatticeLexiconOpts,
    WordBoundaryInfo,
    WordBoundaryInfoNewOpts,
    phone_align_lattice,
    phone_alignment,
    read_lexicon_for_word_align,
    word_align_lattice,
    word_align_lattice_lexicon,
)
from pykaldi_server.kaldi.lat.functions import (
    compact_lattice_shortest_path,
    compact_lattice_to_word_alignment,
    convert_lattice_to_compact_lattice,
    determinize_lattice_pruned,
    get_linear_symbol_sequence,
)
from pykaldi_server.kaldi.lat.table import read_compact_lattice
from pykaldi_server.kaldi.util.io import KaldiReader

GRAPHS = {
    "digits": "graph-digits",
    "digits-005": "graph-digits",
    "general": "graph",
    "returning": "graph",
    "segments": "graph",
}
FRAME_SHIFT_S = 0.03  # of the chain model's decoder frames
# Two phones of two transition-ids (first, self-loop); words 1 (phone 1) and 2 (phone 2).
TOY = TransitionInformation([0, 1, 1, 2, 2], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0])
SINGLETONS = WordBoundaryInfo([0, 3, 3], 0, 0, True)

Times = list[tuple[str, float, float]]


def read_ctm(path: Path) -> dict[str, Times]:
    """Symbol, begin and length (s) of each word or phone of each recording."""
    found: dict[str, Times] = {}
    for key, _, begin, length, symbol, *_ in lines(path):
        found.setdefault(key, []).append((symbol, float(begin), float(length)))
    return found


@pytest.fixture(scope="module")
def word_boundary(models: Path) -> WordBoundaryInfo:
    return WordBoundaryInfo.from_file(
        WordBoundaryInfoNewOpts(), models / "english/graph/phones/word_boundary.int"
    )


def derived_lexicon(
    lattices: list[CompactLatticeVectorFst], model: TransitionInformation, info: WordBoundaryInfo
) -> WordAlignLatticeLexiconInfo:
    """A lexicon with the pronunciations that occur in lattices, and silence."""
    entries: set[tuple[int, ...]] = {(0, 0, 1)}
    for lattice in lattices:
        _, aligned = word_align_lattice(lattice, model, info)
        for state in range(aligned.num_states()):
            for arc in aligned.arcs(state):
                phones = tuple(p for p, _, _ in phone_alignment(linear(arc.ilabel, arc.weight.string), model))
                entries.add((arc.ilabel, arc.ilabel, *phones))
    return WordAlignLatticeLexiconInfo([list(entry) for entry in sorted(entries)])


def linear(word: int, ids: list[int]) -> CompactLatticeVectorFst:
    """A lattice of one path with one word."""
    text = f"\n0 1 {word} 0,0,{'_'.join(map(str, ids))}\n1\n\n"
    return read_compact_lattice(KaldiReader(text.encode(), "path"))


@pytest.mark.parametrize("folder", GRAPHS)
def test_times_of_the_best_path_are_kaldis(
    golden_root: Path,
    models: Path,
    english: TransitionInformation,
    word_boundary: WordBoundaryInfo,
    folder: str,
) -> None:
    words = word_symbols(models / "english" / GRAPHS[folder] / "words.txt")
    phones = word_symbols(models / "english/graph/phones.txt")
    expected_words = read_ctm(golden_root / folder / "ctm_1best.txt")
    expected_phones = read_ctm(golden_root / folder / "ctm_phones.txt")
    for key, lattice in golden_lattices(golden_root / folder).items():
        best = compact_lattice_shortest_path(lattice)
        ok, aligned = word_align_lattice(best, english, word_boundary)
        assert ok
        found = [
            (words[word], round(begin * FRAME_SHIFT_S, 2), round(length * FRAME_SHIFT_S, 2))
            for word, begin, length in zip(*compact_lattice_to_word_alignment(aligned), strict=True)
            if word
        ]
        assert found == expected_words.get(key, [])
        found = [
            (phones[phone], round(begin * FRAME_SHIFT_S, 2), round(length * FRAME_SHIFT_S, 2))
            for phone, begin, length in phone_alignment(best, english)
        ]
        assert found == expected_phones.get(key, [])


@pytest.mark.parametrize("folder", ["digits", "general"])
def test_alignment_keeps_the_sentences(
    golden: Path, english: TransitionInformation, word_boundary: WordBoundaryInfo, folder: str
) -> None:
    for lattice in golden_lattices(golden / folder).values():
        ok, aligned = word_align_lattice(lattice, english, word_boundary)
        assert ok
        again = determinize_lattice_pruned(aligned, 100.0)
        before = get_linear_symbol_sequence(compact_lattice_shortest_path(lattice))
        after = get_linear_symbol_sequence(compact_lattice_shortest_path(again))
        assert after[:2] == before[:2]
        assert after[2].value1 == pytest.approx(before[2].value1, abs=1e-3)
        assert after[2].value2 == pytest.approx(before[2].value2, abs=1e-3)


def labelled_strings(lattice: CompactLatticeVectorFst) -> set[tuple[int, tuple[int, ...]]]:
    """The words with their transition-ids."""
    return {
        (arc.ilabel, tuple(arc.weight.string))
        for state in range(lattice.num_states())
        for arc in lattice.arcs(state)
    }


@pytest.mark.parametrize("folder", ["digits", "general"])
def test_lexicon_gives_the_same_as_word_boundaries(
    golden: Path, english: TransitionInformation, word_boundary: WordBoundaryInfo, folder: str
) -> None:
    lattices = list(golden_lattices(golden / folder).values())[:6]
    lexicon = derived_lexicon(lattices, english, word_boundary)
    for lattice in lattices:
        ok, by_lexicon = word_align_lattice_lexicon(lattice, english, lexicon)
        assert ok
        _, by_phones = word_align_lattice(lattice, english, word_boundary)
        assert labelled_strings(by_lexicon) == labelled_strings(by_phones)


@settings(max_examples=60, deadline=None)
@given(raw_lattices())
def test_alignment_of_any_lattice_keeps_its_paths(lattice: LatticeVectorFst) -> None:
    """Words may be lost where the lattice is broken, but nothing else; of equal words the best path stays."""
    compact = convert_lattice_to_compact_lattice(lattice)
    real = {path.ids for path in all_paths(lattice)}
    ok, aligned = word_align_lattice(compact, TOY, SINGLETONS)
    found = list(all_paths(aligned))
    assert {path.ids for path in found} <= real
    assert bool(found) == bool(real)
    if ok:
        assert costs_by_words(aligned) == costs_by_words(lattice)
    _, by_phones = phone_align_lattice(compact, TOY, PhoneAlignLatticeOptions(replace_output_symbols=True))
    assert {path.ids for path in all_paths(by_phones)} <= real


def test_phones_have_their_own_arcs() -> None:
    path = linear(7, [1, 2, 2, 3, 4, 1])
    assert phone_alignment(path, TOY) == [(1, 0, 3), (2, 3, 2), (1, 5, 1)]
    _, kept = phone_align_lattice(path, TOY, PhoneAlignLatticeOptions(remove_epsilon=False))
    strings = [arc.weight.string for s in range(kept.num_states()) for arc in kept.arcs(s)]
    assert [1, 2, 2] in strings
    assert [3, 4] in strings


def test_without_reordering_self_loops_come_first() -> None:
    path = linear(7, [2, 2, 1, 3])
    assert phone_alignment(path, TOY, PhoneAlignLatticeOptions(reorder=False)) == [(1, 0, 3), (2, 3, 1)]


def test_silence_and_partial_words_get_their_labels() -> None:
    info = WordBoundaryInfo([0, 5, 1], 9, 8, True)  # phone 1 is silence, phone 2 begins words
    ok, aligned = word_align_lattice(linear(0, [1, 2, 3, 4]), TOY, info)
    assert not ok
    labels = [(arc.ilabel, arc.weight.string) for s in range(aligned.num_states()) for arc in aligned.arcs(s)]
    assert labels == [(9, [1, 2]), (8, [3, 4])]


def test_words_without_frames_are_dropped() -> None:
    ok, aligned = word_align_lattice(linear(7, []), TOY, SINGLETONS)
    assert not ok
    assert [path.words for path in all_paths(aligned)] == [()]


def test_too_many_states() -> None:
    ok, aligned = word_align_lattice(linear(1, [1, 2, 3, 4]), TOY, SINGLETONS, max_states=1)
    assert (ok, aligned.num_states()) == (False, 0)


def test_lexicon_words_and_silence() -> None:
    lexicon = WordAlignLatticeLexiconInfo([[0, 0, 1], [7, 17, 2, 1], [7, 7, 2]])
    ok, aligned = word_align_lattice_lexicon(linear(7, [1, 2, 3, 4, 1, 1]), TOY, lexicon)
    assert ok
    found = sorted(
        tuple((arc.ilabel, tuple(arc.weight.string)) for arc in path)
        for path in arc_paths(aligned, aligned.start())
    )
    silence, word = (0, (1, 2)), (7, (3, 4))
    assert found == [(silence, word, (0, (1,)), (0, (1,))), (silence, (17, (3, 4, 1)), (0, (1,)))]


def arc_paths(lattice: CompactLatticeVectorFst, state: int) -> list[list[CompactLatticeArc]]:
    """The arcs of each complete path from a state."""
    rest = [[arc, *path] for arc in lattice.arcs(state) for path in arc_paths(lattice, arc.nextstate)]
    return rest or [[]]


def test_lexicon_partial_word_at_the_end() -> None:
    lexicon = WordAlignLatticeLexiconInfo([[0, 0, 1], [7, 7, 2, 2]])
    options = WordAlignLatticeLexiconOpts(partial_word_label=8)
    ok, aligned = word_align_lattice_lexicon(linear(0, [1, 2, 3, 4]), TOY, lexicon, options)
    assert not ok
    assert {path.words for path in all_paths(aligned)} == {(8,)}
    ok, aligned = word_align_lattice_lexicon(linear(7, [3, 4]), TOY, lexicon, options)
    assert not ok
    assert [path.words for path in all_paths(aligned)] == [(7,)]


@settings(max_examples=60, deadline=None)
@given(raw_lattices(max_word=2), st.booleans())
def test_lexicon_alignment_of_any_lattice_ends(lattice: LatticeVectorFst, both: bool) -> None:
    lexicon = [[0, 0, 1], [1, 1, 1], [2, 2, 2], *([[1, 1], [2, 2, 2, 1]] if both else [])]
    compact = convert_lattice_to_compact_lattice(lattice)
    _, aligned = word_align_lattice_lexicon(compact, TOY, WordAlignLatticeLexiconInfo(lexicon))
    real = {path.ids for path in all_paths(lattice)}
    assert {path.ids for path in all_paths(aligned)} <= real


@pytest.mark.parametrize(
    "lexicon",
    [[[1]], [[1, 1, -5]], [[0, 0]], [[1, 1, 5], [1, 2, 5]]],
    ids=["short", "negative", "empty", "twice"],
)
def test_bad_lexicons(lexicon: list[list[int]]) -> None:
    with pytest.raises(ConfigError, match="alignment lexicon"):
        WordAlignLatticeLexiconInfo(lexicon)


def test_strangers_are_refused() -> None:
    with pytest.raises(LatticeError, match="transition-ids of 1 to 4"):
        word_align_lattice(linear(1, [5]), TOY, SINGLETONS)
    with pytest.raises(LatticeError, match="phones of the word-boundary file"):
        word_align_lattice(linear(1, [3]), TOY, WordBoundaryInfo([0, 3], 0, 0, True))
    with pytest.raises(LatticeError, match="words of the alignment lexicon, found 7"):
        word_align_lattice_lexicon(linear(7, [1]), TOY, WordAlignLatticeLexiconInfo([[1, 1, 1]]))
    cyclic = make_lattice([(None, [(1, 1, 0.0, 0.0, 1)]), (0.0, [(0, 2, 1.0, 0.0, 1)])])
    compact = convert_lattice_to_compact_lattice(cyclic)
    with pytest.raises(LatticeError, match="cycle"):
        word_align_lattice(compact, TOY, SINGLETONS)
    with pytest.raises(LatticeError, match="cycle"):
        phone_align_lattice(compact, TOY)


@pytest.mark.parametrize("line", ["1", "1 nonword 2", "x begin", "1 middle", "99999999999 begin"])
def test_bad_word_boundary_files(tmp_path: Path, line: str) -> None:
    path = tmp_path / "word_boundary.int"
    path.write_text(f"1 nonword\n\n{line}\n")
    with pytest.raises(ModelFormatError, match=rf"{path}:3: expected a phone and its position"):
        WordBoundaryInfo.from_file(WordBoundaryInfoNewOpts(), path)


@pytest.mark.parametrize("line", ["1", "1 x", "1 1 -1", "1 1 99999999999"])
def test_bad_lexicon_files(tmp_path: Path, line: str) -> None:
    path = tmp_path / "align_lexicon.int"
    path.write_text(f"1 1 5\n{line}\n")
    with pytest.raises(ModelFormatError, match=rf"{path}:2: expected two words and phones"):
        read_lexicon_for_word_align(path)
    path.write_bytes(b"1 1 \xff\n")
    with pytest.raises(ModelFormatError, match="text form"):
        read_lexicon_for_word_align(path)
