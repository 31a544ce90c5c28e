"""The protocol without a socket: every message, both ways, and what strangers may send instead."""

import contextlib
import json
import math
import zlib
from base64 import b64decode, b64encode, encodebytes
from random import Random
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from pykaldi_server.errors import AdaptationStateError, ProtocolError
from pykaldi_server.protocols import gstreamer as protocol
from pykaldi_server.protocols.gstreamer import (
    Audio,
    EndOfStream,
    Finalize,
    KeepAlive,
    RequestInfo,
    SetAdaptationState,
)
from pykaldi_server.protocols.messages import MAX_FIELD_CHARACTERS, Status, dumps

CAPS = "audio/x-raw, layout=(string)interleaved, rate=(int)16000, format=(string)S16LE, channels=(int)1"


def test_status_codes_are_the_published_ones() -> None:
    assert {status.name: status.value for status in Status} == {
        "SUCCESS": 0,
        "NO_SPEECH": 1,
        "ABORTED": 2,
        "AUDIO_CAPTURE": 3,
        "NETWORK": 4,
        "NOT_ALLOWED": 5,
        "SERVICE_NOT_ALLOWED": 6,
        "BAD_GRAMMAR": 7,
        "LANGUAGE_NOT_SUPPORTED": 8,
        "NOT_AVAILABLE": 9,
    }


# Requests


def test_query_of_a_client() -> None:
    query = f"content-type={quote_plus(CAPS)}&user-id=anna&content-id=42&model=english"
    info = RequestInfo.from_query(query)
    assert (info.content_type, info.user_id, info.content_id, info.model) == (CAPS, "anna", "42", "english")


def test_query_as_the_original_documents_it() -> None:
    """Its README escapes spaces only."""
    query = "content-type=" + CAPS.replace(" ", "+").replace("16000", "44100")
    assert RequestInfo.from_query(query).content_type == CAPS.replace("16000", "44100")


@pytest.mark.parametrize("query", ["", "content-type=", "content-type=&user-id=&content-id=&model="])
def test_empty_query_gives_defaults(query: str) -> None:
    info = RequestInfo.from_query(query)
    assert (info.content_type, info.user_id, info.content_id, info.model) == (None, "none", "none", None)


def test_each_request_has_its_own_id() -> None:
    assert RequestInfo.from_query("").id != RequestInfo.from_query("").id


def test_ids_cannot_forge_log_lines() -> None:
    info = RequestInfo.from_query("user-id=a%0A2026-01-01+INFO+forged%00&content-id=" + "x" * 10_000)
    assert info.user_id == "a2026-01-01 INFO forged"
    assert len(info.content_id) == MAX_FIELD_CHARACTERS


@given(st.text())
@example("channel")
def test_any_query_is_understood_or_ignored_or_nearly_an_option(query: str) -> None:
    with contextlib.suppress(ProtocolError):
        RequestInfo.from_query(query)


def test_headers_of_an_upload() -> None:
    headers = HTTPHeaders({"Content-Type": "audio/x-wav", "device-id": "phone", "content-id": "42"})
    info = RequestInfo.from_http(headers, "model=english")
    assert (info.content_type, info.user_id, info.content_id, info.model) == (
        "audio/x-wav",
        "phone",
        "42",
        "english",
    )
    assert RequestInfo.from_http(HTTPHeaders({"User-Id": "anna"}), "").user_id == "anna"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_ids_in_headers_may_have_any_letters(encoding: str) -> None:
    """Tornado takes the bytes of a header for Latin-1."""
    ids = []
    for name in ("Jüri", "Jõri", "Jri"):
        headers = HTTPHeaders({"User-Id": name.encode(encoding).decode("latin-1"), "Content-Id": "ö"})
        ids.append(RequestInfo.from_http(headers, "").user_id)
    assert ids == ["Jüri", "Jõri", "Jri"]


def test_options_in_an_address() -> None:
    query = "options=" + quote_plus('{"num_nbest": 3}')
    assert RequestInfo.from_query(query).options == {"num-nbest": 3}
    assert RequestInfo.from_http(HTTPHeaders(), query).options == {"num-nbest": 3}
    with pytest.raises(ProtocolError, match="options in the address: expected a JSON object, found 3"):
        RequestInfo.from_query("options=3")


