"""Content types as clients send them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.audio.caps import ContentType, parse_content_type
from pykaldi_server.audio.containers import G722, GSM, MPEG_AUDIO
from pykaldi_server.audio.pcm import RawFormat
from pykaldi_server.errors import AudioError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "audio/x-raw, layout=(string)interleaved, rate=(int)16000, format=(string)S16LE, channels=(int)1",
            RawFormat(),
        ),
        ("audio/x-raw", RawFormat()),
        ("audio/x-raw;", RawFormat()),
        ("audio/x-raw,channels=2,rate=8000", RawFormat("S16LE", 8000, 2)),
        ("audio/x-raw; format=F32LE ;rate = 44100", RawFormat("F32LE", 44100)),
        ('audio/x-raw, format=(string)"S24LE", rate=(int)48000', RawFormat("S24LE", 48000)),
        ("AUDIO/X-RAW, format=s32le", RawFormat("S32LE")),
        ("audio/x-raw, format=MULAW, rate=8000", RawFormat("MULAW", 8000)),
        ("audio/x-raw(memory:SystemMemory), rate=8000", RawFormat("S16LE", 8000)),
        ("audio/x-raw-int; rate=16000", RawFormat()),
        (
            "audio/x-raw-int, rate=8000, channels=1, signed=(boolean)true, endianness=(int)4321, depth=16,"
            "width=16",
            RawFormat("S16BE", 8000),
        ),
        ("audio/x-raw-int, signed=false, width=8", RawFormat("U8")),
        ("audio/x-raw-float, width=64, endianness=1234", RawFormat("F64LE")),
        ("audio/l16; rate=8000; channels=2", RawFormat("S16BE", 8000, 2)),
        ("audio/l16; rate=16000; endianness=little-endian", RawFormat("S16LE")),
        ("audio/basic", RawFormat("MULAW", 8000)),
        ("audio/x-alaw, rate=16000, channels=1", RawFormat("ALAW")),
    ],
)
def test_raw_audio(text: str, expected: RawFormat) -> None:
    assert parse_content_type(text).raw == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            None,
            "",
            "  ",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "application/gzip",
        ),
        *(
            "application/gzip",
            "application/binary",
            "binary/octet-stream",
            "text/plain;charset=UTF-8",
            "audio/*",
            "*/*",
        ),
    ],
)
def test_types_that_say_nothing(text: str | None) -> None:
    assert parse_content_type(text) == ContentType()


@pytest.mark.parametrize(
    "text", ["audio/wav", "audio/ogg; codecs=opus", "video/webm;codecs=vp8,opus", "application/ogg"]
)
def test_containers(text: str) -> None:
    assert parse_content_type(text) == ContentType(text.split(";")[0])


def test_types_whose_bytes_may_not_tell() -> None:
    assert parse_content_type("audio/mpeg").container is MPEG_AUDIO
    assert parse_content_type("audio/x-gsm").container is GSM
    assert parse_content_type("audio/G722; rate=8000").container is G722


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text/html", "expected audio .*, found 'text/html'"),
        ("image/png", "expected audio .*, found 'image/png'"),
        ("multipart/form-data; boundary=x", "expected audio .*, found 'multipart/form-data"),
        ("audio/x-raw, rate=fast", "rate: expected a whole number, found 'fast'"),
        ("audio/x-raw, rate=-5", "rate: expected a whole number"),
        ("audio/x-raw, rate=0", "rate: expected 1000 to"),
        ("audio/x-raw, rate=99999999999999999999", "rate: expected a whole number"),
        ("audio/x-raw, format=S17", "format: expected one of"),
        ("audio/x-raw, channels=0", "channels: expected 1 to"),
        ("audio/x-raw, layout=non-interleaved", "layout: expected interleaved"),
        ("audio/x-raw, sixteen", "expected key=value, found 'sixteen'"),
        ("audio/x-raw-int, width=17", "format: expected one of .*found 'S17LE'"),
        ("audio/x-raw-int, endianness=12", "endianness: expected 1234 or 4321"),
        ("audio/x-raw" + " " * 10 + "," * 1000, "at most 1000 characters"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        parse_content_type(text)


@given(st.text(alphabet='audio/x-rwint,;=("S16LE) ', max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(AudioError):
        parse_content_type("audio/x-raw," + text)
