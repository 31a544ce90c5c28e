"""A session: one stream of audio in, events out. No input or output of its own."""

import functools
import logging
import math
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat import LinearResample
from pykaldi_server.session.acoustics.stream import Stream
from pykaldi_server.session.events import AdaptationState, Event, Partial
from pykaldi_server.session.model_parts import ModelParts
from pykaldi_server.session.request_options import EffectiveOptions, RequestOptions
from pykaldi_server.session.results import ResultMaker
from pykaldi_server.session.samples import AudioChunk, Quanta, SampleReader, check_rate

if TYPE_CHECKING:  # with its detector only for those who use one
    from pykaldi_server.audio.vad_options import VadOptions
    from pykaldi_server.session.voice_gate import VoiceGate

__all__ = ["Session", "make_gate", "make_resampler"]

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Zero crossings of the filter with which Kaldi's features change the sample rate.
_RESAMPLE_ZEROS = 6
# Partial results with words cost time in proportion to the segment's length, so they come at most once per
# this part of it: the cost of a segment stays in proportion to its length.
_WORDS_PERIOD = 0.02
# A segment with this part of the words that it may have ends at the next moment of silence. They are counted
# at least this often, however seldom there are partial results.
_ENOUGH_WORDS = 0.9
_COUNT_PERIOD_S = 0.2


