"""Signatures of containers, and raw audio that must not be taken for one."""

import struct
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.audio.containers import (
    ADTS,
    ENOUGH_BYTES,
    GSM,
    MP4,
    MPEG_AUDIO,
    MPEG_TS,
    SIGNATURES,
    Access,
    Container,
    Gzip,
    Id3Tag,
    NotAudio,
    Verdict,
    find_container,
)

MORE, NONE = Verdict.MORE_BYTES_NEEDED, Verdict.NO_CONTAINER
# MPEG-1 layer III, 128 kbit/s, 44100 Hz: frames of 417 bytes.
MP3_HEADER = b"\xff\xfb\x90\x64\0\0"
# AAC-LC, 16 kHz, mono, frame of 200 bytes.
ADTS_HEADER = bytes([0xFF, 0xF1, 0x60, 0x40, 200 >> 3, (200 & 7) << 5])


@pytest.mark.parametrize(
    ("head", "name", "access"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV", Access.FORWARD),
        (b"RIFX\0\0\0\0WAVEfmt ", "WAV (RIFX)", Access.FORWARD),
        (b"RF64\0\0\0\0WAVE", "WAV (RF64)", Access.FORWARD),
        (b"OggS\0\2", "Ogg", Access.BACK),
        (b"fLaC", "FLAC", Access.BACK),
        (b"\x1a\x45\xdf\xa3", "Matroska or WebM", Access.BACK),
        (b"#!AMR\n", "AMR", Access.BACK),
        (b"#!AMR-WB\n", "AMR", Access.BACK),
        (b"FORM\0\0\0\0AIFF", "AIFF", Access.FORWARD),
        (b"FORM\0\0\0\0AIFC", "AIFF-C", Access.FORWARD),
        (b"caff" + bytes(24) + b"lpcm\0\0\0\0\0\0\0\2", "CAF", Access.FORWARD),
        (b"caff" + bytes(24) + b"alac\0\0\0\0\0\0\0\0", "CAF", Access.WHOLE),
        (b"NIST_1A\n", "NIST SPHERE", Access.BACK),
        (b".snd", "AU", Access.BACK),
        (b"FLV\1\5\0\0\0\x09", "FLV", Access.BACK),
        (b"\0\0\1\xba\x44\0", "MPEG-PS", Access.BACK),
        (b"wvpk\x20\0\0\0\x10\x04", "WavPack", Access.BACK),
        (b"TTA1\1\0", "TTA", Access.BACK),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "MP4", Access.WHOLE),
    ],
)
def test_signatures(head: bytes, name: str, access: Access) -> None:
    container = find_container(head, is_all=False)
    assert isinstance(container, Container)
    assert (container.name, container.access) == (name, access)
    assert find_container(head[:2], is_all=False) is MORE
    assert find_container(head[:2], is_all=True) is NONE


def test_no_signature_is_short_or_hidden_by_another_one() -> None:
    for container, signature in SIGNATURES:
        assert sum(len(fixed) for _, fixed in signature) >= 4
        head = bytearray(max(offset + len(fixed) for offset, fixed in signature))
        for offset, fixed in signature:
            head[offset : offset + len(fixed)] = fixed
        found = find_container(bytes(head), is_all=True)
        assert isinstance(found, Container)
        assert found.demuxer == container.demuxer


def test_nothing_yet() -> None:
    assert find_container(b"", is_all=False) is MORE
    assert find_container(b"", is_all=True) is NONE


@pytest.mark.parametrize(
    "head", [bytes(16), b"\xff\xff" * 10, b"Ogg\0" * 3, b"ID3\xff" * 3, b"\x1f\x8b\7" * 4]
)
def test_raw_audio(head: bytes) -> None:
    assert find_container(head, is_all=False) is NONE


@pytest.mark.parametrize(
    ("head", "description"),
    [
        (b"RIFF\0\0\0\0JUNK", "an IFF or RIFF file of the kind b'JUNK'"),
        (b"FORM\0\0\0\0ILBM", "an IFF or RIFF file of the kind b'ILBM'"),
        (b"RIFF\0\0\0\0WEBP", "a WebP image"),
        (b"%PDF-1.4", "a PDF document"),
        (b"OggS\0\0", "Ogg pages without the first one of their stream"),
    ],
)
def test_not_audio(head: bytes, description: str) -> None:
    assert find_container(head, is_all=True) == NotAudio(description)


