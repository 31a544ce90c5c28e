"""Hypotheses of final results: times, confidences, n best and phones beside Kaldi's."""

import itertools
from collections import defaultdict
from pathlib import Path

import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK, best_paths, lines, read_wav

from pykaldi_server.session import Final, Hypothesis, Model

CONFIDENCE_TOLERANCE = 0.01
# One decoder frame: MBR times are means over paths, and a path near the beam may be in one lattice only.
TIME_TOLERANCE_S = 0.031
COST_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    """One segment a recording, and all that results can have."""
    return Model.load(
        models / "english:graph-digits",
        frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK,
        do_endpointing=False,
        num_nbest=5,
        do_phone_alignment=True,
    )


@pytest.fixture(scope="module")
def hypotheses(model: Model, golden: Path) -> dict[str, tuple[Hypothesis, ...]]:
    """The hypotheses of every recording that has words."""
    found = {}
    for path in sorted((golden / "wav").glob("*.wav")):
        session = model.session()
        events = session.accept(read_wav(path)[1]) + session.finish()
        finals = [event for event in events if isinstance(event, Final)]
        assert len(finals) == 1
        found[path.stem] = finals[0].hypotheses
    return found


def ctm(path: Path) -> dict[str, list[list[str]]]:
    """Recording -> fields after the channel: start, length, symbol and perhaps confidence."""
    found = defaultdict(list)
    for name, _, *fields in lines(path):
        found[name].append(fields)
    return found


def test_word_times_and_confidences(golden: Path, hypotheses: dict[str, tuple[Hypothesis, ...]]) -> None:
    expected = ctm(golden / "digits-005" / "ctm_mbr_false.txt")
    for name, found in hypotheses.items():
        words = found[0].words
        assert [word.word for word in words] == [fields[2] for fields in expected[name]], name
        for word, (start, length, *_) in zip(words, expected[name], strict=True):
            assert word.start_s == pytest.approx(float(start), abs=TIME_TOLERANCE_S), name
            assert word.length_s == pytest.approx(float(length), abs=TIME_TOLERANCE_S), name
        ours = confidences_of_runs([(word.word, word.confidence) for word in words])
        kaldis = confidences_of_runs([(fields[2], float(fields[3])) for fields in expected[name]])
        assert ours == pytest.approx(kaldis, abs=CONFIDENCE_TOLERANCE), name


def confidences_of_runs(words: list[tuple[str, float]]) -> list[float]:
    """Mean confidence of each run of one word.

    Where a word is said twice in a row, either alignment of a path that has it once costs the same, and
    rounding decides which of the two gets its probability.
    """
    runs = [[c for _, c in run] for _, run in itertools.groupby(words, key=lambda pair: pair[0])]
    return [sum(run) / len(run) for run in runs]


def test_sentence_confidence_is_the_mean(hypotheses: dict[str, tuple[Hypothesis, ...]]) -> None:
    for found in hypotheses.values():
        words = found[0].words
        assert found[0].confidence == pytest.approx(sum(word.confidence for word in words) / len(words))


def test_nbest(golden: Path, hypotheses: dict[str, tuple[Hypothesis, ...]]) -> None:
    expected = defaultdict(list)
    for key, graph_cost, acoustic_cost, *words in lines(golden / "digits-005" / "nbest.txt"):
        expected[key.rpartition("-")[0]].append((float(graph_cost) + float(acoustic_cost), words))
    for name, found in hypotheses.items():
        assert len(found) == len(expected[name]), name
        costs = [-hypothesis.likelihood for hypothesis in found]
        assert costs == sorted(costs), name
        assert costs == pytest.approx([cost for cost, _ in expected[name]], rel=COST_TOLERANCE), name
        assert found[0].transcript.split() == [word for word in expected[name][0][1] if word != "words"]


def test_phone_times(golden: Path, model: Model, hypotheses: dict[str, tuple[Hypothesis, ...]]) -> None:
    expected = ctm(golden / "digits-005" / "ctm_phones.txt")
    assert model.phones is not None
    for name, found in hypotheses.items():
        phones = found[0].phones
        symbols = [fields[2] for fields in expected[name]]
        if symbols[0].isdecimal():
            symbols = [model.phones.find_symbol(int(symbol)) for symbol in symbols]
        assert [phone.phone for phone in phones] == symbols, name
        for phone, (start, length, *_) in zip(phones, expected[name], strict=True):
            assert phone.start_s == pytest.approx(float(start), abs=1e-6), name
            assert phone.length_s == pytest.approx(float(length), abs=1e-6), name
            assert 0.0 <= phone.confidence <= 1.0 + 1e-6


@pytest.mark.parametrize(("lmwt_scale", "acoustic_scale"), [(1.0, 1.0), (2.0, 1.0), (2.0, 0.5)])
def test_scales(models: Path, golden: Path, lmwt_scale: float, acoustic_scale: float) -> None:
    model = Model.load(
        models / "english:graph-digits",
        frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK,
        lmwt_scale=lmwt_scale,
        acoustic_scale=acoustic_scale,
        inverse_scale=True,
    )
    session = model.session()
    events = session.accept(read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]) + session.finish()
    (final,) = [event for event in events if isinstance(event, Final)]
    best = best_paths(golden / "digits-005" / "best_path.txt")["ps-tidigits-2934z"]
    assert final.hypotheses[0].transcript.split() == best.words
    # Scales choose a little different alignments and i-vectors.
    expected = -(lmwt_scale * best.graph_cost + best.acoustic_cost)
    assert final.hypotheses[0].likelihood == pytest.approx(expected, rel=0.02)


def test_without_word_boundaries_there_are_confidences_but_no_times(
    models: Path, golden: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    (folder / "graph").mkdir(parents=True)
    for name in ("am", "conf", "ivector"):
        (folder / name).symlink_to(models / "english" / name)
    for name in ("HCLG.fst", "words.txt"):
        (folder / "graph" / name).symlink_to(models / "english" / "graph-digits" / name)
    session = Model.load(folder).session()
    events = session.accept(read_wav(golden / "wav" / "ps-cards-001.wav")[1]) + session.finish()
    hypothesis = next(event for event in events if isinstance(event, Final)).hypotheses[0]
    assert hypothesis.words == ()
    assert hypothesis.confidence is not None
    assert 0.0 < hypothesis.confidence <= 1.0


def test_words_of_least_risk(golden: Path, models: Path) -> None:
    model = Model.load(
        models / "english:graph-digits",
        frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK,
        do_endpointing=False,
        decode_mbr=True,
    )
    expected = ctm(golden / "digits-005" / "ctm_mbr_true.txt")
    for name in ("ps-cards-001", "ps-cards-005", "ps-tidigits-2934z"):
        session = model.session()
        events = session.accept(read_wav(golden / "wav" / f"{name}.wav")[1]) + session.finish()
        hypothesis = next(event for event in events if isinstance(event, Final)).hypotheses[0]
        assert hypothesis.transcript.split() == [fields[2] for fields in expected[name]]
        assert [word.word for word in hypothesis.words] == hypothesis.transcript.split()
