"""Sample rate conversion of a stream by FFmpeg's resampler."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # audio that has the right rate needs no FFmpeg
    import av

__all__ = ["RateConverter"]

_NO_SAMPLES = np.zeros(0, np.float32)
_LOWEST, _HIGHEST = -32768.0, 32767.0


class RateConverter:
    """Brings one channel of any rate, which may change on the way, to one rate.

    The result does not depend on how the audio is cut. The object belongs to one stream.

    Args:
        rate_hz: rate of the output; None takes that of the first piece.
    """

    def __init__(self, rate_hz: int | None) -> None:
        self._rate_hz = rate_hz
        self._source_rate_hz = rate_hz
        self._resampler: av.AudioResampler | None = None
        self._num_source_samples = 0

    @property
    def rate_hz(self) -> int | None:
        """Rate of the output; None while it is not known."""
        return self._rate_hz

    def convert(self, samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """Takes the next piece.

        Args:
            samples: shape (n,), int16 range.
            rate_hz: their rate.

        Returns:
            What the piece completes: shape (m,), range [-32768, 32767]. It may share memory with `samples`.
        """
        if self._rate_hz is None:
            self._rate_hz = self._source_rate_hz = rate_hz
        parts = [] if rate_hz == self._source_rate_hz else [self._change_source_rate(rate_hz)]
        if self._resampler is None:
            parts.append(samples)
        elif len(samples):
            import av

            # The frame wants memory in one piece, which a channel among others is not.
            row = np.ascontiguousarray(samples)[np.newaxis]
            frame = av.AudioFrame.from_ndarray(row, format="flt", layout="mono")
            frame.sample_rate = rate_hz
            frame.time_base = Fraction(1, rate_hz)
            frame.pts = self._num_source_samples
            self._num_source_samples += len(samples)
            parts += [_samples(converted) for converted in self._resampler.resample(frame)]
        return _join(parts)

    def finish(self) -> NDArray[np.float32]:
        """Returns the samples that were still inside the resampler's filter."""
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return _NO_SAMPLES
        return _join([_samples(converted) for converted in resampler.resample(None)])

    def _change_source_rate(self, rate_hz: int) -> NDArray[np.float32]:
        rest = self.finish()
        self._source_rate_hz = rate_hz
        self._num_source_samples = 0
        if rate_hz != self._rate_hz:
            import av

            self._resampler = av.AudioResampler("flt", "mono", self._rate_hz)
        return rest


def _samples(frame: "av.AudioFrame") -> NDArray[np.float32]:
    samples: NDArray[np.float32] = frame.to_ndarray()[0]
    return samples


def _join(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    samples = parts[0] if len(parts) == 1 else np.concatenate([_NO_SAMPLES, *parts])
    # Filters overshoot, and full scale in floating point is one more than 16 bits hold.
    if len(samples) and (samples.max() > _HIGHEST or samples.min() < _LOWEST):
        return samples.clip(_LOWEST, _HIGHEST)
    return samples
