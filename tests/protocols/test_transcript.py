"""Segments, words and subtitles, from events."""

import itertools
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.protocols.transcript import Segment, Transcript, Word, cues, srt, vtt

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


def test_subtitles() -> None:
    first = Segment.from_event(final("one <two>", 3598.0, [("one", 1.0, 0.5), ("<two>", 1.5, 0.5005)]))
    second = Segment.from_event(final("three & four", 3610.0, [("three", 0, 1), ("&", 1, 1), ("four", 3, 1)]))
    assert first is not None
    assert second is not None
    assert srt([first, second]) == (
        "1\n00:59:59,000 --> 01:00:00,000\none <two>\n\n"
        "2\n01:00:10,000 --> 01:00:12,000\nthree &\n\n"  # a pause follows
        "3\n01:00:13,000 --> 01:00:14,000\nfour\n"
    )
    assert vtt([first]) == "WEBVTT\n\n00:59:59.000 --> 01:00:00.000\none &lt;two&gt;\n"
    assert (srt([]), vtt([])) == ("", "WEBVTT\n")


WORDS = st.lists(
    st.tuples(st.text("abcdefg-", min_size=1, max_size=30), st.floats(0, 2), st.floats(0.01, 3)), min_size=1
)


@given(WORDS)
def test_subtitles_can_be_read_and_lose_no_word(words: list[tuple[str, float, float]]) -> None:
    timed, now_s = [], 0.0
    for text, gap_s, length_s in words:
        timed.append((text, now_s + gap_s, length_s))
        now_s += gap_s + length_s
    segment = Segment.from_event(final(" ".join(text for text, _, _ in timed), 0.0, timed))
    assert segment is not None
    found = list(cues([segment]))
    assert " ".join(cue.text for cue in found).split() == [text for text, _, _ in timed]
    for cue in found:
        assert cue.text.count("\n") <= 1
        assert all(len(line) <= 42 for line in cue.text.split("\n"))
        assert cue.end_s - cue.start_s <= 7.0 or len(cue.text.split()) == 1
    assert all(first.end_s <= second.start_s + 1e-9 for first, second in itertools.pairwise(found))
    assert len(re.findall(r"^\d+:\d\d:\d\d,\d\d\d --> ", srt([segment]), re.MULTILINE)) == len(found)


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


def test_subtitles_name_the_channel() -> None:
    one = Segment("one <two>", 1.0, 2.0, words=(), channel=0)
    other = Segment("three", 0.5, 1.5, channel=1)
    assert srt([one, other]).splitlines() == [
        "1",
        "00:00:00,500 --> 00:00:01,500",
        "Channel 2: three",
        "",
        "2",
        "00:00:01,000 --> 00:00:02,000",
        "Channel 1: one <two>",
    ]
    assert vtt([one, other]).splitlines()[2:] == [
        "00:00:00.500 --> 00:00:01.500",
        "<v Channel 2>three",
        "",
        "00:00:01.000 --> 00:00:02.000",
        "<v Channel 1>one &lt;two&gt;",
    ]
