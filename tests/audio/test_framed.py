"""Runs of frames, and what only looks like them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.audio import framed
from pykaldi_server.audio.framed import FramedFormat

# Headers and the lengths of their frames, by hand from the standards.
FRAMES = [
    # Layer III, 128 kbit/s, 44.1 kHz; layer III, 64 kbit/s, 16 kHz; layer II, 192 kbit/s, 48 kHz.
    (framed.MPEG_AUDIO_FRAMES, "fffb9064", 417),
    (framed.MPEG_AUDIO_FRAMES, "fff388c4", 288),
    (framed.MPEG_AUDIO_FRAMES, "fffda400", 576),
    (framed.MPEG_AUDIO_FRAMES, "ffffa400", 320),  # layer I, 320 kbit/s, 48 kHz
    (framed.ADTS_FRAMES, bytes([0xFF, 0xF1, 0x60, 0x40, 200 >> 3, (200 & 7) << 5]).hex(), 200),
    (framed.LOAS_FRAMES, "56e0fd", 3 + 253),
    # 448 kbit/s at 48 kHz; 128 kbit/s at 44.1 kHz, long and short; 64 kbit/s at 32 kHz.
    (framed.AC3_FRAMES, "0b7700001e40", 1792),
    (framed.AC3_FRAMES, "0b7700005040", 556),
    (framed.AC3_FRAMES, "0b7700005140", 558),
    (framed.AC3_FRAMES, "0b7700008840", 384),
    (framed.EAC3_FRAMES, "0b7701ff3f80", 1024),
    (framed.DTS_FRAMES, "7ffe8001fc3c3ff0", 1024),
    (framed.DTS_FRAMES, "fe7f01803cfcf03f", 1024),
    (framed.DTS_FRAMES, "1fffe80007f0fc3ffc00", 1170),  # the same bits, 14 of them in each word
    (framed.SBC_FRAMES, "9c3118", 4 + 4 + 48),  # 16 blocks, 8 subbands, mono, 24 bits
    (framed.GSM_FRAMES, "d8" + "49" * 32, 33),
    (framed.TRANSPORT_PACKETS[0], "47", 188),
    (framed.TRANSPORT_PACKETS[1], "47", 204),
    (framed.TRANSPORT_PACKETS[2], "0123456747", 192),
]


@pytest.mark.parametrize(("frames", "header", "length"), FRAMES, ids=[header for _, header, _ in FRAMES])
def test_frames_must_follow_each_other(frames: FramedFormat, header: str, length: int) -> None:
    frame = bytes.fromhex(header).ljust(length, b"\x49")
    assert frames.matches(frame * frames.num_frames, is_all=False) is True
    all_but_a_byte = (frame * (frames.num_frames - 1))[:-1]
    assert frames.matches(all_but_a_byte, is_all=False) is None
    assert frames.matches(frame * 2, is_all=True) is True
    assert frames.matches(frame * 2 + b"x", is_all=True) is False
    assert frames.matches(frame, is_all=True) is False
    displaced = frame + b"\x49" * 8 + frame * frames.num_frames
    assert frames.matches(displaced, is_all=False) is False


def test_what_all_frames_share_may_not_change() -> None:
    other_rate = bytes.fromhex("fffb9464").ljust(384, b"\x49")
    frame = bytes.fromhex("fffb9064").ljust(417, b"\x49")
    assert framed.MPEG_AUDIO_FRAMES.matches(frame + other_rate + frame, is_all=False) is False


def test_a_first_byte_is_enough_to_refuse() -> None:
    for frames, _, _ in FRAMES[:-1]:
        assert frames.matches(b"\0", is_all=False) is False


@pytest.mark.parametrize("silence", [b"\xd5", b"\xd5\x55", b"\x55\xd5", b"\xd4\xd5\xd5\x54"])
def test_a_law_silence_is_not_gsm(silence: bytes) -> None:
    assert framed.GSM_FRAMES.matches(silence * 1000, is_all=False) is False


@given(st.binary(max_size=2000))
def test_nothing_found_in_few_bytes_is_lost_with_more(data: bytes) -> None:
    for frames, _, _ in FRAMES:
        for head in (data[:5], data[:100]):
            verdict = frames.matches(head, is_all=False)
            if verdict is not None:
                assert frames.matches(data, is_all=False) is verdict


@pytest.mark.parametrize("amplitude", [1, 3, 20, 100, 1000, 20000])
def test_noise_is_none_of_them(amplitude: int) -> None:
    rng = np.random.default_rng(amplitude)
    for _ in range(200):
        noise = rng.normal(0, amplitude, 3000).clip(-32768, 32767).astype("<i2").tobytes()
        for frames, _, _ in FRAMES:
            assert frames.matches(noise, is_all=True) is False
