"""Containers and codecs, read by FFmpeg (PyAV) from anything with a ``read()``."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import av
import av.container

from pykaldi_server.audio.containers import Container
from pykaldi_server.audio.pcm import (
    HIGHEST_RATE_HZ,
    LOWEST_RATE_HZ,
    Audio,
    describe,
    mix_down,
    to_int16_range,
)
from pykaldi_server.errors import AudioError

logger = logging.getLogger(__name__)

# What FFmpeg may recognise by itself: no playlists or scripts, which name other files to open.
_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,gsm,loas,matroska,mov,mp3,mpeg,mpegts,"
    "nistsphere,ogg,tta,w64,wav,wv"
)
_OPEN_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}
# When the format is known, FFmpeg need not look ahead, and live audio comes out at once.
_NO_LOOKAHEAD = {"probesize": "32"}
_READ_BYTES = 4096


class Readable(Protocol):
    """What FFmpeg reads from; it may also have ``seek`` and ``tell``."""

    def read(self, size: int, /) -> bytes:
        """Returns 1 to `size` bytes, or none at the end."""


@dataclass
class Progress:
    """How far the decoding of a container has come; written by `decode_container`.

    Attributes:
        description: what is being decoded, for people.
        num_samples: samples decoded so far.
        num_damaged_packets: packets skipped so far because they could not be decoded.
    """

    description: str
    num_samples: int = 0
    num_damaged_packets: int = 0


def decode_container(file: Readable, container: Container, progress: Progress) -> Iterator[Audio]:
    """Yields the audio of the first audio stream, as far as it can be decoded.

    Raises:
        AudioError: nothing could be decoded.
    """
    try:
        yield from _decode_first_stream(file, container, progress)
    except av.FFmpegError as error:
        reason = error.strerror or str(error)
        if progress.num_samples == 0:
            raise AudioError(f"cannot decode the audio as {container.name}: {reason}") from error
        logger.info("%s: decoding ends early: %s", progress.description, reason)
    if progress.num_damaged_packets:
        text = f"{progress.description}: {progress.num_damaged_packets} damaged packet(s)"
        if progress.num_samples == 0:
            raise AudioError(f"cannot decode the audio: {text}")
        logger.info("%s skipped", text)


def _decode_first_stream(file: Readable, container: Container, progress: Progress) -> Iterator[Audio]:
    options = _OPEN_OPTIONS | (_NO_LOOKAHEAD if container.demuxer else {})
    with av.open(
        file,
        mode="r",
        format=container.demuxer,
        options=options,
        buffer_size=_READ_BYTES,
        metadata_errors="replace",
    ) as opened:
        if not opened.streams.audio:
            raise AudioError(f"cannot decode the audio: the {container.name} file has no audio stream")
        stream = opened.streams.audio[0]
        for packet in opened.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                progress.num_damaged_packets += 1
                continue
            for frame in frames:
                if progress.num_samples == 0:
                    format_name = describe(frame.sample_rate, frame.layout.nb_channels)
                    progress.description = f"{container.name}, {stream.codec_context.name}, {format_name}"
                progress.num_samples += frame.samples
                yield _to_audio(frame)


def _to_audio(frame: av.AudioFrame) -> Audio:
    if not LOWEST_RATE_HZ <= frame.sample_rate <= HIGHEST_RATE_HZ:
        raise AudioError(
            f"sample rate: expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz, found {frame.sample_rate}"
        )
    values = to_int16_range(frame.to_ndarray())
    by_channel = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    return Audio(frame.sample_rate, mix_down(by_channel))