def test_an_id3_tag_has_a_length() -> None:
    assert find_container(b"ID3\4\0\0\0\0\x01\x0a", is_all=False) == Id3Tag(10 + 138)
    assert find_container(b"ID3\4\0\x10\0\0\x01\x0a", is_all=False) == Id3Tag(20 + 138)
    assert find_container(b"ID3\4\0\0\0\0\x01", is_all=False) is MORE
    assert find_container(b"ID3\4\0\0\0\0\x01\x80", is_all=True) is NONE


def test_gzip() -> None:
    assert isinstance(find_container(b"\x1f\x8b\x08\0\0\0\0\0\0\3", is_all=False), Gzip)
    assert find_container(b"\x1f\x8b", is_all=False) is MORE


@pytest.mark.parametrize(
    ("header", "length", "container"),
    [
        (MP3_HEADER, 417, MPEG_AUDIO),
        (ADTS_HEADER, 200, ADTS),
        (b"\x47\x40\0\x10", 188, MPEG_TS),
        (b"\xd8\x20\xa2\xe1\x5a\x50", 33, GSM),
    ],
)
def test_frames_must_follow_each_other(header: bytes, length: int, container: Container) -> None:
    frame = header.ljust(length, b"\x55")
    assert find_container(frame * 25, is_all=False) is container
    assert find_container(frame * 2, is_all=True) is container
    assert find_container(frame, is_all=False) is MORE
    assert find_container(frame, is_all=True) is NONE
    assert find_container(frame + b"\x55" * 20, is_all=True) is NONE


def box(kind: bytes, length: int) -> bytes:
    return struct.pack(">I4s", length + 8, kind) + bytes(length)


def test_mp4_is_a_stream_when_its_index_comes_first() -> None:
    start = box(b"ftyp", 16) + box(b"free", 1000)
    assert find_container(start[:500], is_all=False) is MORE
    assert find_container(start + box(b"moov", 8), is_all=False) is MP4
    for head in (start + box(b"mdat", 8), start + struct.pack(">I4s", 1, b"mdat"), start + bytes(8)):
        container = find_container(head, is_all=False)
        assert isinstance(container, Container)
        assert container.access is Access.WHOLE


@given(st.binary(max_size=40), st.booleans())
def test_decides_with_enough_bytes(start: bytes, is_all: bool) -> None:
    find_container(start, is_all)
    assert find_container(start.ljust(ENOUGH_BYTES, b"\xff"), is_all=False) is not MORE


STARTS = [head for _, [(_, head), *_] in SIGNATURES] + [
    MP3_HEADER,
    ADTS_HEADER,
    b"ID3\4\0\0\0\0\1\1",
    b"\x1f\x8b\x08",
]


@given(st.sampled_from([b"", *STARTS]), st.binary(max_size=300))
def test_a_verdict_does_not_change_with_more_bytes(start: bytes, rest: bytes) -> None:
    data = start + rest
    verdict = find_container(data, is_all=False)
    for length in range(0, len(data), 1 + len(data) // 20):
        earlier = find_container(data[:length], is_all=False)
        assert earlier is MORE or type(earlier) is type(verdict)
        assert earlier is MORE or isinstance(earlier, Gzip) or earlier == verdict


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 2, 20, 300, 3000, 20000]))
def test_noise_is_raw_audio(seed: int, amplitude: float) -> None:
    noise = np.random.default_rng(seed).normal(0, amplitude, 4000).clip(-32768, 32767).astype("<i2")
    assert find_container(noise.tobytes(), is_all=False) is NONE


def test_recordings_are_raw_audio_wherever_they_begin(golden: Path) -> None:
    for path in sorted((golden / "wav").glob("*.wav")):
        data = read_wav(path)[1].astype("<i2").tobytes()
        for begin in range(0, len(data) - 9000, 301):
            # Every other stream begins in the middle of a sample, as if it were big-endian. One in thousands
            # starts with what may be a frame of AAC, until where the next one should be.
            assert find_container(data[begin : begin + 200], is_all=False) in (NONE, MORE)
            assert find_container(data[begin : begin + 9000], is_all=False) is NONE
            assert find_container(data[begin : begin + 2 + begin % 90], is_all=True) is NONE


@pytest.mark.parametrize("silence", [b"\0", b"\xff", b"\x80", b"\x55\xd5", b"\xd5"])
@pytest.mark.parametrize("length", [1, 2, 5, 320, 3000])
def test_silence_is_raw_audio(silence: bytes, length: int) -> None:
    assert find_container(silence * length, is_all=True) is NONE
