"""A session: one stream of audio in, events out. No input or output of its own."""

import logging

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError, AudioError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat import LinearResample
from pykaldi_server.session.acoustics.stream import Stream
from pykaldi_server.session.events import AdaptationState, Event, Partial
from pykaldi_server.session.model_parts import ModelParts
from pykaldi_server.session.results import ResultMaker

logger = logging.getLogger(__name__)

# Zero crossings of the filter with which Kaldi's features change the sample rate.
_RESAMPLE_ZEROS = 6
_NO_SAMPLES = np.zeros(0, np.float32)


class Session:
    """Recognises one stream of one speaker; cheap to make; used by one thread at a time.

    Audio is re-blocked into quanta of ``chunk-length-in-secs``, so that results do not depend on how it
    arrives, on the load, or on other sessions. As in Kaldi's programs, quanta are cut before the audio is
    converted to the model's rate.
    """

    def __init__(
        self, parts: ModelParts, adaptation_state: str | None = None, sample_rate_hz: int | None = None
    ):
        """See `Model.session`."""
        self._parts = parts
        self._options = parts.options
        self._results = ResultMaker(parts, self._options)
        self._stream, self._state = _start_stream(parts, adaptation_state)
        rate_hz = sample_rate_hz or parts.sample_rate_hz
        self._quantum_samples = max(1, round(self._options.chunk_length_in_secs * rate_hz))
        self._resampler = _resampler(rate_hz, parts.sample_rate_hz)
        self._waiting: list[NDArray[np.float32]] = []  # samples of a quantum that is not complete
        self._waiting_samples = 0
        self._segment = 0
        self._partial = ""
        self._partial_frame = 0  # frames of the segment at the last partial result
        self._finished = False

    def accept(self, samples: NDArray[np.float32]) -> list[Event]:
        """Takes audio.

        Args:
            samples: (n,), float32, mono, in the range of 16-bit integers, at the session's rate.

        Returns:
            What became known, in order.

        Raises:
            AudioError: samples are not finite numbers.
            DecoderError: the session is finished.
        """
        if self._finished:
            raise DecoderError("audio came after the session was finished")
        samples = np.array(samples, np.float32)  # a copy: some of it waits, and callers use buffers again
        if not np.isfinite(samples).all():
            raise AudioError("expected finite samples, found NaN or infinity")
        events: list[Event] = []
        self._waiting.append(samples)
        self._waiting_samples += len(samples)
        if self._waiting_samples >= self._quantum_samples:
            joined = np.concatenate(self._waiting)
            whole = len(joined) - len(joined) % self._quantum_samples
            for begin in range(0, whole, self._quantum_samples):
                self._accept_quantum(joined[begin : begin + self._quantum_samples], events)
            self._waiting = [joined[whole:]]
            self._waiting_samples = len(joined) - whole
        return events

    def finalize_segment(self) -> list[Event]:
        """Ends the present segment now, as if an endpoint had been found."""
        events: list[Event] = []
        if not self._finished:
            self._end_segment(events)
        return events

    def finish(self) -> list[Event]:
        """Ends the stream.

        Returns:
            The last results, then the adaptation state if the model adapts to speakers.
        """
        if self._finished:
            return []
        self._finished = True
        events: list[Event] = []
        rest = np.concatenate(self._waiting) if self._waiting else _NO_SAMPLES
        self._stream.finish(self._at_model_rate(rest, last=True), new_quantum=len(rest) > 0)
        self._end_segment(events)
        if self._state is not None:
            events.append(AdaptationState(self._state))
        return events

    def _at_model_rate(self, samples: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        return samples if self._resampler is None else self._resampler.resample(samples, flush=last)

    def _accept_quantum(self, samples: NDArray[np.float32], events: list[Event]) -> None:
        if not self._stream.accept(self._at_model_rate(samples, last=False)):
            return
        if self._segment_is_over():
            self._end_segment(events)
        else:
            self._tell_partial(events)

    def _segment_is_over(self) -> bool:
        if self._stream.endpoint_detected():
            return True
        length_s = self._stream.num_frames_decoded() * self._parts.frame_shift_s
        return length_s >= self._options.max_segment_length_in_secs

    def _tell_partial(self, events: list[Event]) -> None:
        frames = self._stream.num_frames_decoded()
        since_s = (frames - self._partial_frame) * self._parts.frame_shift_s
        if since_s < self._options.traceback_period_in_secs:
            return
        self._partial_frame = frames
        text = self._results.transcript(self._stream.partial_words())
        if text != self._partial:
            self._partial = text
            events.append(Partial(self._segment, text))

    def _end_segment(self, events: list[Event]) -> None:
        stream = self._stream
        if stream.num_frames_decoded() > 0:
            start_s = stream.first_frame * self._parts.frame_shift_s
            length_s = stream.num_frames_decoded() * self._parts.frame_shift_s
            final = self._results.final(self._segment, start_s, length_s, stream.end_segment())
            if final is not None:
                events.append(final)
                self._segment += 1
                if len(final.hypotheses[0].transcript.split()) >= self._options.min_words_for_ivector:
                    self._state = stream.adaptation_state()
            stream.next_segment()
        self._partial = ""
        self._partial_frame = 0


def _resampler(source_rate_hz: int, model_rate_hz: int) -> LinearResample | None:
    """What converts a session's audio to the model's rate, as Kaldi's features do it."""
    if source_rate_hz == model_rate_hz:
        return None
    cutoff_hz = 0.5 * min(source_rate_hz, model_rate_hz)
    return LinearResample(source_rate_hz, model_rate_hz, cutoff_hz, _RESAMPLE_ZEROS)


def _start_stream(parts: ModelParts, adaptation_state: str | None) -> tuple[Stream, str | None]:
    """Starts a stream with a speaker's state, or without one where the state does not fit."""
    if adaptation_state is not None:
        try:
            stream = parts.acoustics.start(parts.graph, parts.endpoint, adaptation_state)
            return stream, adaptation_state
        except (AdaptationStateError, ModelFormatError) as error:
            logger.warning("starting without the speaker's adaptation state: %s", error)
    stream = parts.acoustics.start(parts.graph, parts.endpoint, None)
    return stream, stream.adaptation_state()
