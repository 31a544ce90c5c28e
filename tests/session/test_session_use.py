"""How a session is used: position, reset, the current partial, leaving it, one thread at a time."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, DecoderError
from pykaldi_server.session import AdaptationState, Event, Final, Model, Partial, Session

Recording = Callable[[str], NDArray[np.float32]]

TWO_NINE = "ps-tidigits-2934z"


def finals_of(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def test_position_is_the_audio_taken(digits: Model) -> None:
    session = digits.session(sample_rate_hz=8000)
    assert (session.num_samples_consumed, session.position_s, session.sample_rate_hz) == (0, 0.0, 8000)
    for count in (1000, 1, 0, 2999):
        session.accept(np.zeros(count, np.float32))
    assert session.num_samples_consumed == 4000
    assert session.position_s == 0.5
    session.reset()
    session.accept(np.zeros(4000, np.float32))
    session.finish()
    assert session.position_s == 1.0


def test_current_partial(any_model: Model, recording: Recording) -> None:
    session = any_model.session(options={"do-endpointing": False, "traceback-period-in-secs": "inf"})
    assert session.partial == Partial(0, "")
    samples = recording(TWO_NINE)
    session.accept(samples)
    partial = session.partial
    assert partial.segment == 0
    assert partial.transcript
    assert session.partial == partial
    (final,) = finals_of(session.finish())
    assert session.partial == Partial(1, "")
    # What is decoded last, and final costs, may change the end.
    assert final.transcript.split()[:2] == partial.transcript.split()[:2]


def test_reset_begins_again(any_model: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)[:-123]
    with any_model.session(options={"do-endpointing": False, "do-adaptation": False}) as session:
        once = finals_of(session.accept(samples) + session.reset())
        assert session.partial == Partial(1, "")
        again = finals_of(session.accept(samples) + session.finish())
    (first,), (second,) = once, again
    assert second.hypotheses == first.hypotheses
    assert (first.segment, second.segment) == (0, 1)
    assert (first.start_s, second.start_s) == (0.0, len(samples) / 16000)
    assert second.length_s == first.length_s
    assert second.end_s == second.start_s + second.length_s


def test_reset_decodes_all_audio_that_came(digits: Model, recording: Recording) -> None:
    """Finalizing a segment leaves the last moments to the next one; a reset does not."""
    samples = recording(TWO_NINE)
    session = digits.session(options={"do-endpointing": False})
    (reset,) = finals_of(session.accept(samples) + session.reset())
    whole = digits.session(options={"do-endpointing": False})
    (expected,) = finals_of(whole.accept(samples) + whole.finish())
    assert reset == expected
    ended = digits.session(options={"do-endpointing": False})
    (cut,) = finals_of(ended.accept(samples) + ended.finalize_segment())
    assert cut.length_s < reset.length_s


def test_reset_keeps_what_was_learned_of_the_speaker(digits: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)
    session = digits.session()
    session.accept(samples)
    session.reset()
    (state,) = [event for event in session.finish() if isinstance(event, AdaptationState)]
    alone = digits.session()
    assert [event for event in alone.accept(samples) + alone.finish() if event == state]


def test_reset_without_audio(digits: Model) -> None:
    session = digits.session()
    assert session.reset() == []
    session.accept(b"\x00")  # half a sample, which is forgotten
    assert session.reset() == []
    session.accept(np.zeros(100, np.int16))
    assert [type(event) for event in session.finish()] == [AdaptationState]


def test_words_have_times_of_the_stream(digits: Model, recording: Recording) -> None:
    samples = recording(TWO_NINE)
    session = digits.session()
    events = session.accept(np.concatenate([samples, np.zeros(16000, np.float32), samples]))
    finals = finals_of(events + session.finish())
    assert len(finals) == 2
    for final in finals:
        best = final.hypotheses[0]
        assert (final.transcript, final.confidence) == (best.transcript, best.confidence)
        assert [word.word for word in final.words] == [word.word for word in best.words]
        for word, inside in zip(final.words, best.words, strict=True):
            assert word.start_s == final.start_s + inside.start_s
            assert final.start_s <= word.start_s < word.end_s <= final.end_s + 0.031


def test_too_little_speech_for_any_basis_matrix(models: Path) -> None:
    model = Model.load(models / "english-gmm", **{"basis.fmllr-min-count": 0})
    session = model.session()
    events = session.accept(np.zeros(1600, np.float32)) + session.finish()
    assert [type(event) for event in events] == [AdaptationState]


def test_leaving_closes(digits: Model) -> None:
    with digits.session() as session:
        session.accept(np.zeros(1600, np.float32))
    uses: list[Callable[[], object]] = [lambda: session.accept(b""), session.reset, session.finish]
    for use in uses:
        with pytest.raises(DecoderError, match="expected a session that goes on, found one that was closed"):
            use()
    assert session.finalize_segment() == []
    assert session.partial == Partial(0, "")
    session.close()


def test_a_finished_session_can_be_left(digits: Model) -> None:
    with digits.session() as session:
        session.finish()
        with pytest.raises(DecoderError, match="finished"):
            session.reset()
    with pytest.raises(DecoderError, match="closed"):
        session.finish()


class SlowAudio:
    """An array that a session has to wait for while it reads it."""

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.may_go_on = threading.Event()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        self.is_read.set()
        assert self.may_go_on.wait(60)
        return np.zeros(1600, np.float32)


def test_one_thread_at_a_time(digits: Model) -> None:
    session, audio = digits.session(), SlowAudio()
    thread = threading.Thread(target=session.accept, args=(audio,))
    thread.start()
    try:
        assert audio.is_read.wait(60)
        uses: list[Callable[[], object]] = [
            lambda: session.accept(np.zeros(10, np.float32)),
            lambda: session.partial,
            session.finalize_segment,
            session.reset,
            session.finish,
            session.close,
        ]
        for use in uses:
            with pytest.raises(DecoderError, match="expected one thread at a time per session"):
                use()
        # These may be read at any time.
        assert (session.position_s, session.sample_rate_hz, session.options.beam) == (0.0, 16000, 13.0)
    finally:
        audio.may_go_on.set()
        thread.join(60)
    assert session.position_s == 0.1
    assert [type(event) for event in session.finish()] == [AdaptationState]


def test_an_error_lets_the_next_call_in(digits: Model) -> None:
    session: Session = digits.session()
    with pytest.raises(AudioError):
        session.accept(np.zeros((2, 2), np.float32))
    assert session.accept(np.zeros(10, np.float32)) == []
