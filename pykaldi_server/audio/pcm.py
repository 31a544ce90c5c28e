"""Raw samples: what they look like in bytes, and how they become float32 in the range of 16-bit integers.

Every source of audio ends up here. Integers of other widths are scaled by powers of two, floating-point
samples are taken as [-1, 1], G.711 bytes are expanded by tables.

Source of the G.711 expansions: ITU-T Recommendation G.711.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError

__all__ = [
    "FULL_SCALE",
    "HIGHEST_RATE_HZ",
    "LOWEST_RATE_HZ",
    "MOST_CHANNELS",
    "SAMPLE_FORMATS",
    "Audio",
    "RawFormat",
    "RawSource",
    "describe",
    "to_int16_range",
]

Buffer = bytes | memoryview

LOWEST_RATE_HZ = 1_000
HIGHEST_RATE_HZ = 768_000
MOST_CHANNELS = 256

FULL_SCALE = 32768.0

_PIECE_FRAMES = 1 << 16


class Audio(NamedTuple):
    """Some audio.

    Attributes:
        rate_hz: its sample rate.
        frames: float32, shape (n, channels), range [-32768, 32768].
    """

    rate_hz: int
    frames: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How raw samples are laid out in bytes; the defaults are what a stream without a description is.

    Attributes:
        sample_format: a name of `SAMPLE_FORMATS`.
        rate_hz: samples per second of one channel.
        channels: interleaved channels.
    """

    sample_format: str = "S16LE"
    rate_hz: int = 16_000
    channels: int = 1

    def __post_init__(self) -> None:
        if self.sample_format not in SAMPLE_FORMATS:
            known = " ".join(SAMPLE_FORMATS)
            raise AudioError(f"format: expected one of {known}, found {self.sample_format!r}")
        if not LOWEST_RATE_HZ <= self.rate_hz <= HIGHEST_RATE_HZ:
            raise AudioError(f"rate: expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz, found {self.rate_hz}")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise AudioError(f"channels: expected 1 to {MOST_CHANNELS}, found {self.channels}")

    def __str__(self) -> str:
        return f"{self.sample_format}, {describe(self.rate_hz, self.channels)}"

    @property
    def bytes_per_frame(self) -> int:
        """Size of one sample of every channel."""
        return SAMPLE_FORMATS[self.sample_format].num_bytes * self.channels


class RawSource:
    """Turns a stream of raw bytes into samples; pieces may end in the middle of a sample."""

    def __init__(self, raw_format: RawFormat) -> None:
        self._format = raw_format
        self._convert = SAMPLE_FORMATS[raw_format.sample_format].convert
        self._incomplete_frame = b""
        self.description = f"raw {raw_format}"

    def feed(self, data: Buffer) -> Iterator[Audio]:
        """Yields the frames that `data` completes, in pieces: one message may be a whole recording."""
        view = memoryview(data)
        while view:
            num_bytes = _PIECE_FRAMES * self._format.bytes_per_frame - len(self._incomplete_frame)
            piece, view = view[:num_bytes], view[num_bytes:]
            if self._incomplete_frame:
                piece = memoryview(self._incomplete_frame + piece)
            num_bytes = len(piece) - len(piece) % self._format.bytes_per_frame
            self._incomplete_frame = bytes(piece[num_bytes:])
            if num_bytes:
                interleaved = self._convert(piece[:num_bytes])
                yield Audio(self._format.rate_hz, interleaved.reshape(-1, self._format.channels))

    def finish(self) -> Iterator[Audio]:
        """Yields nothing: a sample that is cut in the middle is dropped."""
        return iter(())

    def close(self) -> None:
        """Does nothing; raw audio holds no resources."""


def describe(rate_hz: int, channels: int) -> str:
    """The rate and the channels for people: ``16000 Hz, mono``."""
    return f"{rate_hz} Hz, {'mono' if channels == 1 else f'{channels} channels'}"


