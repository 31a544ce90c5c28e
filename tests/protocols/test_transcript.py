"""Segments and words, from events."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.transcript import Segment, Transcript, Word

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["word", "start"]), inner),
)


def final(text: str, start_s: float = 0.0, words: list[tuple[str, float, float]] | None = None) -> Any:
    """A final result of five seconds; words have a start and a length in it."""
    alignment = [
        {"word": word, "start": start, "length": length, "confidence": 0.5}
        for word, start, length in words or ()
    ]
    hypothesis = {"transcript": text, "confidence": 0.5, "word-alignment": alignment}
    others = [{"transcript": f"not {text}"}] if text else []
    return {
        "status": 0,
        "segment-start": start_s,
        "segment-length": 5.0,
        "total-length": start_s + 5.0,
        "result": {"hypotheses": [hypothesis, *others], "final": True},
    }


def partial(text: str) -> Any:
    return {"status": 0, "result": {"hypotheses": [{"transcript": text}], "final": False}}


def test_times_of_words_count_from_the_start_of_the_stream() -> None:
    segment = Segment.from_event(final("one two", 10.0, [("one", 0.5, 0.25), ("two", 1.0, 0.5)]))
    assert segment is not None
    assert segment.words == (Word("one", 10.5, 10.75, 0.5), Word("two", 11.0, 11.5, 0.5))
    assert segment.message() == {
        "start": 10.0,
        "end": 15.0,
        "text": "one two",
        "confidence": 0.5,
        "alternatives": ["not one two"],
        "words": [
            {"word": "one", "start": 10.5, "end": 10.75, "confidence": 0.5},
            {"word": "two", "start": 11.0, "end": 11.5, "confidence": 0.5},
        ],
    }


@given(JSON, JSON, JSON, JSON)
def test_what_a_post_processor_has_made_of_a_result_is_read_or_left_out(
    alignment: Any, confidence: Any, start: Any, end: Any
) -> None:
    hypothesis = {"transcript": "one", "confidence": confidence, "word-alignment": alignment}
    event = {
        "segment-start": start,
        "total-length": end,
        "result": {"hypotheses": [hypothesis], "final": True},
    }
    segment = Segment.from_event(event)
    assert segment is not None
    assert segment.text == "one"
    assert segment.message()["words"] == []


def test_a_transcript_keeps_finals_and_the_partial_of_what_has_none() -> None:
    transcript = Transcript()
    for event in (
        partial("one"),
        final("one two"),
        final(""),
        {"status": 0, "result": {"hypotheses": [], "final": True}},
        {"status": 0, "adaptation_state": {"value": "abc"}},
        partial("three"),
    ):
        transcript.add(event)
    assert (transcript.text, transcript.partial) == ("one two", "three")
    transcript.add(final("three four"))
    assert (transcript.text, transcript.partial) == ("one two three four", "")


def test_text_of_a_post_processor_shares_the_time_of_the_words() -> None:
    segment = Segment.from_event(final("12 .", 10.0, [("one", 1.0, 1.0), ("two", 2.0, 2.0)]))
    assert segment is not None
    assert segment.timed_words() == (Word("12", 11.0, 12.5), Word(".", 12.5, 14.0))
    without_words = Segment.from_event(final("one two"))
    assert without_words is not None
    assert without_words.timed_words() == (Word("one", 0.0, 2.5), Word("two", 2.5, 5.0))


def test_segments_of_channels_are_in_the_order_of_speech() -> None:
    transcript = Transcript()
    for channel, text, start_s in ((0, "three", 6.0), (1, "two", 2.0), (0, "four", 9.0)):
        transcript.add({**final(text, 0.0, [(text, start_s, 0.5)]), "channel": channel})
    transcript.add({**partial("five"), "channel": 1})
    transcript.add({**partial("six"), "channel": 0})
    assert [segment.text for segment in transcript.arrived] == ["three", "two", "four"]
    assert [(segment.channel, segment.text) for segment in transcript.segments] == [
        (1, "two"),
        (0, "three"),
        (0, "four"),
    ]
    assert transcript.text == "two three four"
    assert set(transcript.partial.split()) == {"five", "six"}
    assert [segment.message()["channel"] for segment in transcript.segments] == [1, 0, 0]


def test_a_segment_is_read_from_its_message() -> None:
    segment = Segment.from_event(final("one two", 10.0, [("one", 0.5, 0.25), ("two", 1.0, 0.5)]))
    assert segment is not None
    read = Segment.from_message(segment.message())
    assert (read.text, read.start_s, read.end_s) == ("one two", 10.0, 15.0)
    assert read.timed_words() == (Word("one", 10.5, 10.75), Word("two", 11.0, 11.5))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (5, "segment: expected an object, found 5"),
        ({"start": "0"}, "start: expected a time in seconds, found '0'"),
        ({"start": float("nan")}, "start: expected a time in seconds, found nan"),
        ({"text": None}, "text: expected text, found None"),
        ({"words": {}}, "words: expected a list, found {}"),
        ({"words": [{"word": 1}]}, "words: expected objects with word, start and end, found {'word': 1}"),
        ({"words": [{"word": "a", "start": 1}]}, "end: expected a time in seconds, found None"),
        ({"channel": "left"}, "channel: expected a whole number, found 'left'"),
    ],
)
def test_a_message_that_is_no_segment_is_refused_by_name(message: object, error: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{re.escape(error)}$"):
        Segment.from_message(message)
