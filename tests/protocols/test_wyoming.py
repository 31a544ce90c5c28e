"""What clients of the Wyoming protocol say and hear: framing, fields, and the choice of a model."""

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming_package import wyoming_package

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols import wyoming
from pykaldi_server.protocols.worker import WorkerInfo
from pykaldi_server.protocols.wyoming import (
    AudioChunk,
    AudioFormat,
    AudioStart,
    AudioStop,
    Describe,
    Event,
    EventReader,
    Ping,
    Transcribe,
    parse_client_message,
)

MAX_PAYLOAD_BYTES = 1000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
EVENTS = st.builds(
    Event,
    type=st.text(),
    data=st.dictionaries(st.text(), JSON, max_size=3),
    payload=st.binary(max_size=MAX_PAYLOAD_BYTES),
)
FORMAT: dict[str, Any] = {"rate": 16000, "width": 2, "channels": 1}


def read(data: bytes) -> list[Event]:
    return EventReader(MAX_PAYLOAD_BYTES).feed(data)


def parse(event_type: str, payload: bytes = b"", **data: Any) -> Any:
    return parse_client_message(Event(event_type, data, payload))


@given(st.lists(EVENTS, max_size=4), st.lists(st.integers(0, 5000), max_size=10))
def test_events_come_back_wherever_the_stream_is_cut(events: list[Event], cuts: list[int]) -> None:
    data = b"".join(event.encode() for event in events)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = EventReader(MAX_PAYLOAD_BYTES)
    found = [event for begin, end in pairwise(places) for event in reader.feed(data[begin:end])]
    assert found == events


@given(st.binary(max_size=200))
def test_garbage_is_an_error_or_waits_for_more(data: bytes) -> None:
    with suppress(ProtocolError):
        for event in read(data):
            parse_client_message(event)


@given(st.dictionaries(st.sampled_from(["rate", "width", "channels", "name", "language", "text"]), JSON))
def test_any_fields_are_understood_or_refused(data: dict[str, Any]) -> None:
    for event_type in ("transcribe", "audio-start", "audio-chunk", "ping"):
        with suppress(ProtocolError):
            parse(event_type, **data)


def test_further_data_overlay_those_of_the_line() -> None:
    further = b'{"b": 3, "c": 4}'
    header = {"type": "x", "data": {"a": 1, "b": 2}, "data_length": len(further), "payload_length": 2}
    assert read(json.dumps(header).encode() + b"\n" + further + b"42") == [
        Event("x", {"a": 1, "b": 3, "c": 4}, b"42")
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\n", "the line of an event: expected JSON, found "),
        (b"[1]\n", "the line of an event: expected a JSON object, found"),
        (b"{}\n", "type of an event: expected a text, found None"),
        (b'{"type": "x", "data": [1]}\n', r"data of an event: expected an object, found \[1\]"),
        (b'{"type": "x", "data_length": 2}\n[]', "data of an event: expected a JSON object"),
        (b'{"type": "x", "data_length": -1}\n', "data_length of an event: .* found -1"),
        (b'{"type": "x", "payload_length": 1001}\n', "whole number from 0 to 1000, found 1001"),
        (b'{"type": "x", "payload_length": true}\n', "whole number from 0 to 1000, found True"),
        (b" " * 65536, "the line of an event: expected at most 65536 bytes, found more"),
    ],
)
def test_what_is_no_event_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        read(data)


def test_what_clients_say() -> None:
    assert parse("describe") == Describe()
    assert parse("transcribe") == Transcribe()
    assert parse("transcribe", name="en\n", language="", context={}) == Transcribe("en")
    assert parse("audio-start", **FORMAT, timestamp=0) == AudioStart(AudioFormat(16000, 2, 1))
    assert parse("audio-chunk", b"1234", **FORMAT) == AudioChunk(AudioFormat(16000, 2, 1), b"1234")
    assert parse("audio-stop") == AudioStop()
    assert parse("ping", text="hello") == Ping("hello")
    assert parse("detect", names=["computer"]) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 8}, "width of audio-start: expected a whole number from 1 to 4, found 8"),
        ({"rate": 16000.0}, "rate of audio-start: .* found 16000.0"),
        ({"channels": None}, "channels of audio-start: .* found None"),
    ],
)
def test_impossible_audio_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        parse("audio-start", **{**FORMAT, **change})


def test_bytes_per_sample_as_the_recogniser_names_them() -> None:
    caps = AudioFormat(8000, 3, 2).caps()
    assert caps == (
        "audio/x-raw, layout=(string)interleaved, format=(string)S24LE, channels=(int)2, rate=(int)8000"
    )
    assert "U8" in AudioFormat(8000, 1, 1).caps()


MODELS = [
    WorkerInfo("big", "en-US"),
    WorkerInfo("small", "en-GB"),
    WorkerInfo("eesti", "et"),
    WorkerInfo("x"),
]


def test_the_package_of_the_protocol_understands_the_answers() -> None:
    package = wyoming_package()

    def package_event(event: Event) -> Any:
        (found,) = read(event.encode())
        return package.Event(found.type, found.data, found.payload)

    info = package.Info.from_event(package_event(wyoming.info(MODELS)))
    (program,) = info.asr
    assert program.installed
    assert program.supports_transcript_streaming
    assert [(model.name, model.languages) for model in program.models] == [
        ("big", ["en-US"]),
        ("small", ["en-GB"]),
        ("eesti", ["et"]),
        ("x", []),
    ]
    transcript = package.Transcript.from_event(package_event(wyoming.transcript("tere", "et")))
    assert transcript == package.Transcript("tere", language="et")
    assert package.TranscriptChunk.from_event(package_event(wyoming.transcript_chunk(" õ"))).text == " õ"
    error = package.Error.from_event(package_event(wyoming.error("no", "not-available")))
    assert (error.text, error.code) == ("no", "not-available")
