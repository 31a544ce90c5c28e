"""Raw samples of every format."""

from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio.pcm import SAMPLE_FORMATS, RawFormat, RawSource, to_int16_range
from pykaldi_server.errors import AudioError

# -1, -1/2, 0, 1/2 of full scale, and one step of 16 bits.
VALUES = np.array([-32768, -16384, 0, 16384, 1])
ENCODED = {
    "S8": (VALUES >> 8).astype("i1"),
    "U8": ((VALUES >> 8) + 128).astype("u1"),
    "S16LE": VALUES.astype("<i2"),
    "S16BE": VALUES.astype(">i2"),
    "U16LE": (VALUES + 32768).astype("<u2"),
    "U16BE": (VALUES + 32768).astype(">u2"),
    "S24LE": (VALUES << 16).astype("<i4").view("u1").reshape(-1, 4)[:, 1:],
    "S24BE": (VALUES << 16).astype(">i4").view("u1").reshape(-1, 4)[:, :3],
    "S32LE": (VALUES << 16).astype("<i4"),
    "S32BE": (VALUES << 16).astype(">i4"),
    "F32LE": (VALUES / 32768).astype("<f4"),
    "F32BE": (VALUES / 32768).astype(">f4"),
    "F64LE": (VALUES / 32768).astype("<f8"),
    "F64BE": (VALUES / 32768).astype(">f8"),
}


def decode(sample_format: str, data: bytes, channels: int = 1) -> NDArray[np.float32]:
    """The frames, shape (n, channels), or (n,) for one channel."""
    pieces = [audio.frames for audio in RawSource(RawFormat(sample_format, 16000, channels)).feed(data)]
    frames = np.concatenate([np.zeros((0, channels), np.float32), *pieces])
    return frames[:, 0] if channels == 1 else frames


@pytest.mark.parametrize("sample_format", ENCODED)
def test_scale(sample_format: str) -> None:
    result = decode(sample_format, ENCODED[sample_format].tobytes())
    expected = [-32768, -16384, 0, 16384, 0 if sample_format in ("S8", "U8") else 1]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("sample_format", "codec"), [("MULAW", "pcm_mulaw"), ("ALAW", "pcm_alaw")])
def test_g711_equals_ffmpeg(sample_format: str, codec: str) -> None:
    all_codes = bytes(range(256))
    context = av.AudioCodecContext.create(codec, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout = 8000, "mono"
    [frame] = context.decode(av.Packet(all_codes))
    np.testing.assert_array_equal(decode(sample_format, all_codes), frame.to_ndarray()[0])


def test_every_format_is_tested() -> None:
    assert set(SAMPLE_FORMATS) == {*ENCODED, "MULAW", "ALAW"}


@given(cuts=st.lists(st.integers(0, 120), max_size=6), sample_format=st.sampled_from(sorted(SAMPLE_FORMATS)))
def test_pieces_may_end_inside_a_sample(cuts: list[int], sample_format: str) -> None:
    data = np.random.default_rng(1).integers(0, 256, 120, np.uint8).tobytes()
    source = RawSource(RawFormat(sample_format, 16000, 2))
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(bounds)]
    parts = [audio.frames for piece in pieces for audio in source.feed(piece)]
    np.testing.assert_array_equal(np.concatenate(parts), decode(sample_format, data, channels=2))


def test_channels_are_interleaved() -> None:
    frames = np.array([[100, 300], [-32768, -32768], [32767, 0]], "<i2")
    np.testing.assert_array_equal(decode("S16LE", frames.tobytes(), channels=2), frames)


def test_a_large_message_comes_in_pieces() -> None:
    samples = np.arange(300_001, dtype="<i2")
    source = RawSource(RawFormat())
    assert list(source.feed(b"\7")) == []
    pieces = [audio.frames for audio in source.feed(samples.tobytes())]
    assert max(map(len, pieces)) <= 65536
    expected = np.frombuffer((b"\7" + samples.tobytes())[:-1], "<i2")
    np.testing.assert_array_equal(np.concatenate(pieces)[:, 0], expected)


def test_an_incomplete_last_sample_is_dropped() -> None:
    source = RawSource(RawFormat("S16LE", 16000, 2))
    assert list(source.feed(b"\1\2\3")) == []
    assert list(source.finish()) == []


def test_floating_point_is_clipped_and_cleaned() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e30, -7, 0.25], np.float32)
    np.testing.assert_array_equal(to_int16_range(values), [0, 32768, -32768, 32768, -32768, 8192])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("S17LE", 16000, 1), "S16LE .*found 'S17LE'"),
        (("S16LE", 999, 1), "rate: expected 1000 to 768000 Hz, found 999"),
        (("S16LE", 10**9, 1), "rate: expected"),
        (("S16LE", 16000, 0), "channels: expected 1 to 256, found 0"),
    ],
)
def test_senseless_formats_are_refused(arguments: tuple[str, int, int], text: str) -> None:
    with pytest.raises(AudioError, match=text):
        RawFormat(*arguments)
