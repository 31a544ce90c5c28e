"""Minimum Bayes risk decoding against Kaldi's, and against the expected edit distance path by path.

Where two alignments of a path with the words cost the same, rounding decides, and with it the sausage and
sometimes the words. The golden lattices have six digits, those that Kaldi decoded have all. So for each
recording one of several lattices that look the same in six digits must give Kaldi's numbers; mostly the
first one does.
Confidences are printed with two digits (0.005), times in hundredths of a second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from golden_data import lines
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import all_paths, golden_lattices, make_lattice, raw_lattices, text_variants, word_symbols

from pykaldi_server.errors import LatticeError
from pykaldi_server.kaldi._core import TransitionInformation
from pykaldi_server.kaldi.hmm.transition_model import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst, LatticeVectorFst
from pykaldi_server.kaldi.lat.align import (
    WordAlignLatticeLexiconInfo,
    WordBoundaryInfo,
    WordBoundaryInfoNewOpts,
    read_lexicon_for_word_align,
    word_align_lattice,
    word_align_lattice_lexicon,
)
from pykaldi_server.kaldi.lat.functions import convert_lattice_to_compact_lattice, transition_information
from pykaldi_server.kaldi.lat.sausages import MinimumBayesRisk, MinimumBayesRiskOptions
from pykaldi_server.kaldi.util.io import KaldiReader

GRAPHS = {
    "digits": "graph-digits",
    "digits-005": "graph-digits",
    "general": "graph",
    "returning": "graph",
    "segments": "graph",
}
CONFIDENCE_TOLERANCE = 0.01
# Of begin and length in the file: two roundings to 0.01 s.
TIME_TOLERANCE_S = 0.0101
RISK_TOLERANCE = 1e-3
GMM_ACOUSTIC_SCALE = 0.0769
MAP = MinimumBayesRiskOptions(decode_mbr=False)


@dataclass
class GoldenWord:
    begin_s: float
    length_s: float
    word: str
    confidence: float


def read_ctm(path: Path) -> dict[str, list[GoldenWord]]:
    found: dict[str, list[GoldenWord]] = {}
    for key, _, begin, length, word, confidence in lines(path):
        found.setdefault(key, []).append(GoldenWord(float(begin), float(length), word, float(confidence)))
    return found


def matches_ctm(
    mbr: MinimumBayesRisk, expected: list[GoldenWord], symbols: dict[int, str], frame_shift_s: float
) -> bool:
    words = [symbols[word] for word in mbr.get_one_best()]
    if words != [golden.word for golden in expected]:
        return False
    for golden, (begin, end), confidence in zip(
        expected, mbr.get_one_best_times(), mbr.get_one_best_confidences(), strict=True
    ):
        if abs(confidence - golden.confidence) > CONFIDENCE_TOLERANCE:
            return False
        if abs(begin * frame_shift_s - golden.begin_s) > TIME_TOLERANCE_S:
            return False
        if abs((end - begin) * frame_shift_s - golden.length_s) > TIME_TOLERANCE_S:
            return False
    return True


def check_ctm(
    folder: Path,
    decode_mbr: bool,
    symbols: dict[int, str],
    frame_shift_s: float,
    align: Callable[[CompactLatticeVectorFst], tuple[bool, CompactLatticeVectorFst]],
) -> None:
    expected = read_ctm(folder / f"ctm_mbr_{'true' if decode_mbr else 'false'}.txt")
    options = MinimumBayesRiskOptions(decode_mbr=decode_mbr)
    for key, lattice in golden_lattices(folder).items():
        assert any(
            matches_ctm(
                MinimumBayesRisk(align(variant)[1], options), expected.get(key, []), symbols, frame_shift_s
            )
            for variant in text_variants(lattice)
        ), key


@pytest.mark.parametrize("decode_mbr", [False, True])
@pytest.mark.parametrize("folder", GRAPHS)
def test_times_and_confidences_are_kaldis(
    golden_root: Path, models: Path, english: TransitionInformation, folder: str, decode_mbr: bool
) -> None:
    info = WordBoundaryInfo.from_file(
        WordBoundaryInfoNewOpts(), models / "english/graph/phones/word_boundary.int"
    )
    symbols = word_symbols(models / "english" / GRAPHS[folder] / "words.txt")
    check_ctm(
        golden_root / folder, decode_mbr, symbols, 0.03, lambda lat: word_align_lattice(lat, english, info)
    )


@pytest.mark.parametrize("folder", ["gmm/fresh", "gmm/returning"])
def test_times_and_confidences_with_a_lexicon(golden_root: Path, models: Path, folder: str) -> None:
    model_folder = models / "english-gmm"
    graph = model_folder / "graph-digits"
    model = transition_information(TransitionModel.read(KaldiReader.open(model_folder / "final.mdl")))
    lexicon = WordAlignLatticeLexiconInfo(read_lexicon_for_word_align(graph / "phones/align_lexicon.int"))

    def align(lattice: CompactLatticeVectorFst) -> tuple[bool, CompactLatticeVectorFst]:
        scaled = lattice.copy()
        scaled.scale(1.0, GMM_ACOUSTIC_SCALE)
        return word_align_lattice_lexicon(scaled, model, lexicon)

    check_ctm(golden_root / folder, False, word_symbols(graph / "words.txt"), 0.01, align)


def read_sausages(path: Path) -> dict[str, list[dict[int, float]]]:
    """For each recording and position the probability of each word."""
    found = {}
    for key, *fields in lines(path):
        bins = " ".join(fields).replace("]", "").split("[")[1:]
        numbers = [[float(number) for number in bin_.split()] for bin_ in bins]
        found[key] = [dict(zip(map(int, bin_[::2]), bin_[1::2], strict=True)) for bin_ in numbers]
    return found


@pytest.mark.parametrize("folder", GRAPHS)
def test_words_risk_and_sausage_are_kaldis(golden_root: Path, models: Path, folder: str) -> None:
    symbols = word_symbols(models / "english" / GRAPHS[folder] / "words.txt")
    words = {fields[0]: fields[1:] for fields in lines(golden_root / folder / "mbr_words.txt")}
    risks = {key: float(risk) for key, risk in lines(golden_root / folder / "bayes_risk.txt")}
    sausages = read_sausages(golden_root / folder / "sausage.txt")

    def matches(key: str, mbr: MinimumBayesRisk) -> bool:
        stats = [dict(bin_) for bin_ in mbr.get_sausage_stats()]
        return (
            [symbols[word] for word in mbr.get_one_best()] == words[key]
            and abs(mbr.get_bayes_risk() - risks[key]) < RISK_TOLERANCE
            and len(stats) == len(sausages[key])
        )

    def distance(key: str, mbr: MinimumBayesRisk) -> float:
        return max(
            (
                abs(found.get(word, 0.0) - golden.get(word, 0.0))
                for found, golden in zip(map(dict, mbr.get_sausage_stats()), sausages[key], strict=True)
                for word in found.keys() | golden.keys()
            ),
            default=0.0,
        )

    distances = []
    for key, lattice in golden_lattices(golden_root / folder).items():
        mbrs = [mbr for mbr in map(MinimumBayesRisk, text_variants(lattice, 12)) if matches(key, mbr)]
        assert mbrs, key
        distances.append(min(distance(key, mbr) for mbr in mbrs))
    # In a few recordings, words that fit in either of two positions are in the other one.
    assert sorted(distances)[int(0.8 * len(distances))] < CONFIDENCE_TOLERANCE


def edit_distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(previous + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def probabilities(lattice: LatticeVectorFst) -> dict[tuple[int, ...], float]:
    """The probability of each word sequence."""
    paths = list(all_paths(lattice))
    least = min(path.cost for path in paths)
    total = sum(math.exp(least - path.cost) for path in paths)
    found: dict[tuple[int, ...], float] = {}
    for path in paths:
        found[path.words] = found.get(path.words, 0.0) + math.exp(least - path.cost) / total
    return found


def tree_of(lattice: LatticeVectorFst) -> LatticeVectorFst:
    """The same paths, each on states of its own: there the recursion for the risk is exact."""
    paths = list(all_paths(lattice))
    states: list[tuple[float | None, list[tuple[int, int, float, float, int]]]] = [(None, [])]
    for path in paths:
        state, frames = 0, list(path.ids) or [0]
        steps = [(0, word) for word in path.words] + [(frame, 0) for frame in frames]
        for position, (ilabel, olabel) in enumerate(steps):
            states[state][1].append((ilabel, olabel, path.cost if position == 0 else 0.0, 0.0, len(states)))
            state = len(states)
            states.append((None, []))
        states[state] = (0.0, [])
    return make_lattice(states)


@settings(max_examples=100, deadline=None)
@given(raw_lattices(max_frames=2), st.lists(st.integers(1, 3), max_size=4))
def test_risk_is_the_expected_edit_distance(lattice: LatticeVectorFst, words: list[int]) -> None:
    lattice.connect()
    if lattice.num_states() == 0:
        return
    expected = sum(p * edit_distance(path, tuple(words)) for path, p in probabilities(lattice).items())
    compact = convert_lattice_to_compact_lattice(lattice)
    bound = MinimumBayesRisk(compact, MAP, words).get_bayes_risk()
    # Where paths meet, the recursion takes one alignment for all of them: an upper bound.
    assert bound > expected - 1e-3
    exact = MinimumBayesRisk(
        convert_lattice_to_compact_lattice(tree_of(lattice)), MAP, words
    ).get_bayes_risk()
    # The algorithm adds 1e-5 to errors against the empty word.
    assert exact == pytest.approx(expected, abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(raw_lattices(max_frames=2))
def test_sausages_are_distributions(lattice: LatticeVectorFst) -> None:
    lattice.connect()
    if lattice.num_states() == 0:
        return
    compact = convert_lattice_to_compact_lattice(lattice)
    for options in (MAP, MinimumBayesRiskOptions(), MinimumBayesRiskOptions(print_silence=True)):
        mbr = MinimumBayesRisk(compact, options)
        for bin_ in mbr.get_sausage_stats():
            assert sum(p for _, p in bin_) == pytest.approx(1.0, abs=1e-4)
            assert [p for _, p in bin_] == sorted((p for _, p in bin_), reverse=True)
        words = mbr.get_one_best()
        assert len(words) == len(mbr.get_one_best_times()) == len(mbr.get_one_best_confidences())
        ends = [0.0]
        for begin, end in mbr.get_sausage_times():
            assert ends[-1] <= begin + 1e-4
            assert begin <= end + 1e-4
            ends.append(end)
        assert (0 in words) <= options.print_silence
    map_risk = MinimumBayesRisk(compact, MAP).get_bayes_risk()
    assert MinimumBayesRisk(compact).get_bayes_risk() <= map_risk + 1e-3


def test_two_words() -> None:
    # exp(-cost) of 3/4 and 1/4
    lattice = make_lattice([(None, [(1, 7, 0.0, 0.0, 1), (1, 8, math.log(3), 0.0, 1)]), (0.0, [])])
    mbr = MinimumBayesRisk(convert_lattice_to_compact_lattice(lattice))
    assert mbr.get_one_best() == [7]
    assert mbr.get_one_best_confidences() == [pytest.approx(0.75)]
    assert mbr.get_one_best_times() == [(0.0, 1.0)]
    assert mbr.get_bayes_risk() == pytest.approx(0.25)
    assert [[word for word, _ in bin_] for bin_ in mbr.get_sausage_stats()] == [[0], [7, 8], [0]]
    assert mbr.get_times()[1] == [(0.0, 1.0), (0.0, 1.0)]


def test_given_words() -> None:
    lattice = make_lattice([(None, [(1, 7, 0.0, 0.0, 1)]), (0.0, [])])
    mbr = MinimumBayesRisk(convert_lattice_to_compact_lattice(lattice), MAP, [9])
    assert (mbr.get_one_best(), mbr.get_one_best_confidences()) == ([9], [0.0])
    assert mbr.get_bayes_risk() == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(raw_lattices(max_frames=2), st.floats(1, 1e36))
def test_absurd_costs_do_no_harm(lattice: LatticeVectorFst, scale: float) -> None:
    lattice.connect()
    compact = convert_lattice_to_compact_lattice(lattice)
    compact.scale(scale, scale)
    if compact.num_states():
        mbr = MinimumBayesRisk(compact)
        confidences = mbr.get_one_best_confidences()
        assert all(0 <= confidence <= 1 for confidence in confidences), confidences


def test_refusals() -> None:
    with pytest.raises(LatticeError, match="complete path"):
        MinimumBayesRisk(CompactLatticeVectorFst())
    cyclic = make_lattice([(None, [(1, 1, 0.0, 0.0, 1)]), (0.0, [(2, 2, 1.0, 0.0, 0)])])
    with pytest.raises(LatticeError, match="cycle"):
        MinimumBayesRisk(convert_lattice_to_compact_lattice(cyclic))
