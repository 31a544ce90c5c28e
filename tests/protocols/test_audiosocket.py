"""AudioSocket's messages, cut anywhere."""

import struct
import uuid
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols import audiosocket
from pykaldi_server.protocols.audiosocket import (
    Audio,
    CallId,
    Digit,
    Hangup,
    Message,
    MessageReader,
    PeerError,
)

ID = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
KINDS = {8000: 0x10, 12000: 0x11, 16000: 0x12, 24000: 0x13, 32000: 0x14, 44100: 0x15, 48000: 0x16}
MESSAGES = st.one_of(
    st.builds(Audio, st.sampled_from(sorted(KINDS)), st.binary(max_size=700)),
    st.builds(Digit, st.sampled_from("0123456789*#ABCD")),
    st.just(Hangup()),
    st.builds(PeerError, st.none() | st.integers(0, 255)),
)


def packed(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


def encode(message: Message) -> bytes:
    match message:
        case CallId(id):
            return packed(0x01, uuid.UUID(id).bytes)
        case Audio(rate_hz, data):
            return packed(KINDS[rate_hz], data)
        case Digit(digit):
            return packed(0x03, digit.encode())
        case Hangup():
            return packed(0x00)
        case PeerError(code):
            return packed(0xFF, b"" if code is None else bytes([code]))


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(0, 4000), max_size=10))
def test_messages_come_back_wherever_the_stream_is_cut(messages: list[Message], cuts: list[int]) -> None:
    expected = [CallId(str(ID)), *messages]
    data = b"".join(map(encode, expected))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = MessageReader()
    found = [message for begin, end in pairwise(places) for message in reader.feed(data[begin:end])]
    assert found == expected


@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_an_error_or_left_out(data: bytes, after_id: bool) -> None:
    with suppress(ProtocolError):
        MessageReader().feed((encode(CallId(str(ID))) if after_id else b"") + data)


def test_unknown_kinds_are_left_out() -> None:
    data = encode(CallId(str(ID))) + packed(0x02, b"123456") + packed(0x42) + packed(0x10, b"12")
    assert MessageReader().feed(data) == [CallId(str(ID)), Audio(8000, b"12")]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            b"GET / HTTP/1.1\r\n",
            "the first message: expected the id of a call .* found kind 0x47 of 17748 bytes",
        ),
        (packed(0x10, b"12"), "found kind 0x10 of 2 bytes"),
        (packed(0x01, b"1234"), "found kind 0x01 of 4 bytes"),
        (encode(CallId(str(ID))) + packed(0x01, b"1234"), "the id of a call: expected 16 bytes, found 4"),
        (encode(CallId(str(ID))) + packed(0x03, b"\xff"), "DTMF: expected one ASCII character"),
        (encode(CallId(str(ID))) + packed(0x03), "DTMF: expected one ASCII character, found b''"),
    ],
)
def test_what_is_no_call_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        MessageReader().feed(data)


def test_what_asterisk_hears() -> None:
    assert audiosocket.hangup() == b"\x00\x00\x00"
    assert audiosocket.error(9) == b"\xff\x00\x01\x09"
