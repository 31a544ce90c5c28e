"""Sample rate conversion of a stream by FFmpeg's resampler."""

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.pcm import Audio

_NO_SAMPLES = np.zeros(0, np.float32)


class RateConverter:
    """Brings mono audio of any rate, which may change on the way, to one rate.

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
        """Rate of the output, as far as it is known."""
        return self._rate_hz

    def convert(self, audio: Audio) -> NDArray[np.float32]:
        """Takes the next piece and returns what it completes: float32, range [-32768, 32767]."""
        if self._rate_hz is None:
            self._rate_hz = self._source_rate_hz = audio.rate_hz
        parts = [] if audio.rate_hz == self._source_rate_hz else [self._change_source_rate(audio.rate_hz)]
        if self._resampler is None:
            parts.append(audio.samples)
        elif len(audio.samples):
            frame = av.AudioFrame.from_ndarray(audio.samples[np.newaxis], format="flt", layout="mono")
            frame.sample_rate = audio.rate_hz
            frame.time_base = Fraction(1, audio.rate_hz)
            frame.pts = self._num_source_samples
            self._num_source_samples += len(audio.samples)
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
            self._resampler = av.AudioResampler("flt", "mono", self._rate_hz)
        return rest


def _samples(frame: av.AudioFrame) -> NDArray[np.float32]:
    return frame.to_ndarray()[0]


def _join(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    # Filters overshoot, and full scale in floating point is one more than 16 bits hold.
    return np.clip(np.concatenate([_NO_SAMPLES, *parts]), -32768.0, 32767.0)
