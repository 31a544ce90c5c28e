"""A recording, or a part of one, on its way through a session.

A part is heard by two sessions. The first one hears its warm-up and learns the speaker; nothing else of it
is kept. The second one starts with what the first one has learned, as if that came from all of the recording
up to there: in one run the statistics of i-vectors would be those of everything before, so that what is said
next changes little. Without that weight words differ, as the i-vector then follows the last seconds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.batch.parts import LONGEST_OVERRUN_S, Part
from pykaldi_server.session.adaptation import weighted_state
from pykaldi_server.session.channels import AudioSession
from pykaldi_server.session.events import AdaptationState, Event, Final
from pykaldi_server.session.streaming import pieces

__all__ = ["Hearing", "Report", "StartSession"]

Report = Callable[[float], None]
"""Is told how many seconds of a recording, or of a part, have been recognised."""

StartSession = Callable[[int | None, Mapping[int, str] | None], AudioSession]
"""Starts a session for audio of a rate, with what is known of the speakers by the numbers of channels."""

_REPORT_S = 5.0  # audio between two reports of progress
_REMEMBERED_S = 10.0  # of speech: that much an adaptation state weighs at most (max-remembered-frames)


class Hearing:
    """Takes the samples of a recording and yields events; a context manager, which closes the session.

    Args:
        start: starts sessions.
        part: the part that is to be heard; all before its warm-up is passed over.
        report: is told how far it has come.
        remembers_all: streams of the model weigh all that they have heard of a speaker, see `Acoustics`.
    """

    def __init__(self, start: StartSession, part: Part, report: Report, remembers_all: bool = False) -> None:
        self._start = start
        self._part = part
        self._report = report
        self._remembers_all = remembers_all
        self._session: AudioSession | None = None
        self._warm_up: AudioSession | None = None
        self._learned: list[Event] = []
        self._num_samples = 0  # of the recording so far
        self._num_channels = 1
        self._rate_hz = 1
        self._reported_s = part.start_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for session in (self._warm_up, self._session):
            if session is not None:
                session.close()

    @property
    def position_s(self) -> float:
        """How much of the recording has been heard or passed over."""
        return self._num_samples / self._rate_hz

    def accept(self, samples: NDArray[np.float32], rate_hz: int) -> Iterator[Event]:
        """Takes the next samples of the recording, always of the same rate; yields what became known."""
        self._rate_hz = rate_hz
        if samples.ndim == 2:
            self._num_channels = samples.shape[1]
        samples = self._pass_over(samples)
        samples = self._warm(samples)
        if not len(samples):
            return
        if self._session is None:
            self._session = self._start(rate_hz, self._states())
        for piece in pieces(samples, rate_hz):
            yield from self._in_time_of_recording(self._session.accept(piece))
            self._num_samples += len(piece)
            if self.position_s - self._reported_s >= _REPORT_S:
                self._reported_s = self.position_s
                self._report(self.position_s - self._part.start_s)

    def is_over(self, finals: Iterable[Final]) -> bool:
        """Whether each channel has ended a segment after the end of the part, or nobody waits any more."""
        if self.position_s < self._part.end_s:
            return False
        over = {final.channel for final in finals if final.end_s >= self._part.end_s}
        return len(over) >= self._num_channels or self.position_s >= self._part.end_s + LONGEST_OVERRUN_S

    def finish(self) -> Iterator[Event]:
        """Ends the session; yields what is left of its results."""
        if self._session is None:
            self._session = self._start(None, None)
        yield from self._in_time_of_recording(self._session.finish())
        self._report(max(0.0, min(self.position_s, self._part.end_s) - self._part.start_s))

    def _pass_over(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes away what comes before the warm-up."""
        num_passed = min(len(samples), max(0, self._samples_up_to(self._part.first_s)))
        self._num_samples += num_passed
        return samples[num_passed:]

    def _warm(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes away what belongs to the warm-up, and learns from it."""
        num_warm = min(len(samples), max(0, self._samples_up_to(self._part.heard_from_s)))
        if not num_warm:
            return samples
        if self._warm_up is None:
            self._warm_up = self._start(self._rate_hz, None)
        for piece in pieces(samples[:num_warm], self._rate_hz):
            self._learned += self._warm_up.accept(piece)
        self._num_samples += num_warm
        return samples[num_warm:]

    def _samples_up_to(self, time_s: float) -> int:
        return round(time_s * self._rate_hz) - self._num_samples

    def _states(self) -> dict[int, str] | None:
        """What the warm-up has taught of each channel's speaker, with the weight of all that came before."""
        if self._warm_up is None:
            return None
        self._learned += self._warm_up.finish()
        speech_s: dict[int, float] = defaultdict(float)
        states: dict[int, str] = {}
        for event in self._learned:
            match event:
                case Final():
                    said_s = sum(word.length_s for word in event.words) or event.length_s
                    speech_s[event.channel or 0] += said_s
                case AdaptationState():
                    states[event.channel or 0] = event.value
        if not self._remembers_all:
            return states
        warm_up_s = self._part.heard_from_s - self._part.first_s
        return {
            channel: weighted_state(
                state,
                max(1.0, said_s * self._part.heard_from_s / warm_up_s / min(said_s, _REMEMBERED_S)),
            )
            for channel, state in states.items()
            if (said_s := speech_s[channel])
        }

    def _in_time_of_recording(self, events: Iterable[Event]) -> Iterator[Event]:
        by_s = self._part.heard_from_s
        for event in events:
            if by_s and isinstance(event, Final):
                yield replace(event, start_s=event.start_s + by_s, total_length_s=event.end_s + by_s)
            else:
                yield event