def _exclusive(
    method: "Callable[Concatenate[Session, _P], _R]",
) -> "Callable[Concatenate[Session, _P], _R]":
    """Lets one thread at a time into a method of a session; another one gets an error, not a wait."""

    @functools.wraps(method)
    def guarded(self: "Session", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not self._in_use.acquire(blocking=False):
            raise DecoderError(
                "the session is in use by another thread: expected one thread at a time per session"
            )
        try:
            return method(self, *args, **kwargs)
        finally:
            self._in_use.release()

    return guarded


class Session:
    """Recognises one stream of one speaker; cheap to make, by `Model.session`.

    Threads: one thread at a time may use a session, any thread; a second one gets a `DecoderError`. Only
    `options`, `sample_rate_hz`, `num_samples_consumed` and `position_s` may be read at any time. Sessions of
    one model are independent: any number of them may run in as many threads, and the heavy work releases the
    interpreter's lock.

    Audio is re-blocked into quanta of ``chunk-length-in-secs``, so that results do not depend on how it
    arrives, on the load, or on other sessions. As in Kaldi's programs, quanta are cut before the audio is
    converted to the model's rate.

    A session is a context manager: leaving it closes it, which frees its memory at once.
    """

    def __init__(
        self,
        parts: ModelParts,
        adaptation_state: str | None = None,
        sample_rate_hz: float | None = None,
        options: Mapping[str, object] | RequestOptions | None = None,
        full_scale: float | None = None,
    ):
        """See `Model.session`."""
        self._in_use = threading.Lock()
        self._parts = parts
        self._effective = EffectiveOptions.of(parts, RequestOptions.parse(options))
        self._options = self._effective.session
        self._results = ResultMaker(parts, self._options)
        self._rate_hz = parts.sample_rate_hz if sample_rate_hz is None else check_rate(sample_rate_hz)
        self._reader = SampleReader(self._rate_hz, full_scale)
        self._num_samples = 0
        self._ended = ""  # how, once it has
        self._segment = 0
        # What earlier segments taught of the speaker; None if nothing is learned. What the last of them
        # taught becomes text when it is needed.
        self._state = adaptation_state if self._options.do_adaptation else None
        self._learned: Callable[[], str | None] | None = None
        # The last partial result of the segment: its text, and the ids of its words.
        self._partial = ""
        self._partial_ids = b""
        self._partial_frame = 0  # decoded frames of the segment by then
        self._num_words = 0  # of the segment, when they were last counted
        self._counted_frame = 0  # decoded frames of the segment by then
        self._start_stream()

    @property
    def options(self) -> RequestOptions:
        """The options that are in effect: the model's, and over them those that the session was given."""
        return self._effective.request

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that the session takes."""
        return self._rate_hz

    @property
    def num_samples_consumed(self) -> int:
        """Number of samples that `accept` has taken since the stream began."""
        return self._num_samples

    @property
    def position_s(self) -> float:
        """Length of the audio that `accept` has taken since the stream began."""
        return self._num_samples / self._rate_hz

    @property
    @_exclusive
    def partial(self) -> Partial:
        """The best reading of the current segment so far, also if no event has reported it."""
        if self._ended or self._stream.num_frames_decoded() == 0:
            return Partial(self._segment, "")
        return self._make_partial(self._stream.partial_words())

    @_exclusive
    def accept(self, audio: AudioChunk) -> list[Event]:
        """Takes audio.

        Args:
            audio: mono samples at the session's rate. An array of shape (n,) or (n, 1): int16, or
                floating-point with the session's full scale. Or bytes: S16LE, cut anywhere. The session
                keeps no reference to it.

        Returns:
            What became known, in order.

        Raises:
            AudioError: the audio is not mono, is of another type, or contains NaN or infinity.
            DecoderError: the session is finished, closed or in use by another thread.
        """
        self._refuse_if_ended()
        samples = self._reader.read(audio)
        events: list[Event] = []
        for quantum in self._quanta.add(samples):
            self._accept_quantum(quantum, events)
        self._num_samples += len(samples)
        return events

    @_exclusive
    def finalize_segment(self) -> list[Event]:
        """Ends the current segment now, as if an endpoint had been found.

        The last moments of the audio may not be decoded yet; they belong to the next segment.

        Returns:
            The final result, if there are words.

        Raises:
            DecoderError: the session is in use by another thread.
        """
        events: list[Event] = []
        if not self._ended:
            self._end_segment(events)
        return events

    @_exclusive
    def reset(self) -> list[Event]:
        """Decodes what has been taken to its end, and begins again with what comes next.

        Unlike after `finalize_segment`, nothing of the audio so far takes part in later results. Times and
        segments go on counting, and what has been learned of the speaker is kept.

        Returns:
            The final result of the current segment, if there are words.

        Raises:
            DecoderError: the session is finished, closed or in use by another thread.
        """
        self._refuse_if_ended()
        events: list[Event] = []
        self._decode_rest(events)
        self._reader.drop_half_sample()
        self._start_stream()
        return events

    @_exclusive
    def finish(self) -> list[Event]:
        """Ends the stream.

        Returns:
            The last results, then the adaptation state if the model adapts to speakers. A second call
            returns nothing.

        Raises:
            DecoderError: the session is closed or in use by another thread.
        """
        if self._ended == "finished":
            return []
        self._refuse_if_ended()
        events: list[Event] = []
        self._decode_rest(events)
        state = self._known_state()
        if state is not None:
            events.append(AdaptationState(state))
        self._end("finished")
        return events

    @_exclusive
    def close(self) -> None:
        """Ends the session without results and frees its memory; it may have ended already.

        Raises:
            DecoderError: the session is in use by another thread.
        """
        self._end("closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise DecoderError(f"expected a session that goes on, found one that was {self._ended}")

    def _end(self, how: str) -> None:
        if not self._ended:
            del self._stream, self._quanta, self._resampler, self._gate
            self._learned = None
        self._ended = how

    def _start_stream(self) -> None:
        """Starts decoding, at the current position of the stream."""
        self._stream = self._make_stream()
        if self._options.do_adaptation and self._state is None:
            self._state = self._parts.acoustics.unknown_speaker(self._stream)
        self._quanta = Quanta(max(1, round(self._options.chunk_length_in_secs * self._rate_hz)))
        self._resampler = make_resampler(self._rate_hz, self._parts.sample_rate_hz)
        self._gate = make_gate(self._parts, self._options.vad) if self._options.use_vad else None
        self._stream_start_s = self.position_s
        self._forget_partial()

    def _make_stream(self) -> Stream:
        """A stream with what is known of the speaker, or without it if it does not fit the model."""
        start = functools.partial(
            self._parts.acoustics.start,
            self._parts.graph,
            self._effective.endpoint,
            adapts=self._options.do_adaptation,
            search_options=self._effective.search,
        )
        state = self._known_state()
        if state is not None:
            try:
                return start(state)
            except (AdaptationStateError, ModelFormatError) as error:
                logger.warning("starting without the speaker's adaptation state: %s", error)
                self._state = None
        return start(None)

    def _known_state(self) -> str | None:
        """What is known of the speaker, in Kaldi's text form; None if nothing is."""
        if self._learned is not None:
            self._state, self._learned = self._learned(), None
        return self._state

    def _at_model_rate(self, samples: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        return samples if self._resampler is None else self._resampler.resample(samples, flush=last)

    def _accept_quantum(self, quantum: NDArray[np.float32], events: list[Event]) -> None:
        samples = self._at_model_rate(quantum, last=False)
        if self._gate is not None:
            samples = self._gate.accept(samples)
            if len(samples) == 0:
                return
        if not self._stream.accept(samples):
            return
        falls_silent = self._gate is not None and self._gate.may_close(self._num_frames())
        if falls_silent or self._segment_is_over():
            self._end_segment(events)
        else:
            self._report_partial(events)
        if self._gate is not None and falls_silent:
            self._gate.close()

    def _decode_rest(self, events: list[Event]) -> None:
        rest = self._quanta.rest()
        samples = self._at_model_rate(rest, last=True)
        if self._gate is not None:
            samples = self._gate.accept(samples)
        self._stream.finish(samples, new_quantum=len(rest) > 0 and len(samples) > 0)
        self._end_segment(events)

    def _num_frames(self) -> int:
        """Number of decoded frames of the stream."""
        return self._stream.first_frame + self._stream.num_frames_decoded()

    def _segment_start_s(self) -> float:
        skipped_s = 0.0 if self._gate is None else self._gate.skipped_s
        return self._stream_start_s + self._stream.first_frame * self._parts.frame_shift_s + skipped_s

    def _segment_length_s(self) -> float:
        return self._stream.num_frames_decoded() * self._parts.frame_shift_s

    def _segment_is_over(self) -> bool:
        if self._stream.endpoint_detected():
            return True
        if self._segment_length_s() >= self._options.max_segment_length_in_secs:
            return True
        most_words = self._options.max_segment_words or math.inf
        if self._num_words < _ENOUGH_WORDS * most_words:
            return False
        return self._num_words >= most_words or self._stream.in_silence()

    def _report_partial(self, events: list[Event]) -> None:
        frames = self._stream.num_frames_decoded()
        period_s = self._options.traceback_period_in_secs
        if self._options.partial_words:
            period_s = max(period_s, _WORDS_PERIOD * self._segment_length_s())
        is_due = (frames - self._partial_frame) * self._parts.frame_shift_s >= period_s
        if not is_due and not self._count_is_due(frames):
            return
        words = self._stream.partial_words()
        self._num_words, self._counted_frame = len(words), frames
        if not is_due:
            return
        self._partial_frame = frames
        ids = words.tobytes()
        if ids == self._partial_ids:
            return
        self._partial_ids = ids
        text = self._results.transcript(words)
        if text != self._partial:
            self._partial = text
            events.append(self._make_partial(words))

    def _count_is_due(self, frames: int) -> bool:
        """Whether the words of the segment, of which ``frames`` are decoded, have to be counted."""
        passed_s = (frames - self._counted_frame) * self._parts.frame_shift_s
        return self._options.max_segment_words > 0 and passed_s >= _COUNT_PERIOD_S

    def _make_partial(self, words: NDArray[np.int32]) -> Partial:
        lattice = self._stream.partial_lattice() if self._options.partial_words else None
        num_stable_words = self._stream.num_stable_words()
        return self._results.partial(self._segment, self._segment_start_s(), words, num_stable_words, lattice)

    def _end_segment(self, events: list[Event]) -> None:
        stream = self._stream
        if stream.num_frames_decoded() > 0:
            final = self._results.final(
                self._segment, self._segment_start_s(), self._segment_length_s(), stream.end_segment()
            )
            if final is not None:
                events.append(final)
                self._segment += 1
                num_words = len(final.transcript.split())
                if self._options.do_adaptation and num_words >= self._options.min_words_for_ivector:
                    self._learned = stream.learned()
            stream.next_segment()
        self._forget_partial()

    def _forget_partial(self) -> None:
        self._partial = ""
        self._partial_ids = b""
        self._partial_frame = 0
        self._num_words = 0
        self._counted_frame = 0


def make_resampler(source_rate_hz: int, model_rate_hz: int) -> LinearResample | None:
    """What converts a session's audio to the model's rate, as Kaldi's features do it."""
    if source_rate_hz == model_rate_hz:
        return None
    cutoff_hz = 0.5 * min(source_rate_hz, model_rate_hz)
    return LinearResample(source_rate_hz, model_rate_hz, cutoff_hz, _RESAMPLE_ZEROS)


def make_gate(parts: ModelParts, options: "VadOptions") -> "VoiceGate":
    """What keeps silence from a stream of a model."""
    from pykaldi_server.session.voice_gate import VoiceGate

    rate_hz = parts.sample_rate_hz
    return VoiceGate(options, rate_hz, int(rate_hz * parts.frame_shift_s + 1e-6))
