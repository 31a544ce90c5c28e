"""Sessions of OpenAI's realtime API: what is said to clients, whatever they and the recogniser say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from realtime_events import (
    CLEAR,
    COMMIT,
    Event,
    append,
    check_event,
    check_events,
    deltas_of,
    transcripts_of,
    types_of,
    update,
)

from pykaldi_server.protocols.messages import Status, message_bytes
from pykaldi_server.protocols.openai import RequestError
from pykaldi_server.protocols.realtime import MAX_AUDIO_BYTES, Dialogue
from pykaldi_server.protocols.realtime_settings import Settings
from pykaldi_server.protocols.worker import Position

SECOND = bytes(48_000)
RESET = '{"reset": true}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)


def choose_model(name: str, language: str) -> str | None:
    """The server of these tests has the model "english", of the language "en"."""
    if name not in ("", "english", "whisper-1"):
        raise RequestError(f"there is no model {name!r}", "model", "model_not_found")
    if language not in ("", "en"):
        raise RequestError(f"there is no model for language {language!r}", "language", "invalid_language")
    return "english" if name == "english" else None


class Session:
    """A dialogue, and a recogniser that a test speaks for."""

    def __init__(self, is_beta: bool = False, settings: Settings | None = None) -> None:
        self.dialogue = Dialogue(settings or Settings.default(), choose_model, is_beta)
        self.is_beta = is_beta
        self.sent: list[str | bytes] = []
        self.events: list[Event] = []
        self.dialogue.begin()
        self.new()

    def new(self) -> list[Event]:
        """The events since the last call."""
        new: list[Event] = [json.loads(each) for each in self.dialogue.replies()]
        self.events += new
        check_events(self.events, self.is_beta)
        return new

    def say(self, *messages: Event | str | bytes) -> list[Event]:
        """The client sends messages; returns what it hears at once."""
        for each in messages:
            self.sent += self.dialogue.receive(json.dumps(each) if isinstance(each, dict) else each)
        return self.new()

    def partial(self, text: str, final_prefix: str = "") -> list[Event]:
        hypothesis = {"transcript": text, "stable-prefix": text, "final-prefix": final_prefix}
        self.dialogue.hear({"status": 0, "result": {"hypotheses": [hypothesis], "final": False}})
        return self.new()

    def final(self, text: str, start_s: float, end_s: float, **hypothesis: Any) -> list[Event]:
        hypothesis = {"transcript": text, **hypothesis}
        event = {"status": 0, "segment-start": start_s, "total-length": end_s}
        self.dialogue.hear({**event, "result": {"hypotheses": [hypothesis], "final": True}})
        return self.new()

    def consumed(self, num_messages: int | None = None, audio_s: float = 0.0) -> list[Event]:
        """The recogniser has processed some of the messages; None stands for all of them."""
        num_bytes = sum(map(message_bytes, self.sent[:num_messages]))
        self.dialogue.consumed(Position(num_bytes, audio_s))
        return self.new()


def manual() -> Session:
    """A session without turn detection."""
    session = Session()
    session.say(update(turn_detection=None))
    return session


def error_of(events: list[Event]) -> dict[str, Any]:
    (event,) = events
    assert event["type"] == "error"
    error: dict[str, Any] = event["error"]
    return error


def test_a_session_begins_with_its_settings() -> None:
    (created,) = Session().events
    assert created["type"] == "session.created"
    assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    (created,) = Session(is_beta=True).events
    assert created["type"] == "transcription_session.created"
    assert created["session"]["input_audio_format"] == "pcm16"


def test_turns_that_the_recogniser_finds() -> None:
    session = Session()
    assert session.say(append(SECOND * 3)) == []
    session.consumed(audio_s=1.5)
    started, delta = session.partial("one two", "one")
    assert (started["type"], started["audio_start_ms"]) == ("input_audio_buffer.speech_started", 900)
    assert delta["delta"] == "one"
    assert session.partial("one two three", "one") == []
    assert deltas_of(session.partial("one two three", "one two"), started["item_id"]) == [" two"]
    events = session.final("one two four", 0.0, 2.5)
    assert types_of(events) == [
        "delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "completed",
    ]
    assert {event.get("item_id", started["item_id"]) for event in events} == {started["item_id"]}
    assert events[1]["audio_end_ms"] == 2500
    assert events[-1]["usage"] == {"type": "duration", "seconds": 2.5}

    word = {"word": "five", "start": 0.4, "length": 0.1, "confidence": 1.0}
    events = session.final("five", 2.5, 3.0, **{"word-alignment": [word]})  # without any partial result
    assert types_of(events)[0] == "input_audio_buffer.speech_started"
    assert events[0]["audio_start_ms"] == 2600
    assert events[-1]["usage"]["seconds"] == 0.5
    assert transcripts_of(session.events) == ["one two four", "five"]
    assert session.sent == [SECOND * 3]


def test_the_events_of_the_beta() -> None:
    session = Session(is_beta=True)
    flat = {"type": "transcription_session.update", "session": {"input_audio_format": "g711_ulaw"}}
    (updated,) = session.say(flat)
    assert (updated["type"], updated["session"]["input_audio_format"]) == (
        "transcription_session.updated",
        "g711_ulaw",
    )
    session.say(append(bytes(8000)))
    session.consumed(audio_s=1.0)
    assert types_of(session.final("one", 0.0, 1.0)) == [
        "input_audio_buffer.speech_started",
        "delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "completed",
    ]


def test_what_is_committed_is_one_item_however_many_segments_it_has() -> None:
    session = manual()
    session.say(append(SECOND))
    (delta,) = session.partial("one", "one")
    session.say(append(SECOND))
    session.final("one two", 0.0, 0.9)
    events = session.say(COMMIT, append(SECOND))
    assert types_of(events) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert events[0]["item_id"] == delta["item_id"]
    assert session.sent == [SECOND, SECOND, RESET, SECOND]
    session.consumed(2)
    session.final("three", 0.9, 2.0)  # the reset's
    (completed,) = session.consumed(3)
    assert completed["transcript"] == "one two three"
    assert completed["usage"]["seconds"] == 2.0
    assert deltas_of(session.events, delta["item_id"]) == ["one", " two", " three"]
    session.say(COMMIT)
    (completed,) = session.consumed()
    assert completed["transcript"] == ""
    assert completed["item_id"] != delta["item_id"]


def test_commits_that_wait_complete_in_order() -> None:
    session = manual()
    session.say(append(SECOND), COMMIT, append(SECOND), COMMIT, append(SECOND), COMMIT)
    session.final("one", 0.0, 1.0)
    session.consumed(2)
    session.final("three", 2.0, 3.0)
    session.consumed()
    assert transcripts_of(session.events) == ["one", "three", ""]


def test_a_commit_ends_the_turn_and_those_before_it_stay_turns() -> None:
    session = Session()
    session.say(append(SECOND))
    session.partial("one")
    assert session.say(append(SECOND), COMMIT) == []
    session.final("one", 0.0, 0.8)  # whose end the recogniser had found before it came to the commit
    (started, _) = session.partial("two", "two")
    assert types_of(session.final("two four", 0.8, 1.98)) == ["delta"]
    events = session.consumed()
    assert types_of(events) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "completed",
    ]
    assert events[0]["item_id"] == started["item_id"]
    assert events[-1]["usage"]["seconds"] == 1.2
    assert transcripts_of(session.events) == ["one", "two four"]
    session.say(append(SECOND), COMMIT)
    assert transcripts_of(session.consumed()) == [""]


def test_a_turn_whose_words_a_post_processor_takes_away_ends_too() -> None:
    session = Session()
    session.say(append(SECOND))
    assert session.final("", 0.0, 0.5) == []  # of which the client knows nothing
    session.partial("hm")
    session.consumed(audio_s=0.8)
    events = session.final("", 0.0, 0.9)
    assert events[0]["type"] == "input_audio_buffer.speech_stopped"
    assert events[0]["audio_end_ms"] == 800
    assert transcripts_of(events) == [""]
    session.final("one", 0.9, 1.0)
    assert transcripts_of(session.events) == ["", "one"]


def test_commits_of_both_kinds_are_answered_in_order() -> None:
    session = Session()
    session.say(append(SECOND), COMMIT, update(turn_detection=None), append(SECOND))
    assert session.say(COMMIT) == []  # the one before has not been answered
    session.say(append(SECOND), update(turn_detection={"type": "server_vad"}), COMMIT)
    session.consumed(2)
    session.final("two", 1.0, 2.0)
    session.consumed(4)
    session.final("three", 2.0, 2.5)
    session.consumed()
    assert transcripts_of(session.events) == ["", "two", "three", ""]


def test_there_must_be_audio_to_commit() -> None:
    session = Session()
    error = error_of(session.say({**COMMIT, "event_id": "mine"}))
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
    session.say(append(SECOND), COMMIT)
    assert error_of(session.say(COMMIT))["code"] == "input_audio_buffer_commit_empty"
    session.say(append(SECOND), CLEAR)
    assert error_of(session.say(COMMIT))["code"] == "input_audio_buffer_commit_empty"
    session.say(append(b""))
    assert error_of(session.say(COMMIT))["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("session", [Session, manual])
def test_words_of_audio_that_was_cleared_are_dropped(session: Any) -> None:
    session = session()
    session.say(append(SECOND), COMMIT, append(SECOND))
    assert types_of(session.say(CLEAR, CLEAR)) == ["input_audio_buffer.cleared"] * 2
    session.say(append(SECOND))
    assert session.sent.count(RESET) == 2
    session.final("one", 0.0, 1.0)
    session.consumed(2)
    assert transcripts_of(session.events) == ["one"]
    session.partial("two", "two")
    session.final("two", 1.0, 2.0)
    assert session.consumed(4) == []
    session.say(COMMIT)
    session.final("three", 2.0, 3.0)
    session.consumed()
    assert [text for text in transcripts_of(session.events) if text] == ["one", "three"]


def test_half_a_sample_does_not_shift_what_comes_after_a_commit() -> None:
    session = manual()
    session.say(append(bytes(999)), COMMIT, append(bytes(2)))
    assert session.sent == [bytes(999), b"\0", RESET, bytes(2)]
    assert len(transcripts_of(session.consumed(3))) == 1


def test_samples_that_read_like_the_end_of_the_stream() -> None:
    session = Session()
    session.say(append(b"EOS"))
    assert session.sent == [b"E", b"OS"]


def test_turn_detection_may_change_at_any_time() -> None:
    session = Session()
    session.say(append(SECOND), update(turn_detection=None))
    session.final("one", 0.0, 1.0)
    assert transcripts_of(session.events) == []
    session.say(update(turn_detection={"type": "server_vad"}))
    session.final("two", 1.0, 2.0)
    assert transcripts_of(session.events) == ["one two"]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"format": {"type": "audio/pcmu"}}, "session.audio.input.format.type"),
        ({"transcription": {"model": "english"}}, "session.audio.input.transcription.model"),
        (
            {"turn_detection": {"type": "server_vad", "silence_duration_ms": 700}},
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
    ],
)
def test_what_the_recogniser_was_started_with_stays(changes: Event, param: str) -> None:
    session = Session()
    before = session.dialogue.settings
    session.say(append(SECOND))
    error = error_of(session.say(update(**changes)))
    assert error["param"] == param
    assert "because audio has come already" in error["message"]
    assert session.dialogue.settings == before
    assert types_of(session.say(update(turn_detection={"threshold": 0.2}))) == ["session.updated"]


def test_a_final_result_that_breaks_its_promise_is_still_the_transcript() -> None:
    session = Session()
    session.say(append(SECOND))
    session.partial("one two", "one two")
    session.dialogue.hear(
        {"status": 0, "result": {"hypotheses": [{"transcript": "one three"}], "final": True}}
    )
    events = [json.loads(each) for each in session.dialogue.replies()]
    assert transcripts_of(events) == ["one three"]


def test_probabilities_of_words() -> None:
    session = Session()
    words = [
        {"word": "naïve", "start": 0.0, "length": 0.5, "confidence": 1.0},
        {"word": "two", "start": 0.5, "length": 0.5, "confidence": 0.5},
    ]
    session.say(append(SECOND))
    completed = session.final("naïve two", 0.0, 1.0, **{"word-alignment": words})[-1]
    assert "logprobs" not in completed
    include = ["item.input_audio_transcription.logprobs"]
    session.say({"type": "session.update", "session": {"type": "transcription", "include": include}})
    completed = session.final("naïve two", 1.0, 2.0, **{"word-alignment": words})[-1]
    first, second = completed["logprobs"]
    assert (first["token"], first["logprob"]) == ("naïve", 0.0)
    assert (second["token"], second["logprob"]) == (" two", pytest.approx(-0.693, abs=0.001))
    assert bytes(first["bytes"] + second["bytes"]).decode() == "naïve two"
    completed = session.final("changed", 2.0, 3.0, **{"word-alignment": words})[-1]
    assert "logprobs" not in completed


def test_a_recogniser_that_is_lost_fails_what_is_not_complete() -> None:
    session = manual()
    session.say(append(SECOND), COMMIT, append(SECOND), CLEAR, append(SECOND))
    session.consumed()
    committed = session.say(COMMIT, append(SECOND), CLEAR, append(SECOND), COMMIT, append(SECOND))
    session.dialogue.fail(Status.ABORTED, "lost")
    *failed, error = session.new()
    assert types_of(failed) == ["failed", "failed"]
    ids = [event["item_id"] for event in committed if event["type"].endswith(".committed")]
    assert [event["item_id"] for event in failed] == ids
    assert {event["error"]["message"] for event in (*failed, error)} == {"lost"}
    assert error["error"]["type"] == "server_error"


def test_speech_that_is_not_committed_fails_too() -> None:
    session = Session()
    session.say(append(SECOND))
    (started,) = session.partial("one")
    session.dialogue.fail(Status.AUDIO_CAPTURE, "no audio")
    failed, error = session.new()
    assert failed["item_id"] == started["item_id"]
    assert error["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("message", "param", "text"),
    [
        ("{", None, "an event: expected JSON, found '{'"),
        ("[1]", None, "expected a JSON object"),
        (b"{}", None, "expected a text, found 2 bytes of binary data"),
        ({}, "type", "found None"),
        ({"type": "audio.append"}, "type", "expected one of session.update"),
        ({"type": ["x"]}, "type", "expected one of session.update"),
        ({"type": "response.create"}, "type", "holds no conversation; response.create is not served"),
        ({"type": "conversation.item.create"}, "type", "holds no conversation"),
        ({"type": "input_audio_buffer.append"}, "audio", "audio: expected base64, found None"),
        ({"type": "input_audio_buffer.append", "audio": "###"}, "audio", "found '###'"),
        ({"type": "input_audio_buffer.append", "audio": "ö"}, "audio", "expected base64, found 'ö'"),
        ({"type": "input_audio_buffer.append", "audio": "AAA"}, "audio", "expected base64"),
        ({**COMMIT, "event_id": 5}, "event_id", "event_id: expected a text"),
        ({**COMMIT, "event_id": "x" * 513}, "event_id", "at most 512 characters"),
        ({"type": "session.update"}, "session", "session: expected an object, found None"),
    ],
)
def test_what_is_not_understood_is_an_error_and_the_session_goes_on(
    message: Any, param: str | None, text: str
) -> None:
    session = Session()
    error = error_of(session.say(message))
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert text in error["message"]
    session.say(append(SECOND))
    session.final("one", 0.0, 1.0)
    assert transcripts_of(session.events) == ["one"]


def test_events_with_audio_are_bounded() -> None:
    session = Session()
    assert session.say(append(bytes(MAX_AUDIO_BYTES))) == []
    error = error_of(session.say(append(bytes(MAX_AUDIO_BYTES + 1), event_id="big")))
    assert (error["code"], error["event_id"]) == ("audio_too_large", "big")


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_garbage_is_answered_by_an_error(message: str | bytes) -> None:
    assert Session().say(message)[0]["type"] == "error"


FIELDS = ["audio", "event_id", "session", "item", "type"]


@given(
    st.sampled_from(["session.update", "transcription_session.update", "input_audio_buffer.append", "x"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
)
def test_any_fields_are_understood_or_refused(kind: str, fields: Event) -> None:
    for event in Session().say(json.dumps({**fields, "type": kind})):
        check_event(event)


STEPS = st.lists(
    st.sampled_from(["audio", "commit", "clear", "partial", "final", "consumed", "manual", "vad"]),
    max_size=30,
)


@given(STEPS)
def test_every_commit_is_completed_exactly_once_and_in_order(steps: list[str]) -> None:
    """And deltas join to transcripts, whatever client and recogniser do (see `check_events`)."""
    session = Session()
    clock_s = 0.0
    for number, step in enumerate(steps):
        match step:
            case "audio":
                session.say(append(SECOND))
                clock_s += 1.0
            case "commit":
                session.say(COMMIT)
            case "clear":
                session.say(CLEAR)
            case "partial":
                session.partial(f"w{number}")
            case "final":
                session.final(f"w{number}", 0.0, clock_s)
            case "consumed":
                session.consumed(len(session.sent) // 2)
            case "manual":
                session.say(update(turn_detection=None))
            case "vad":
                session.say(update(turn_detection={"type": "server_vad"}))
    session.consumed()
    committed = [event["item_id"] for event in session.events if event["type"].endswith(".committed")]
    completed = [event["item_id"] for event in session.events if event["type"].endswith(".completed")]
    assert committed == completed
