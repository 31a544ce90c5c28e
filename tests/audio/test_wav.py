"""WAV headers as they are found in files and in live streams."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.audio.wav import parse_wav_header
from pykaldi_server.errors import AudioError

SAMPLES = np.arange(-500, 500, dtype="<i2")
LIST_CHUNK = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf62.12.102\0"


def fmt_chunk(codec: int = 1, channels: int = 1, rate_hz: int = 16000, bits: int = 16) -> bytes:
    block = channels * bits // 8
    return b"fmt " + struct.pack("<IHHIIHH", 16, codec, channels, rate_hz, rate_hz * block, block, bits)


def wav(data: bytes, data_bytes: int | None = None, before: bytes = b"", fmt: bytes | None = None) -> bytes:
    """A WAV file; `data_bytes` is the length that its header claims."""
    chunks = (fmt or fmt_chunk()) + before + b"data"
    claimed = struct.pack("<I", len(data) if data_bytes is None else data_bytes)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + chunks + claimed + data


def decode(data: bytes, piece_bytes: int = 1 << 20) -> np.ndarray:
    with AudioDecoder("audio/wav", 16000) as decoder:
        parts = [decoder.push(data[i : i + piece_bytes]) for i in range(0, len(data), piece_bytes)]
        return np.concatenate([*parts, decoder.finish()])


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000, 10000])
@pytest.mark.parametrize("before", [b"", LIST_CHUNK, b"odd " + struct.pack("<I", 3) + b"abc\0"])
def test_chunks_before_and_after_the_audio_are_left_out(piece_bytes: int, before: bytes) -> None:
    result = decode(wav(SAMPLES.tobytes(), before=before) + LIST_CHUNK, piece_bytes)
    np.testing.assert_array_equal(result, SAMPLES)


@pytest.mark.parametrize("claimed", [0, 2, 100, 1996, 2002, 0x7FFFFFFF, 0xFFFFFFFF, 101])
@pytest.mark.parametrize("piece_bytes", [1, 10000])
def test_length_in_the_header_may_be_wrong(claimed: int, piece_bytes: int) -> None:
    np.testing.assert_array_equal(decode(wav(SAMPLES.tobytes(), claimed), piece_bytes), SAMPLES)


def test_no_audio() -> None:
    assert len(decode(wav(b""))) == 0
    assert len(decode(wav(b"") + LIST_CHUNK)) == 0


def test_audio_comes_at_once() -> None:
    data = wav(SAMPLES.tobytes())
    with AudioDecoder(None, 16000) as decoder:
        assert len(decoder.push(data[:44])) == 0
        assert len(decoder.push(data[44:48])) == 2
        assert decoder.description == "WAV, S16LE, 16000 Hz, mono"
        assert decoder.source_rate_hz == 16000


def test_extensible_header() -> None:
    guid = bytes.fromhex("0300000000001000800000aa00389b71")
    body = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 16000, 128000, 8, 32, 22, 32, 3) + guid
    frames = np.array([[0.5, 0.25], [-1, -1]], "<f4")
    result = decode(wav(frames.tobytes(), fmt=b"fmt " + struct.pack("<I", len(body)) + body))
    np.testing.assert_array_equal(result, [12288, -32768])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"RIFF\0\0\0\0WAVEdata" + bytes(20), "expected a 'fmt ' chunk before"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0" + bytes(20), "at least 16 bytes, found 2"),
        (wav(bytes(20), fmt=fmt_chunk(rate_hz=0)), "rate: expected 1000 to"),
        (wav(bytes(20), fmt=fmt_chunk(channels=0)), "channels: expected 1 to"),
        (wav(bytes(20), fmt=fmt_chunk(codec=0x4242)), "cannot decode"),
        (wav(bytes(20))[:30], "cannot decode the audio as WAV"),
    ],
)
def test_damaged_headers(data: bytes, text: str) -> None:
    with pytest.raises(AudioError, match=text):
        decode(data)


@settings(deadline=None)
@given(position=st.integers(0, 43), value=st.integers(0, 255), length=st.integers(12, 2044))
def test_a_changed_byte_or_a_cut_does_no_harm(position: int, value: int, length: int) -> None:
    data = bytearray(wav(SAMPLES.tobytes())[:length])
    if position < length:
        data[position] = value
    try:
        result = decode(bytes(data))
    except AudioError:
        return
    assert np.isfinite(result).all()


def test_header_needs_more_bytes_until_the_data_chunk() -> None:
    data = wav(SAMPLES.tobytes(), before=LIST_CHUNK)
    start = data.index(b"data") + 8
    assert all(parse_wav_header(data[:n]) is None for n in range(12, start))
    header = parse_wav_header(data[:start])
    assert header is not None
    assert (header.data_offset, header.data_bytes) == (start, 2000)
