"""Containers while they arrive: going back, passing over pictures, what follows the end."""

import logging
import tempfile
from collections.abc import Callable

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder, streaming
from pykaldi_server.errors import AudioError

Encoder = Callable[..., bytes]
KEPT_BYTES = 1 << 20


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.data())
def test_bytes_come_back_wherever_the_position_goes(pieces: list[bytes], data: st.DataObject) -> None:
    incoming = streaming._Incoming()
    arrived = b""
    for piece in pieces:
        incoming.append(piece)
        arrived += piece
        incoming.go_to(data.draw(st.integers(0, len(arrived) + 5)))
        begin = incoming.position
        read = b""
        while part := incoming.read(data.draw(st.integers(1, 30))):
            read += part
        assert read == arrived[begin:]


def test_bytes_are_kept_for_some_way_back() -> None:
    incoming = streaming._Incoming()
    for i in range(100):
        incoming.append(bytes([i]) * 100_000)
        while incoming.read(4096):
            pass
    incoming.go_to(10_000_000 - KEPT_BYTES)
    assert incoming.read(1) == bytes([89])
    incoming.go_to(incoming.position + 50_000)
    with pytest.raises(AudioError, match="from front to back, found one that goes back by 900"):
        incoming.go_to(0)


def with_video(samples: NDArray[np.int16], container: str, video_first: bool, **options: str) -> bytes:
    """A file with a moving picture of noise, and speech that begins before or after all of it in the file."""
    rng = np.random.default_rng(7)
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=container, options=options) as writer:
            video = writer.add_stream("flv" if container == "flv" else "mpeg4", rate=10)
            audio = writer.add_stream("aac", rate=16000, layout="mono")
            assert isinstance(video, VideoStream)
            assert isinstance(audio, AudioStream)
            video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
            images = [rng.integers(0, 256, (128, 160, 3), np.uint8) for _ in range(len(samples) // 1600)]
            video_packets = [
                packet
                for image in [*(av.VideoFrame.from_ndarray(image, "rgb24") for image in images), None]
                for packet in video.encode(image)
            ]
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis], "s16", "mono")
            frame.sample_rate = 16000
            fifo = av.AudioFifo()
            for converted in av.AudioResampler("fltp", "mono", 16000).resample(frame):
                fifo.write(converted)
            audio_packets = [packet for piece in fifo.read_many(1024) for packet in audio.encode(piece)]
            audio_packets += audio.encode(None)
            both = [*video_packets, *audio_packets] if video_first else [*audio_packets, *video_packets]
            for packet in both:
                writer.mux(packet)
        return file.read()


@pytest.mark.parametrize("video_first", [True, False])
@pytest.mark.parametrize(
    ("container", "options"),
    [
        ("mp4", {}),
        ("mp4", {"movflags": "faststart"}),
        ("mp4", {"movflags": "faststart", "max_interleave_delta": "1"}),
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("matroska", {}),
        ("mpegts", {}),
        ("avi", {}),
        ("flv", {"flvflags": "no_sequence_end"}),
    ],
)
def test_pictures_are_passed_over(
    speech: NDArray[np.int16], container: str, options: dict[str, str], video_first: bool
) -> None:
    data = with_video(speech, container, video_first, **options)
    assert len(data) > 100_000
    results = []
    for piece_bytes in (len(data), 2003):
        with AudioDecoder(None, 16000) as decoder:
            parts = [decoder.push(data[i : i + piece_bytes]) for i in range(0, len(data), piece_bytes)]
            results.append(np.concatenate([*parts, decoder.finish()]))
            assert ", aac, 16000 Hz, mono" in decoder.description
    np.testing.assert_array_equal(results[0], results[1])
    assert abs(len(results[0]) - len(speech)) < 3000


def test_streams_may_appear_later(
    encode: Encoder, speech: NDArray[np.int16], caplog: pytest.LogCaptureFixture
) -> None:
    """Where transport streams of a different make follow each other, at least the first stays heard."""
    first = encode(speech, "mpegts", "aac")
    data = first + with_video(speech, "mpegts", video_first=True)
    with AudioDecoder(None, 16000) as decoder:
        alone = np.concatenate([decoder.push(first), decoder.finish()])
    with caplog.at_level(logging.WARNING), AudioDecoder(None, 16000) as decoder:
        result = np.concatenate([decoder.push(data), decoder.finish()])
    np.testing.assert_array_equal(result[: len(alone) - 1024], alone[:-1024])


def test_much_that_follows_the_end_is_said(
    encode: Encoder, speech: NDArray[np.int16], caplog: pytest.LogCaptureFixture
) -> None:
    file = encode(speech[:8000], "smjpeg", "pcm_s16le")
    for trailer_bytes, is_said in ((3000, False), (20_000, True)):
        caplog.clear()
        with caplog.at_level(logging.WARNING), AudioDecoder(None, 16000) as decoder:
            parts = [decoder.push(file), decoder.push(bytes(trailer_bytes)), decoder.finish()]
        assert len(np.concatenate(parts)) == 8000
        assert ("bytes after the end of the audio are ignored" in caplog.text) is is_said


def test_amr_wideband() -> None:
    """Frames of noise: mode 6.60 kbit/s has 17 bytes after the header, of any bits."""
    bits = np.random.default_rng(3).integers(0, 256, (50, 17), np.uint8)
    data = b"#!AMR-WB\n" + b"".join(b"\x04" + frame.tobytes() for frame in bits)
    with AudioDecoder(None, None) as decoder:
        result = np.concatenate([decoder.push(data), decoder.push(data), decoder.finish()])
        assert decoder.description == "AMR, amrwb, 16000 Hz, mono"
    assert len(result) == 2 * 50 * 320
