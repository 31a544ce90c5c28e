"""Audio files of every kind, made by FFmpeg's encoders and muxers."""

import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.codec import codecs_available
from av.format import ContainerFormat, formats_available
from numpy.typing import NDArray

SOURCE_RATE_HZ = 16_000


@dataclass(frozen=True)
class Encoding:
    """How to encode 16 kHz mono samples.

    Attributes:
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        rate_hz: rate in the file.
        layout: channels in the file, all with the same signal.
        options: of the muxer.
        bit_rate_bps: of the encoder; None for its default.
    """

    container: str
    codec: str
    rate_hz: int = SOURCE_RATE_HZ
    layout: str = "mono"
    options: dict[str, str] = field(default_factory=dict)
    bit_rate_bps: int | None = None


def has_encoder(codec: str) -> bool:
    """Whether this FFmpeg has the encoder."""
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def encode(samples: NDArray[np.int16], encoding: Encoding) -> bytes:
    """Encodes samples of shape (n,) and returns the file.

    Raises:
        av.FFmpegError, ValueError: the muxer does not take this encoder, or not at this rate.
    """
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = SOURCE_RATE_HZ
    # PyAV leaves a file open where FFmpeg refuses to write its header, so only what FFmpeg has to open again
    # by name, to move the index to the front, is a file on disk.
    file = tempfile.NamedTemporaryFile() if encoding.options else BytesIO()  # noqa: SIM115
    target = file if isinstance(file, BytesIO) else file.name
    with file, av.open(target, "w", format=encoding.container, options=encoding.options) as writer:
        stream = writer.add_stream(
            encoding.codec, encoding.rate_hz, layout=encoding.layout, options={"strict": "experimental"}
        )
        assert isinstance(stream, AudioStream)
        context = stream.codec_context
        assert isinstance(context, AudioCodecContext)
        if encoding.bit_rate_bps:
            context.bit_rate = encoding.bit_rate_bps
        resampler = av.AudioResampler(context.format.name, encoding.layout, encoding.rate_hz)
        fifo = av.AudioFifo()
        for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
            resampled.pts = None
            fifo.write(resampled)
        while (piece := fifo.read(context.frame_size or 1024, partial=True)) is not None:
            writer.mux(stream.encode(piece))
        writer.mux(stream.encode(None))
        writer.close()
        file.seek(0)
        return file.read()


_NO_FILE_MUXERS = """
    alsa oss fbdev v4l2 video4linux2,v4l2 xv null rtp rtsp sap whip rtp_mpegts tee fifo segment
    stream_segment,ssegment hls dash hds smoothstreaming image2 crc md5 hash framecrc framehash framemd5
    streamhash uncodedframecrc ffmetadata webm_chunk webm_dash_manifest data rawvideo mkvtimestamp_v2
    asf_stream
"""
NO_FILE_MUXERS = frozenset(_NO_FILE_MUXERS.split())
"""Muxers that do not write files of audio: checksums, devices, network, playlists, packets alone."""

_WAYS = [
    (16000, "mono"),
    (8000, "mono"),
    (48000, "mono"),
    (44100, "stereo"),
    (22050, "mono"),
    (48000, "stereo"),
]
_PREFERRED_CODECS = ["aac", "libmp3lame", "libopus", "mp2", "ac3", "pcm_s16le", "pcm_s16be", "pcm_u8"]


def muxers() -> list[str]:
    """FFmpeg's names of all that write files with audio."""
    names = set()
    for name in formats_available:
        try:
            names.add(ContainerFormat(name, "w").name)
        except ValueError:
            continue  # it only reads
    return sorted(name for name in names - NO_FILE_MUXERS if _takes_audio(name))


def _takes_audio(muxer: str) -> bool:
    return _default_codec(muxer) != "none"


@functools.cache
def _default_codec(muxer: str) -> str:
    with av.open(BytesIO(), "w", format=muxer) as writer:
        return writer.default_audio_codec


@functools.cache
def audio_encoders() -> list[str]:
    """FFmpeg's names of all its encoders of audio, those that everyone uses first."""
    names = [name for name in codecs_available if has_encoder(name) and av.Codec(name, "w").type == "audio"]
    return sorted(names, key=lambda name: (name not in _PREFERRED_CODECS, name))


def encodings_of(muxer: str, samples: NDArray[np.int16]) -> Iterator[tuple[Encoding, bytes]]:
    """Yields what a muxer makes of samples with each encoder that it takes, its own choice first.

    Each is used at the first rate and number of channels that works.
    """
    default = _default_codec(muxer)
    for codec in sorted(audio_encoders(), key=lambda name: av.Codec(name, "w").canonical_name != default):
        for rate_hz, layout in _WAYS:
            # SBC's own choice of a bit rate is one that its decoder refuses.
            bit_rate_bps = 128_000 if codec == "sbc" else None
            encoding = Encoding(muxer, codec, rate_hz, layout, bit_rate_bps=bit_rate_bps)
            try:
                data = encode(samples, encoding)
            except (av.FFmpegError, OSError):
                continue
            except ValueError:
                break  # the muxer does not take the codec
            if data:
                yield encoding, data
                break