def to_int16_range(values: NDArray[Any]) -> NDArray[np.float32]:
    """Scales samples of any NumPy type to the range of 16-bit integers.

    Args:
        values: unsigned 8-bit, signed integers that use their whole range, or floating point in [-1, 1]. What
            is outside is clipped; what is not a number counts as silence.

    Returns:
        float32, the same shape, range [-32768, 32768].
    """
    if values.dtype.kind == "f":
        numbers = np.nan_to_num(values, posinf=1.0, neginf=-1.0)
        samples: NDArray[np.float32] = np.clip(numbers, -1.0, 1.0).astype(np.float32)
        samples *= np.float32(FULL_SCALE)
        return samples
    if values.dtype.kind == "u":
        middle = 2.0 ** (8 * values.dtype.itemsize - 1)
        samples = values.astype(np.float32)
        samples -= np.float32(middle)
        samples *= np.float32(FULL_SCALE / middle)
        return samples
    samples = values.astype(np.float32)
    if values.dtype.itemsize != 2:
        samples *= np.float32(FULL_SCALE / 2.0 ** (8 * values.dtype.itemsize - 1))
    return samples


def _numpy_samples(dtype: str) -> Callable[[Buffer], NDArray[np.float32]]:
    return lambda data: to_int16_range(np.frombuffer(data, dtype))


def _packed_24_bit(big_endian: bool) -> Callable[[Buffer], NDArray[np.float32]]:
    def convert(data: Buffer) -> NDArray[np.float32]:
        packed = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(packed), 4), np.uint8)
        wide[:, 1:] = packed[:, ::-1] if big_endian else packed
        return to_int16_range(wide.reshape(-1).view("<i4"))

    return convert


def _expansion(table: NDArray[np.float32]) -> Callable[[Buffer], NDArray[np.float32]]:
    return lambda data: table[np.frombuffer(data, np.uint8)]


def _mu_law_table() -> NDArray[np.float32]:
    """Sign, three bits of exponent, four of mantissa, all inverted; 14-bit values in steps of 4."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = ((2 * mantissa.astype(np.int64) + 33) << exponent) - 33
    return np.where(code & 128, -4 * magnitude, 4 * magnitude).astype(np.float32)


def _a_law_table() -> NDArray[np.float32]:
    """Sign, three bits of exponent, four of mantissa, every other bit inverted; 13-bit values, steps of 8."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int64)
    linear = 2 * mantissa + 1
    magnitude = np.where(exponent == 0, linear, (linear + 32) << np.maximum(exponent.astype(np.int64) - 1, 0))
    return np.where(code & 128, 8 * magnitude, -8 * magnitude).astype(np.float32)


class _SampleFormat(NamedTuple):
    num_bytes: int
    convert: Callable[[Buffer], NDArray[np.float32]]


SAMPLE_FORMATS = {
    "S8": _SampleFormat(1, _numpy_samples("i1")),
    "U8": _SampleFormat(1, _numpy_samples("u1")),
    "S16LE": _SampleFormat(2, _numpy_samples("<i2")),
    "S16BE": _SampleFormat(2, _numpy_samples(">i2")),
    "U16LE": _SampleFormat(2, _numpy_samples("<u2")),
    "U16BE": _SampleFormat(2, _numpy_samples(">u2")),
    "S24LE": _SampleFormat(3, _packed_24_bit(big_endian=False)),
    "S24BE": _SampleFormat(3, _packed_24_bit(big_endian=True)),
    "S32LE": _SampleFormat(4, _numpy_samples("<i4")),
    "S32BE": _SampleFormat(4, _numpy_samples(">i4")),
    "F32LE": _SampleFormat(4, _numpy_samples("<f4")),
    "F32BE": _SampleFormat(4, _numpy_samples(">f4")),
    "F64LE": _SampleFormat(8, _numpy_samples("<f8")),
    "F64BE": _SampleFormat(8, _numpy_samples(">f8")),
    "MULAW": _SampleFormat(1, _expansion(_mu_law_table())),
    "ALAW": _SampleFormat(1, _expansion(_a_law_table())),
}
"""GStreamer's names of raw sample formats (and the two of G.711)."""
