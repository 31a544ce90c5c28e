"""Signatures of containers, and raw audio that must not be taken for one."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.audio.containers import ADTS, ENOUGH_BYTES, MP4, MPEG_AUDIO, Verdict, find_container

MORE, NONE = Verdict.MORE_BYTES_NEEDED, Verdict.NO_CONTAINER
# MPEG-1 layer III, 128 kbit/s, 44100 Hz: frames of 417 bytes.
MP3_HEADER = b"\xff\xfb\x90\x64\0\0"
# AAC-LC, 16 kHz, mono, frame of 200 bytes.
ADTS_HEADER = bytes([0xFF, 0xF1, 0x60, 0x40, 200 >> 3, (200 & 7) << 5])


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (b"RF64\0\0\0\0WAVE", "WAV (RF64)"),
        (b"OggS", "Ogg"),
        (b"fLaC", "FLAC"),
        (b"ID3\4\0", "MPEG audio"),
        (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
        (b"#!AMR\n", "AMR"),
        (b"#!AMR-WB\n", "AMR"),
        (b"FORM\0\0\0\0AIFF", "AIFF"),
        (b"FORM\0\0\0\0AIFC", "AIFF-C"),
        (b"caff" + bytes(24) + b"lpcm", "CAF"),
        (b"NIST_1A\n", "NIST SPHERE"),
        (b".snd", "AU"),
    ],
)
def test_signatures(head: bytes, name: str) -> None:
    container = find_container(head, is_all=False)
    assert not isinstance(container, Verdict)
    assert container.name == name
    assert not container.needs_seeking
    assert find_container(head[:2], is_all=False) is MORE
    assert find_container(head[:2], is_all=True) is NONE


def test_nothing_yet() -> None:
    assert find_container(b"", is_all=False) is MORE
    assert find_container(b"", is_all=True) is NONE


@pytest.mark.parametrize(
    "head", [b"RIFF\0\0\0\0JUNK", b"FORM\0\0\0\0ILBM", bytes(16), b"\xff\xff" * 10, b"Ogg." * 3]
)
def test_not_containers(head: bytes) -> None:
    assert find_container(head, is_all=False) is NONE


@pytest.mark.parametrize(
    ("header", "length", "container"), [(MP3_HEADER, 417, MPEG_AUDIO), (ADTS_HEADER, 200, ADTS)]
)
def test_frames_must_follow_each_other(header: bytes, length: int, container: object) -> None:
    frame = header.ljust(length, b"\x55")
    assert find_container(frame + header, is_all=False) is container
    assert find_container(frame, is_all=False) is MORE
    assert find_container(frame, is_all=True) is NONE
    assert find_container(frame + b"\x55" * 6, is_all=False) is NONE


def box(kind: bytes, length: int) -> bytes:
    return struct.pack(">I4s", length + 8, kind) + bytes(length)


def test_mp4_is_a_stream_when_its_index_comes_first() -> None:
    start = box(b"ftyp", 16) + box(b"free", 1000)
    assert find_container(start[:500], is_all=False) is MORE
    assert find_container(start + box(b"moov", 8), is_all=False) is MP4
    for head in (start + box(b"mdat", 8), start + struct.pack(">I4s", 1, b"mdat"), start + bytes(8)):
        container = find_container(head, is_all=False)
        assert not isinstance(container, Verdict)
        assert container.needs_seeking


@given(st.binary(max_size=40), st.booleans())
def test_decides_with_enough_bytes(start: bytes, is_all: bool) -> None:
    find_container(start, is_all)
    assert find_container(start.ljust(ENOUGH_BYTES, b"\xff"), is_all=False) is not MORE


@given(st.integers(0, 2**32 - 1))
def test_speech_like_noise_is_raw_audio(seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 1000, 4000).astype("<i2")
    assert find_container(samples.tobytes(), is_all=False) is NONE
