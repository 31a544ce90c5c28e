"""What options of a request do to the results of a session, on models of every kind."""

import difflib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.session import AdaptationState, AlignedWord, Event, Final, Model, Partial
from pykaldi_server.session.request_options import RequestOptions

Recording = Callable[[str], NDArray[np.float32]]

TWO_NINE = "ps-tidigits-2934z"
STEP_SAMPLES = 1600


def recognise(model: Model, samples: NDArray[np.float32], options: Mapping[str, object]) -> list[Event]:
    """The events of a recording that comes in pieces of a tenth of a second."""
    with model.session(options=options) as session:
        events: list[Event] = []
        for begin in range(0, len(samples), STEP_SAMPLES):
            events += session.accept(samples[begin : begin + STEP_SAMPLES])
        return events + session.finish()


def finals_of(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def partials_of(events: list[Event]) -> list[Partial]:
    return [event for event in events if isinstance(event, Partial)]


def test_nbest(digits: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)
    (one,) = finals_of(recognise(digits, samples, {}))
    (two,) = finals_of(recognise(digits, samples, {"num-nbest": 2}))
    assert len(one.hypotheses) == 1
    assert len(two.hypotheses) == 2
    assert two.hypotheses[0] == one.hypotheses[0]


def test_phones_and_words(digits: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)
    (final,) = finals_of(recognise(digits, samples, {"do-word-alignment": False, "do-phone-alignment": True}))
    assert final.words == ()
    assert final.confidence is None
    assert len(final.hypotheses[0].phones) > len(final.transcript.split()) == 5


def test_words_of_least_risk(models: object, digits: Model, recording: Recording) -> None:
    loaded = Model.load(f"{models}/english:graph-digits", frames_per_chunk=20, decode_mbr=True)
    for name in ("ps-cards-001", "ps-cards-005"):
        samples = recording(name)
        assert recognise(digits, samples, {"decode-mbr": True}) == recognise(loaded, samples, {})


def test_language_model_scale(digits: Model, recording: Recording) -> None:
    samples = recording("ps-cards-001")
    (plain,) = finals_of(recognise(digits, samples, {}))
    (scaled,) = finals_of(recognise(digits, samples, {"lmwt-scale": 2.0}))
    assert scaled.hypotheses[0].likelihood < plain.hypotheses[0].likelihood


def test_endpoint_rules(digits: Model, recording: Recording) -> None:
    samples = np.concatenate([recording(TWO_NINE), np.zeros(16000, np.float32), recording(TWO_NINE)])
    assert len(finals_of(recognise(digits, samples, {}))) == 2
    patient = {f"endpoint-rule{number}-min-trailing-silence": 30.0 for number in range(1, 5)}
    assert len(finals_of(recognise(digits, samples, patient))) == 1
    assert len(finals_of(recognise(digits, samples, {"do-endpointing": "false"}))) == 1


def test_long_segments_end_at_pauses(digits: Model, recording: Recording) -> None:
    """Ends in silence change fewer words than Kaldi's; the rules are applied about every 0.24 s."""
    samples = np.concatenate([recording(TWO_NINE)] * 10)
    (whole,) = finals_of(recognise(digits, samples, {"do-endpointing": False}))
    by_length = {f"endpoint-rule{number}-min-trailing-silence": 30.0 for number in range(1, 5)}

    def num_changed(finals: list[Final]) -> float:
        words, expected = " ".join(final.transcript for final in finals).split(), whole.transcript.split()
        matches = difflib.SequenceMatcher(None, words, expected, autojunk=False).get_matching_blocks()
        return len(words) + len(expected) - 2 * sum(block.size for block in matches)

    of_kaldi, of_pauses = 0.0, 0.0
    for length_s in (3.0, 4.0, 5.0, 7.0):
        rule5 = {**by_length, "endpoint-rule5-min-utterance-length": length_s}
        kaldis = finals_of(recognise(digits, samples, {**rule5, "end-at-pauses": False}))
        assert all(length_s <= final.length_s < length_s + 0.5 for final in kaldis[:-1])
        found = finals_of(recognise(digits, samples, rule5))
        assert len(found) > 1
        assert all(0.85 * length_s <= final.length_s < 1.25 * length_s + 0.5 for final in found[:-1])
        of_kaldi += num_changed(kaldis)
        of_pauses += num_changed(found)
    assert of_pauses < of_kaldi


def test_endpointing_can_be_off_and_segments_be_shorter(any_model: Model, recording: Recording) -> None:
    samples = np.concatenate([recording(TWO_NINE), np.zeros(24000, np.float32), recording(TWO_NINE)])
    (whole,) = finals_of(recognise(any_model, samples, {"do-endpointing": False}))
    assert whole.length_s == pytest.approx(len(samples) / 16000, abs=0.1)
    short = recognise(any_model, samples, {"do-endpointing": False, "max-segment-length-in-secs": 1.5})
    assert len(finals_of(short)) >= 2  # a segment without words has no result
    assert all(final.length_s < 2.5 for final in finals_of(short))


def test_segments_of_few_words_end_in_silence_where_there_is_some(
    digits: Model, recording: Recording
) -> None:
    """The words of the recording are two, nine, three, four, zero, with little silence between them."""
    samples = np.concatenate([recording(TWO_NINE)] * 4)
    endless = {"do-endpointing": False}
    (whole,) = finals_of(recognise(digits, samples, endless))
    assert len(whole.transcript.split()) == 20
    patient = {f"endpoint-rule{number}-min-trailing-silence": 30.0 for number in range(1, 5)}
    for others in (endless, patient):
        few = finals_of(recognise(digits, samples, {**others, "max-segment-words": 11}))
        assert len(few) == 2
        assert all(len(final.transcript.split()) <= 12 for final in few)
    assert " ".join(final.transcript for final in few) == whole.transcript  # cut in silence


@pytest.mark.parametrize("period_s", ["inf", 5.0])
def test_words_are_counted_however_seldom_partial_results_come(
    digits: Model, recording: Recording, period_s: object
) -> None:
    samples = np.concatenate([recording(TWO_NINE)] * 4)
    few: dict[str, object] = {"do-endpointing": False, "max-segment-words": 3}
    expected = finals_of(recognise(digits, samples, few))
    assert len(expected) > 4
    assert finals_of(recognise(digits, samples, {**few, "traceback-period-in-secs": period_s})) == expected


def test_partial_period(digits: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)
    often = partials_of(recognise(digits, samples, {"traceback-period-in-secs": 0.05}))
    seldom = partials_of(recognise(digits, samples, {"traceback-period-in-secs": 1.0}))
    assert 0 < len(seldom) < len(often)
    assert partials_of(recognise(digits, samples, {"traceback-period-in-secs": "inf"})) == []


def test_stable_prefixes_stay(any_model: Model, recording: Recording) -> None:
    samples = np.concatenate([recording(TWO_NINE), np.zeros(16000, np.float32), recording("ps-cards-001")])
    events = recognise(any_model, samples, {"traceback-period-in-secs": 0.05})
    stable = ""
    segment = -1
    for partial in partials_of(events):
        stable = stable if partial.segment == segment else ""
        segment = partial.segment
        assert f"{partial.stable_prefix} ".startswith(stable)
        assert f"{partial.transcript} ".startswith(f"{partial.stable_prefix} ".lstrip())
        stable = partial.stable_prefix
    longest = {partial.segment: partial.stable_prefix for partial in partials_of(events)}
    finals = finals_of(events)
    assert all(f"{final.transcript} ".startswith(longest.get(final.segment, "")) for final in finals)
    # A good part of the words is stable before the segment ends.
    assert len(longest[0].split()) >= len(finals[0].transcript.split()) // 3 > 0


def test_final_prefixes_are_those_of_final_results(any_model: Model, recording: Recording) -> None:
    samples = np.concatenate([recording(TWO_NINE), np.zeros(16000, np.float32), recording("ps-cards-001")])
    events = recognise(any_model, samples, {"traceback-period-in-secs": 0.05})
    finals = {final.segment: f"{final.transcript} " for final in finals_of(events)}
    for partial in partials_of(events):
        if partial.final_prefix:
            assert finals[partial.segment].startswith(f"{partial.final_prefix} ")
    with any_model.session() as session:
        is_rescored = session._parts.acoustics.rescores_segments
    kept = {partial.final_prefix for partial in partials_of(events) if partial.stable_prefix}
    assert (kept == {""}) == is_rescored


@pytest.mark.parametrize("options", [{"decode-mbr": True}, {"lmwt-scale": 0.9}])
def test_words_that_are_weighed_again_promise_nothing(
    digits: Model, recording: Recording, options: Mapping[str, object]
) -> None:
    partials = partials_of(recognise(digits, recording(TWO_NINE), options))
    assert any(partial.stable_prefix for partial in partials)
    assert not any(partial.final_prefix for partial in partials)


def test_words_that_a_larger_language_model_weighs_again_promise_nothing(
    models: Path, recording: Recording
) -> None:
    english = Model.load(models / "english")
    with english.session() as session:
        assert session._parts.rescorer is not None
    partials = partials_of(recognise(english, recording("ps-librivox-0870"), {}))
    assert any(partial.stable_prefix for partial in partials)
    assert not any(partial.final_prefix for partial in partials)


def test_a_narrow_search_is_narrow(any_model: Model, recording: Recording) -> None:
    samples = recording("ps-cards-001")
    searches = []
    for options in ({}, {"beam": 1.0, "max-active": 50, "lattice-beam": 0.005}):
        with any_model.session(options=options) as session:
            session.accept(samples)
            assert session.options.beam == session._stream.decoder.get_options().beam
            searches.append(session._stream.decoder.statistics().num_tokens)
    assert searches[1] < searches[0] or any_model.name == "nnet2"  # whose graph has one state


@pytest.mark.parametrize("models_words", ["some", "none"])
def test_partial_words(models_words: str, any_model: Model, recording: Recording) -> None:
    has_words = any_model.word_aligner is not None
    if has_words != (models_words == "some"):
        return
    samples = np.concatenate([recording(TWO_NINE), np.zeros(16000, np.float32), recording(TWO_NINE)])
    plain = recognise(any_model, samples, {})
    events = recognise(any_model, samples, {"partial-words": True})
    assert [p.transcript for p in partials_of(events)] == [p.transcript for p in partials_of(plain)]
    assert all(p.words == () for p in partials_of(plain))
    finals = finals_of(events)
    assert finals == finals_of(plain)
    if not has_words:
        assert all(p.words == () for p in partials_of(events))
        return
    for partial in partials_of(events):
        assert " ".join(word.word for word in partial.words) == partial.transcript
        start_s = finals[partial.segment].start_s
        assert_in_order(partial.words, start_s)
        assert all(0.0 < word.confidence <= 1.0 for word in partial.words)
    last = [partial for partial in partials_of(events) if partial.segment == 1][-1]
    for word, final_word in zip(last.words, finals[1].words, strict=False):
        assert word.word == final_word.word
        assert word.start_s == pytest.approx(final_word.start_s, abs=0.1)


def assert_in_order(words: tuple[AlignedWord, ...], start_s: float) -> None:
    for word in words:
        assert word.start_s >= start_s - 0.031
        assert word.end_s == word.start_s + word.length_s
        start_s = word.end_s


def partial_positions(
    model: Model, samples: NDArray[np.float32], options: Mapping[str, object]
) -> list[float]:
    """How much audio had been taken when each partial result came."""
    found = []
    with model.session(options=options) as session:
        for begin in range(0, len(samples), 800):
            if partials_of(session.accept(samples[begin : begin + 800])):
                found.append(session.position_s)
    return found


def test_partial_words_come_less_often_in_long_segments(digits: Model, recording: Recording) -> None:
    """Each costs time in proportion to the segment's length, so all together must not be quadratic."""
    samples = np.tile(recording(TWO_NINE), 12)
    options = {"do-endpointing": False, "traceback-period-in-secs": 0.05}
    plain = partial_positions(digits, samples, options)
    with_words = partial_positions(digits, samples, {**options, "partial-words": True})
    assert is_dense(plain)
    assert not is_dense(with_words)
    assert with_words[-1] > 25.0


def is_dense(positions_s: list[float]) -> bool:
    """Whether partial results come within less than a fiftieth of the audio so far, and a network's block."""
    return any(later - earlier < 0.02 * earlier - 0.25 for earlier, later in itertools.pairwise(positions_s))


def test_without_adaptation_nothing_is_learned(any_model: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)
    adapting = any_model.session()
    adapting.accept(samples)
    state = [event for event in adapting.finish() if isinstance(event, AdaptationState)]
    events = recognise(any_model, samples, {"do-adaptation": False})
    assert not any(isinstance(event, AdaptationState) for event in events)
    # A state of the speaker is not used either.
    with any_model.session(
        state[0].value if state else None, options=RequestOptions(do_adaptation=False)
    ) as session:
        assert session.accept(samples) + session.finish() == events


def test_gmm_without_adaptation_estimates_no_transform(models: object, recording: Recording) -> None:
    model = Model.load(f"{models}/english-gmm")
    samples = recording(TWO_NINE)
    (adapted,) = finals_of(recognise(model, samples, {"do-endpointing": False}))
    with model.session(options={"do-adaptation": False, "do-endpointing": False}) as session:
        events = session.accept(samples)
        assert not session._stream._utterance.have_transform()  # type: ignore[attr-defined]
        (plain,) = finals_of(events + session.finish())
    assert plain.transcript == adapted.transcript
    assert plain.hypotheses[0].likelihood != adapted.hypotheses[0].likelihood
