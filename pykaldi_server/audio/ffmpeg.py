"""Containers and codecs, read by FFmpeg (PyAV) from anything with a ``read()``."""

import logging
from collections.abc import Iterator
from typing import Any, Protocol

import av
import numpy as np
from av.audio.plane import AudioPlane
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard
from numpy.typing import NDArray

from pykaldi_server.audio.containers import KNOWN_DEMUXERS, Access, Container
from pykaldi_server.audio.pcm import (
    HIGHEST_RATE_HZ,
    LOWEST_RATE_HZ,
    Audio,
    describe,
    to_int16_range,
)
from pykaldi_server.audio.progress import Progress
from pykaldi_server.errors import AudioError

__all__ = ["Readable", "decode_container", "lenient_metadata"]

logger = logging.getLogger(__name__)

# What FFmpeg may recognise by itself: no playlists or scripts, which name other files to open.
_DEMUXERS = ",".join(sorted(KNOWN_DEMUXERS))
# When the format is known, FFmpeg need not look ahead, and live audio comes out at once.
_NO_LOOKAHEAD = {"probesize": "32"}
# Where streams appear only while the file is read, it must look for the audio stream.
_SHORT_LOOKAHEAD = {"probesize": "1000000", "analyzeduration": "500000"}
# Where FFmpeg may go back in a file that is still arriving, it must not look for an index at its end.
_NO_INDEX = {"fflags": "+ignidx"}
_READ_BYTES = 4096
_PLANAR_DTYPES = {"u8p": "u1", "s16p": "i2", "s32p": "i4", "fltp": "f4", "dblp": "f8"}


class Readable(Protocol):
    """What FFmpeg reads from; it may also have ``seek``, ``tell`` and ``seekable``."""

    def read(self, size: int, /) -> bytes:
        """Returns 1 to `size` bytes, or none at the end."""


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
        logger.warning("%s skipped", text)
    if progress.num_samples == 0:
        raise AudioError(
            f"cannot decode the audio: the {container.name} file has an audio stream without audio"
        )


def lenient_metadata() -> dict[str, Any]:
    """The arguments of `av.open` with which titles in another encoding than UTF-8 are no error.

    PyAV 19 always reads them in this way, and has no such argument any more.
    """
    return {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


def _decode_first_stream(file: Readable, container: Container, progress: Progress) -> Iterator[Audio]:
    with av.open(
        file,
        mode="r",
        format=container.demuxer,
        options=_open_options(container),
        buffer_size=_READ_BYTES,
        **lenient_metadata(),
    ) as opened:
        if not opened.streams.audio:
            found = ", ".join(stream.type for stream in opened.streams) or "no stream at all"
            raise AudioError(f"expected an audio stream in the {container.name} file, found {found}")
        stream = opened.streams.audio[0]
        for other in opened.streams:
            if other is not stream:
                other.discard = Discard.all
        for packet in _packets(opened, stream, progress):
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


def _packets(
    opened: InputContainer, stream: AudioStream, progress: Progress
) -> "Iterator[av.Packet[AudioStream]]":
    """Yields the packets of a stream, also where other streams appear later, as in joined MPEG-TS files.

    PyAV knows the streams of the beginning only, and stumbles over others when it flushes all at the end;
    `stream` is flushed before them.
    """
    try:
        yield from opened.demux(stream)
    except IndexError:
        logger.warning("%s: streams that begin later are left out", progress.description)


def _open_options(container: Container) -> dict[str, str]:
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}
    if container.streams_appear:
        options |= _SHORT_LOOKAHEAD
    elif container.demuxer:
        options |= _NO_LOOKAHEAD
    if container.access is not Access.WHOLE:
        options |= _NO_INDEX
    return options


def _to_audio(frame: av.AudioFrame) -> Audio:
    if not LOWEST_RATE_HZ <= frame.sample_rate <= HIGHEST_RATE_HZ:
        raise AudioError(
            f"sample rate: expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz, found {frame.sample_rate}"
        )
    if frame.format.name.startswith("s64"):  # which PyAV does not convert to arrays
        [frame] = av.AudioResampler("dbl", frame.layout, frame.sample_rate).resample(frame)
    if frame.format.is_planar:
        return Audio(frame.sample_rate, to_int16_range(_planes(frame)).T)
    values = to_int16_range(frame.to_ndarray())
    return Audio(frame.sample_rate, values.reshape(-1, frame.layout.nb_channels))


def _planes(frame: av.AudioFrame) -> NDArray[Any]:
    """The samples of a planar frame, of shape (channels, n).

    `AudioFrame.to_ndarray` takes as planes whatever follows in memory up to a zero: of frames with 8 channels
    or more, for which FFmpeg puts none there, it reads what is not theirs.
    """
    dtype = _PLANAR_DTYPES[frame.format.name]
    planes = [AudioPlane(frame, channel) for channel in range(frame.layout.nb_channels)]
    return np.stack([np.frombuffer(bytes(plane), dtype, frame.samples) for plane in planes])
