"""Resampling by a windowed sinc filter, as Kaldi does it.

Concept: the samples x[n] taken at S_in Hz are seen as pulses x[n] / S_in at times n / S_in. Convolving them
with a low-pass filter h gives a continuous signal, which is read off at the times k / S_out:

    y[k] = 1 / S_in * sum_n x[n] * h(k / S_out - n / S_in)
    h(t) = 2 C sinc(2 C t) * (1 + cos(2 pi C t / Z)) / 2      for |t| < Z / (2 C), otherwise 0

Terms: C is the cutoff in Hz (at most half of either rate), Z the number of zero crossings of the sinc on each
side inside the Hann window: more are sharper and slower (Kaldi's features use 6). A *unit* is the shortest
time that is a whole number of samples at both rates; the filter taps repeat from unit to unit, so there is
one row of taps for each *phase*, the position of an output sample in its unit.

`LinearResample` does this for streams at even times, `ArbitraryResample` for whole signals at any times.

Source: Kaldi, feat/resample.h and feat/resample.cc.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pykaldi_server.errors import AudioError, ConfigError
from pykaldi_server.kaldi.feat.pieces import pieces_of

__all__ = ["ArbitraryResample", "LinearResample"]

_BLOCK_SAMPLES = 4096
"""Output samples computed at a time, which bounds the memory for any length of input."""


class LinearResample:
    """Converts a stream of samples from one rate to another, piece by piece.

    The result does not depend on how the input is cut into pieces. The object belongs to one stream and to
    one thread at a time.

    Args:
        samp_rate_in_hz: rate of the input.
        samp_rate_out_hz: rate of the output.
        filter_cutoff_hz: cutoff of the low-pass filter, at most half of either rate.
        num_zeros: zero crossings of the sinc on each side, at least 1.

    Raises:
        ConfigError: a value is invalid.
    """

    def __init__(
        self, samp_rate_in_hz: int, samp_rate_out_hz: int, filter_cutoff_hz: float, num_zeros: int
    ) -> None:
        if samp_rate_in_hz <= 0 or samp_rate_out_hz <= 0:
            raise ConfigError(
                f"resampling: expected rates above 0 Hz, found {samp_rate_in_hz} and {samp_rate_out_hz}"
            )
        highest_cutoff_hz = min(samp_rate_in_hz, samp_rate_out_hz) / 2
        if not 0 < filter_cutoff_hz <= highest_cutoff_hz:
            raise ConfigError(
                f"resampling {samp_rate_in_hz} Hz to {samp_rate_out_hz} Hz: expected a cutoff above 0 "
                f"and up to {highest_cutoff_hz:g} Hz, found {filter_cutoff_hz:g} Hz"
            )
        if num_zeros < 1:
            raise ConfigError(f"resampling: expected num_zeros of at least 1, found {num_zeros}")
        self._samp_rate_in_hz = samp_rate_in_hz
        self._samp_rate_out_hz = samp_rate_out_hz
        # Kaldi keeps the cutoff and the filter values in single precision; only the tap positions are double.
        self._filter_cutoff_hz = float(np.float32(filter_cutoff_hz))
        self._num_zeros = num_zeros
        units_per_s = math.gcd(samp_rate_in_hz, samp_rate_out_hz)
        self._input_samples_in_unit = samp_rate_in_hz // units_per_s
        self._output_samples_in_unit = samp_rate_out_hz // units_per_s
        self._first_index, self._weights = self._compute_taps()
        self.reset()

    @property
    def samp_rate_in_hz(self) -> int:
        """Rate of the input."""
        return self._samp_rate_in_hz

    @property
    def samp_rate_out_hz(self) -> int:
        """Rate of the output."""
        return self._samp_rate_out_hz

    def reset(self) -> None:
        """Starts a new stream."""
        self._num_input_samples = 0
        self._num_output_samples = 0
        # Times before the stream count as zeros. The buffer keeps the input that later output samples need.
        self._buffer_start = int(self._first_index.min())
        self._buffer = np.zeros(-self._buffer_start, np.float32)

    def resample(self, samples: ArrayLike, flush: bool = False) -> NDArray[np.float32]:
        """Accepts the next piece of the input and returns the output that it completes.

        Args:
            samples: shape (n,), any scale, at `samp_rate_in_hz`; may be empty.
            flush: True for the last piece. What follows counts as zeros, the output that the filter delays by
                num_zeros / (2 cutoff) seconds is returned as well, and the next call starts a new stream.

        Returns:
            float32, shape (m,), on the input's scale, at `samp_rate_out_hz`.

        Raises:
            AudioError: `samples` is not a vector.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise AudioError(
                f"resampling: expected a vector of samples, found an array of shape {samples.shape}"
            )
        self._num_input_samples += len(samples)
        output_begin = self._num_output_samples
        output_end = self._output_samples_available(flush)
        self._buffer = np.concatenate([self._buffer, samples])
        # The last output samples may have taps past the input: on flushing, and where taps are padding.
        taps_end = self._first_input_of(max(output_end - 1, 0)) + self._weights.shape[1]
        tail = np.zeros(max(0, taps_end - self._num_input_samples), np.float32)
        padded_input = np.concatenate([self._buffer, tail])
        blocks = [
            self._compute(padded_input, begin, min(begin + _BLOCK_SAMPLES, output_end))
            for begin in range(output_begin, output_end, _BLOCK_SAMPLES)
        ]
        if flush:
            self.reset()
        else:
            self._num_output_samples = output_end
            self._drop_old_input()
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def _compute(self, padded_input: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
        """Output samples [begin, end): one row of input and one row of taps each, multiplied and summed."""
        units, phases = np.divmod(np.arange(begin, end), self._output_samples_in_unit)
        first_inputs = self._first_index[phases] + units * self._input_samples_in_unit - self._buffer_start
        windows = pieces_of(padded_input, self._weights.shape[1])
        # Not a matrix product: BLAS may sum in another order when there are more rows; this never does.
        output: NDArray[np.float32] = np.einsum("ij,ij->i", windows[first_inputs], self._weights[phases])
        return output

    def _compute_taps(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """First input sample (in unit 0) and taps of each phase, padded with zeros to the same number."""
        window_width_s = self._num_zeros / (2.0 * self._filter_cutoff_hz)
        output_times_s = np.arange(self._output_samples_in_unit) / self._samp_rate_out_hz
        first = np.ceil((output_times_s - window_width_s) * self._samp_rate_in_hz).astype(np.int64)
        last = np.floor((output_times_s + window_width_s) * self._samp_rate_in_hz).astype(np.int64)
        inputs = first[:, None] + np.arange((last - first).max() + 1)
        offsets_s = (inputs / self._samp_rate_in_hz - output_times_s[:, None]).astype(np.float32)
        weights = _filter(offsets_s, self._filter_cutoff_hz, self._num_zeros) / np.float32(
            self._samp_rate_in_hz
        )
        weights[inputs > last[:, None]] = 0
        return first, weights

    def _output_samples_available(self, flush: bool) -> int:
        """Number of output samples, from the start of the stream, that the input so far determines."""
        ticks_per_s = math.lcm(self._samp_rate_in_hz, self._samp_rate_out_hz)
        length_ticks = self._num_input_samples * (ticks_per_s // self._samp_rate_in_hz)
        if not flush:
            # Single precision throughout, as in Kaldi: it decides on which side of a tick the window ends.
            window_width_s = np.float32(self._num_zeros / (2.0 * self._filter_cutoff_hz))
            length_ticks -= int(np.floor(window_width_s * np.float32(ticks_per_s)))
        # The interval is open on the right: an output sample exactly at its end does not count.
        ticks_per_output_sample = ticks_per_s // self._samp_rate_out_hz
        return max(self._num_output_samples, -(-length_ticks // ticks_per_output_sample))

    def _first_input_of(self, output_sample: int) -> int:
        """The first input sample, from the start of the stream, that an output sample depends on."""
        unit, phase = divmod(output_sample, self._output_samples_in_unit)
        return int(self._first_index[phase]) + unit * self._input_samples_in_unit

    def _drop_old_input(self) -> None:
        first_needed = self._first_input_of(self._num_output_samples)
        num_old = min(max(first_needed - self._buffer_start, 0), len(self._buffer))
        self._buffer = self._buffer[num_old:].copy()
        self._buffer_start += num_old


class ArbitraryResample:
    """Evaluates signals at given times, which need not be evenly spaced.

    Args:
        num_samples_in: length of the signals; outside they count as zeros.
        samp_rate_hz: their rate.
        filter_cutoff_hz: cutoff of the low-pass filter, at most half the rate.
        sample_points_s: (m,), times in seconds from the first sample.
        num_zeros: zero crossings of the sinc on each side, at least 1.

    Raises:
        ConfigError: a value is invalid.
    """

    def __init__(
        self,
        num_samples_in: int,
        samp_rate_hz: float,
        filter_cutoff_hz: float,
        sample_points_s: NDArray[np.float32],
        num_zeros: int,
    ) -> None:
        if num_samples_in < 1 or num_zeros < 1 or not 0 < 2 * filter_cutoff_hz <= samp_rate_hz:
            raise ConfigError(
                "resampling: expected at least one sample, one zero crossing and a cutoff of up to half the "
                f"rate, found {num_samples_in}, {num_zeros}, {filter_cutoff_hz:g} Hz at {samp_rate_hz:g} Hz"
            )
        input_times_s = np.arange(num_samples_in, dtype=np.float32) / np.float32(samp_rate_hz)
        offsets_s = sample_points_s.astype(np.float32)[:, np.newaxis] - input_times_s
        self.weights = _filter(offsets_s, filter_cutoff_hz, num_zeros) / np.float32(samp_rate_hz)

    def resample(self, signals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns (signals, m), float32, from (signals, num_samples_in)."""
        return signals @ self.weights.T


def _filter(offsets_s: NDArray[np.float32], cutoff_hz: float, num_zeros: int) -> NDArray[np.float32]:
    """h(t) of the file's header at the given times, rounded to single precision where Kaldi rounds."""
    times_s = offsets_s.astype(np.float64)
    window = 0.5 * (1 + np.cos(2 * np.pi * cutoff_hz / num_zeros * times_s))
    window[np.abs(times_s) >= num_zeros / (2.0 * cutoff_hz)] = 0
    # sin(2 pi C t) / (pi t), whose limit at t = 0 is 2 C, is NumPy's normalised sinc.
    sinc = 2 * cutoff_hz * np.sinc(2 * cutoff_hz * times_s)
    return sinc.astype(np.float32) * window.astype(np.float32)