@pytest.mark.parametrize(
    ("header", "caps"),
    [
        ("", None),
        ("application/x-www-form-urlencoded", None),
        ("application/x-www-form-urlencoded; charset=UTF-8", None),
        ("audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
        (
            "audio/x-raw-int; rate=8000",
            "audio/x-raw, layout=interleaved, rate=8000, format=S16LE, channels=1",
        ),
        (
            "Audio/X-Raw,format=F32LE, channels = 2;nonsense",
            "audio/x-raw, layout=interleaved, rate=16000, format=F32LE, channels=2",
        ),
        (
            'audio/x-raw-int, endianness=(int)1234, width=(int) 16, depth="16", signed=TRUE',
            "audio/x-raw, layout=interleaved, rate=16000, format=S16LE, channels=1, "
            'endianness=(int)1234, width=(int) 16, depth="16", signed=TRUE',
        ),
        (
            "audio/x-raw-int; rate=8000; width=8; signed=false",
            "audio/x-raw, layout=interleaved, rate=8000, channels=1, width=8, signed=false",
        ),
        (
            "audio/x-raw-int; endianness=(int)4321",
            "audio/x-raw, layout=interleaved, rate=16000, channels=1, endianness=(int)4321",
        ),
    ],
)
def test_content_type_header_becomes_caps(header: str, caps: str | None) -> None:
    assert protocol.caps_from_http(header) == caps


# Messages of clients


@pytest.mark.parametrize("message", ["EOS", b"EOS", "EOS\n", " EOS "])
def test_end_of_stream_is_text_or_binary(message: str | bytes) -> None:
    assert protocol.parse_client_message(message) == EndOfStream()


@pytest.mark.parametrize("data", [b"", b"EOS\n", b"eos", b"EOSEOS", b'{"finalize": true}', bytes(1000)])
def test_other_binary_messages_are_audio(data: bytes) -> None:
    assert protocol.parse_client_message(data) == Audio(data)


def test_control_messages() -> None:
    assert protocol.parse_client_message('{"finalize": true}') == Finalize()
    assert protocol.parse_client_message('{"keepalive": true}') == KeepAlive()
    state = {"type": "string+gzip+base64", "value": "abc", "time": "2014-11-14T11:08:49"}
    assert protocol.parse_client_message(json.dumps({"adaptation_state": state})) == SetAdaptationState(state)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "EOSEOS",
        "7",
        "[]",
        "null",
        "{}",
        '{"finalize": 1}',
        '{"adaptation_state": "x"}',
        '{"x": NaN',
    ],
)
def test_unknown_text_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_client_message(text)


@given(st.text())
def test_text_is_a_message_or_a_protocol_error(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        protocol.parse_client_message(text)


def test_errors_quote_little_of_what_came() -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.parse_client_message("x" * 1_000_000)
    assert len(str(caught.value)) < 200


# Adaptation state


@given(st.text())
def test_adaptation_state_survives_the_trip(text: str) -> None:
    value = protocol.encode_adaptation_state(text)
    assert protocol.decode_adaptation_state({"type": "string+gzip+base64", "value": value}) == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_adaptation_state_may_have_line_ends(line_end: str) -> None:
    text = " ".join(map(str, range(1000)))
    lines = encodebytes(zlib.compress(text.encode())).decode("ascii").splitlines()
    assert len(lines) > 10
    properties = {"type": "string+gzip+base64", "value": line_end.join(lines) + line_end}
    assert protocol.decode_adaptation_state(properties) == text


def test_adaptation_state_is_zlib_in_base64() -> None:
    assert zlib.decompress(b64decode(protocol.encode_adaptation_state("abc"))) == b"abc"


def test_adaptation_state_that_can_hardly_be_packed() -> None:
    text = Random(1).randbytes(1 << 20).hex()
    value = protocol.encode_adaptation_state(text)
    assert len(value) > 1 << 20
    assert protocol.decode_adaptation_state({"type": "string+gzip+base64", "value": value}) == text
    cut = {"type": "string+gzip+base64", "value": value[: 3 << 18]}
    with pytest.raises(AdaptationStateError, match="expected a whole zlib stream"):
        protocol.decode_adaptation_state(cut)


def packed(data: bytes) -> str:
    return b64encode(data).decode()


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"type": "string+gzip+base64"},
        {"type": "string+gzip+base64", "value": 7},
        {"type": "binary", "value": packed(zlib.compress(b"abc"))},
        {"type": "string+gzip+base64", "value": "not base64!"},
        {"type": "string+gzip+base64", "value": "é"},
        {"type": "string+gzip+base64", "value": packed(b"not zlib")},
        {"type": "string+gzip+base64", "value": packed(zlib.compress(b"abc" * 100)[:-5])},
        {"type": "string+gzip+base64", "value": packed(zlib.compress(b"\xff\xfe"))},
        {"type": "string+gzip+base64", "value": packed(zlib.compress(bytes(64 * 1024 * 1024)))},
    ],
)
def test_damaged_adaptation_state_is_refused(properties: dict[str, object]) -> None:
    with pytest.raises(AdaptationStateError):
        protocol.decode_adaptation_state(properties)


# Events


def test_error() -> None:
    assert protocol.error_message(Status.NOT_AVAILABLE, "all busy", "some-id") == {
        "status": 9,
        "message": "all busy",
        "id": "some-id",
    }


def test_messages_are_ascii_and_strict_json() -> None:
    text = dumps({"transcript": "öö tere"})
    assert text.isascii()
    assert json.loads(text) == {"transcript": "öö tere"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"likelihood": math.inf})


def test_event_is_parsed() -> None:
    final = protocol.parse_event(
        b'{"status": 0, "result": {"hypotheses": [{"transcript": "one"}], "final": true}}'
    )
    assert protocol.is_final(final)
    assert protocol.transcript_of(final) == "one"
    for other in ({"status": 9}, {"status": 0, "result": {}}, {"status": 0, "result": {"hypotheses": []}}):
        assert protocol.transcript_of(other) is None
        assert not protocol.is_final(other)


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"status": "0"}', '{"status": null}'])
def test_damaged_event_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_event(text)
