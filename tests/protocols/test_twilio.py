"""The messages of Twilio Media Streams."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.twilio import Digit, Media, Start, Stop, parse_client_message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)
NAMES = ["callSid", "streamSid", "mediaFormat", "customParameters", "track", "payload", "digit", "encoding"]
SIDS = {"callSid": "CA1", "streamSid": "MZ1"}


def parse(event: str, **fields: Any) -> Any:
    return parse_client_message(json.dumps({"event": event, "sequenceNumber": "1", **fields}))


@given(st.sampled_from(["start", "media", "dtmf", "stop"]), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_fields_are_understood_or_refused(event: str, fields: dict[str, Any]) -> None:
    with suppress(ProtocolError):
        parse(event, **{event: fields})


@given(st.text() | st.binary())
def test_garbage_is_refused(message: str | bytes) -> None:
    with suppress(ProtocolError):
        assert parse_client_message(message) is None


@given(st.binary(max_size=200))
def test_samples(data: bytes) -> None:
    payload = base64.b64encode(data).decode()
    assert parse("media", media={"track": "outbound", "payload": payload}) == Media("outbound", data)


def test_what_twilio_says() -> None:
    assert parse("connected", protocol="Call", version="1.0.0") is None
    assert parse("mark", mark={"name": "x"}) is None
    assert parse("stop", stop={"callSid": "CA1"}) == Stop()
    assert parse("dtmf", dtmf={"track": "inbound_track", "digit": "5"}) == Digit("inbound", "5")
    assert parse("media", media={"payload": "AAA="}) == Media("inbound", b"\0\0")
    audio = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {**SIDS, "tracks": ["inbound"], "mediaFormat": audio, "customParameters": {"model": "en"}}
    assert parse("start", start=start) == Start("CA1", "MZ1", parameters={"model": "en"})


def test_parameters_are_those_of_a_request() -> None:
    parameters = {"model": "en", "user-id": "me", "content-id": "c", "options": '{"num-nbest": 3}', "x": 1}
    info = parse("start", start={**SIDS, "customParameters": parameters}).request_info()
    assert info.content_type == (
        "audio/x-raw, layout=(string)interleaved, format=(string)MULAW, channels=(int)1, rate=(int)8000"
    )
    assert (info.model, info.user_id, info.content_id) == ("en", "me", "c")
    assert info.options == {"num-nbest": 3}
    plain = parse("start", start=SIDS).request_info()
    assert (plain.model, plain.user_id, plain.content_id, plain.options) == (None, "none", "CA1", {})


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        ("start", None, "start of start: expected an object, found None"),
        ("start", {"callSid": "CA1"}, "streamSid of start: expected a text, found None"),
        (
            "start",
            {**SIDS, "mediaFormat": {"encoding": "audio/opus"}},
            "expected one of audio/x-mulaw.* found",
        ),
        ("start", {**SIDS, "mediaFormat": {"sampleRate": "8"}}, "sampleRate of start: .* found '8'"),
        ("start", {**SIDS, "customParameters": [1]}, "customParameters of start: expected an object"),
        ("media", {"payload": "A"}, "payload of media: expected base64, found 'A'"),
        ("media", {"track": "inbound"}, "payload of media: expected base64, found None"),
        ("media", {"payload": "AAAA", "track": "both"}, "track: expected inbound or outbound, found 'both'"),
        ("dtmf", {"track": "inbound_track"}, "digit of dtmf: expected a text, found None"),
    ],
)
def test_malformed_messages_are_refused_by_name(event: str, fields: Any, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        parse(event, **{event: fields})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x00\x01", "expected a text, found 2 bytes of binary data"),
        ("EOS", "expected JSON, found 'EOS'"),
        ('{"event": 1}', "event of a message: expected a text, found 1"),
    ],
)
def test_messages_of_other_protocols_are_refused(message: str | bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        parse_client_message(message)


def test_options_that_are_not_json() -> None:
    start = parse("start", start={**SIDS, "customParameters": {"options": "beam=3"}})
    with pytest.raises(ProtocolError, match="the parameter options: expected JSON, found 'beam=3'"):
        start.request_info()
