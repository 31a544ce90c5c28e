"""Speech to encode, and the encoder."""

import tempfile
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Encoder = Callable[..., bytes]


@pytest.fixture(scope="session")
def speech(golden: Path) -> NDArray[np.int16]:
    """A recording of 3 s, 16 kHz."""
    with wave.open(str(golden / "wav" / "ps-librivox-0880.wav")) as reader:
        assert reader.getparams()[:3] == (1, 2, 16000)
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2")


@pytest.fixture(scope="session")
def encode() -> Encoder:
    """Encodes samples into a container, by FFmpeg."""
    return _encode


def _encode(
    samples: NDArray[np.int16],
    container: str,
    codec: str,
    rate_hz: int = 16000,
    layout: str = "mono",
    options: dict[str, str] | None = None,
    bit_rate_bps: int | None = None,
) -> bytes:
    """Encodes 16 kHz mono samples.

    Args:
        samples: shape (n,).
        container: FFmpeg's name of the container's writer.
        codec: FFmpeg's name of the encoder; the test is skipped where it is absent.
        rate_hz: rate in the file.
        layout: channels in the file, all with the same signal.
        options: of the container's writer.
        bit_rate_bps: of the encoder; None for its default.
    """
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = 16000
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options or {}) as writer,
    ):
        stream = writer.add_stream(codec, rate=rate_hz, layout=layout, options={"strict": "experimental"})
        if bit_rate_bps:
            stream.bit_rate = bit_rate_bps
        resampler = av.AudioResampler(stream.format.name, stream.layout.name, stream.rate)
        fifo = av.AudioFifo()
        for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
            resampled.pts = None
            fifo.write(resampled)
        frame_samples = stream.codec_context.frame_size or 1024
        while (piece := fifo.read(frame_samples, partial=True)) is not None:
            writer.mux(stream.encode(piece))
        writer.mux(stream.encode(None))
        writer.close()
        return file.read()
