"""Audio as callers have it, to the quanta of samples that a session decodes.

Whatever comes in becomes float32 in the range of 16-bit integers, which is what Kaldi's features expect.
Samples are copied only if they must be converted or have to wait for the rest of their quantum.
"""

import logging
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError

__all__ = ["INT16_SCALE", "AudioChunk", "Quanta", "SampleReader", "check_rate"]

logger = logging.getLogger(__name__)

INT16_SCALE = 32768.0
"""Full scale of floating-point samples in the range of 16-bit integers."""

# The rates that raw audio may have (`pykaldi_server.audio.pcm`).
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000

AudioChunk: TypeAlias = NDArray[Any] | bytes | bytearray | memoryview
"""Mono samples: an array of shape (n,) or (n, 1), int16 or floating-point; or bytes, taken as S16LE."""

_BYTE_FORMATS = ("B", "b", "c", "h", "<h")
_NO_SAMPLES = np.zeros(0, np.float32)


def check_rate(rate_hz: float) -> int:
    """Returns a sample rate as an integer.

    Raises:
        AudioError: it is not a whole number of Hz, or too low or too high for audio.
    """
    is_number = isinstance(rate_hz, int | float | np.number) and not isinstance(rate_hz, bool)
    if is_number and LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ and rate_hz == int(rate_hz):
        return int(rate_hz)
    raise AudioError(
        f"sample_rate_hz: expected a whole number from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}, "
        f"found {rate_hz!r}"
    )


class SampleReader:
    """Turns the audio of one stream into samples; bytes may be cut anywhere.

    Floating-point audio is expected in the range of 16-bit integers unless a full scale is given. As many
    programs have it in -1..1, which would be recognised as silence, a stream whose first second stays in that
    range is reported once.
    """

    def __init__(self, rate_hz: int, full_scale: float | None = None):
        """Starts a stream.

        Args:
            rate_hz: its sample rate.
            full_scale: the value that full scale has in floating-point audio: 1.0 for audio in -1..1. None
                for the range of 16-bit integers, with a warning if the audio does not look like it.

        Raises:
            ConfigError: the full scale is not a positive number.
        """
        if full_scale is not None and not 0 < full_scale < math.inf:
            raise ConfigError(f"full_scale: expected a number above 0, found {full_scale!r}")
        self._scale = np.float32(1.0 if full_scale is None else INT16_SCALE / full_scale)
        self._half_sample = b""
        # Until it is clear whether floating-point audio is in -1..1: samples still to see, and their peak.
        self._unseen = rate_hz if full_scale is None else 0
        self._peak = 0.0
        self._has_fractions = False

    def read(self, audio: AudioChunk) -> NDArray[np.float32]:
        """Converts a piece of audio.

        Returns:
            (n,), float32, in the range of 16-bit integers. It may share memory with ``audio``.

        Raises:
            AudioError: the audio is not mono, is of another type, or contains NaN or infinity.
        """
        if isinstance(audio, bytes | bytearray | memoryview):
            return self._read_bytes(audio)
        if self._half_sample:
            raise AudioError("expected the other byte of a 16-bit sample, found an array")
        samples = _as_vector(audio)
        if samples.dtype.kind != "f":
            return samples.astype(np.float32)
        if not np.isfinite(samples).all():
            raise AudioError("expected finite samples, found NaN or infinity")
        if self._unseen > 0:
            self._look_at(samples)
        in_range = samples.astype(np.float32, copy=False)
        return in_range if self._scale == 1.0 else in_range * self._scale

    def drop_half_sample(self) -> None:
        """Forgets the first byte of a sample that the last bytes ended with."""
        self._half_sample = b""

    def _read_bytes(self, data: bytes | bytearray | memoryview) -> NDArray[np.float32]:
        view = memoryview(data)
        if view.format not in _BYTE_FORMATS:
            raise AudioError(f"expected bytes of 16-bit samples, found a memoryview of {view.format!r}")
        if self._half_sample or view.nbytes % 2 or not view.c_contiguous:
            view = memoryview(self._half_sample + view.tobytes())
        num_samples = view.nbytes // 2
        self._half_sample = view.tobytes()[2 * num_samples :] if view.nbytes % 2 else b""
        return np.frombuffer(view, "<i2", num_samples).astype(np.float32)

    def _look_at(self, samples: NDArray[np.floating[Any]]) -> None:
        """Warns of audio that is probably in -1..1: small, and not a quiet stream of integers."""
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        self._has_fractions = self._has_fractions or bool((samples != np.rint(samples)).any())
        self._unseen = 0 if self._peak > 1.0 else self._unseen - len(samples)
        if self._unseen <= 0 and self._peak <= 1.0 and self._has_fractions:
            logger.warning(
                "a second of floating-point audio stayed in -1..1 (peak %.3g), which counts as silence: "
                "expected the range of 16-bit integers; pass full_scale=1.0 for audio in -1..1",
                self._peak,
            )


class Quanta:
    """Cuts a stream of samples into pieces of one length, however it arrives."""

    def __init__(self, quantum_samples: int):
        """``quantum_samples`` is the length of each piece."""
        self._size = quantum_samples
        self._waiting = _NO_SAMPLES  # the beginning of a quantum; a copy

    def add(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yields the quanta that ``samples`` complete; they are valid until the caller changes its array."""
        begin = 0
        if len(self._waiting):
            begin = min(self._size - len(self._waiting), len(samples))
            self._waiting = np.concatenate([self._waiting, samples[:begin]])
            if len(self._waiting) < self._size:
                return
            quantum, self._waiting = self._waiting, _NO_SAMPLES
            yield quantum
        end = begin + (len(samples) - begin) // self._size * self._size
        self._waiting = samples[end:].copy()
        for start in range(begin, end, self._size):
            yield samples[start : start + self._size]

    def rest(self) -> NDArray[np.float32]:
        """Returns what is left of the stream, shorter than a quantum."""
        rest, self._waiting = self._waiting, _NO_SAMPLES
        return rest


def _as_vector(audio: Any) -> NDArray[Any]:
    """Mono samples of shape (n,), int16 or floating-point."""
    try:
        samples = np.asarray(audio)
    except ValueError:
        raise AudioError(f"expected samples, found {type(audio).__name__} of unequal lengths") from None
    if samples.dtype.kind != "f" and samples.dtype.newbyteorder("=") != np.int16:
        raise AudioError(
            f"expected samples of type int16 or floating-point, or bytes of S16LE, found {samples.dtype} "
            f"({type(audio).__name__})"
        )
    if samples.ndim == 2 and samples.shape[1] == 1:
        return samples[:, 0]
    if samples.ndim != 1:
        raise AudioError(f"expected mono audio of shape (n,) or (n, 1), found {samples.shape}")
    return samples
