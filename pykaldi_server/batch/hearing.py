"""A recording, or a part of one, on its way through a session.

A part is heard twice. The first time its warm-up teaches the speaker; nothing else of it is kept. Then a
session starts with what has been learned.

Where a stream's i-vectors come from all that it has heard, the warm-up is all that is before the part, and a
`SpeakerLearner` hears it. With less the i-vector would be another one, and so would be, in a recording of
many speakers, every fiftieth word. Elsewhere a session that hears the last minute learns the same as one that
hears everything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.batch.parts import LONGEST_OVERRUN_S, Part
from pykaldi_server.session.channels import AudioSession
from pykaldi_server.session.events import AdaptationState, Event, Final
from pykaldi_server.session.learning import SpeakerLearner
from pykaldi_server.session.streaming import pieces

__all__ = ["Hearing", "Report", "StartLearner", "StartSession"]

Report = Callable[[float], None]
"""Is told how many seconds of a recording, or of a part, have been recognised."""

StartSession = Callable[[int | None, Mapping[int, str] | None], AudioSession]
"""Starts a session for audio of a rate, with what is known of the speakers by the numbers of channels."""

StartLearner = Callable[[int], SpeakerLearner | None]
"""Starts what learns a speaker from audio of a rate; None where a session has to, see `Model.learner`."""

_REPORT_S = 5.0  # audio between two reports of progress


class Hearing:
    """Takes the samples of a recording and yields events; a context manager, which closes the session.

    Args:
        start: starts sessions.
        part: the part that is to be heard; all before its warm-up is passed over.
        report: is told how far it has come.
        start_learner: starts what learns a speaker.
    """

    def __init__(
        self, start: StartSession, part: Part, report: Report, start_learner: StartLearner | None = None
    ) -> None:
        self._start = start
        self._part = part
        self._report = report
        self._start_learner = start_learner
        self._session: AudioSession | None = None
        self._warm_up: _WarmUp | None = None
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
            self._session = self._start(rate_hz, None if self._warm_up is None else self._warm_up.states())
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
            self._warm_up = _WarmUp(self._start, self._start_learner, self._rate_hz)
        self._warm_up.accept(samples[:num_warm])
        self._num_samples += num_warm
        return samples[num_warm:]

    def _samples_up_to(self, time_s: float) -> int:
        return round(time_s * self._rate_hz) - self._num_samples

    def _in_time_of_recording(self, events: Iterable[Event]) -> Iterator[Event]:
        by_s = self._part.heard_from_s
        for event in events:
            if by_s and isinstance(event, Final):
                yield replace(event, start_s=event.start_s + by_s, total_length_s=event.end_s + by_s)
            else:
                yield event


class _WarmUp:
    """Hears what is before a part, and learns the speakers of its channels."""

    def __init__(self, start: StartSession, start_learner: StartLearner | None, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start_learner = start_learner
        first = None if start_learner is None else start_learner(rate_hz)
        self._learners: list[SpeakerLearner] = [] if first is None else [first]
        self._session = start(rate_hz, None) if first is None else None

    def accept(self, samples: NDArray[np.float32]) -> None:
        """Takes samples, of shape (n,) or (n, channels)."""
        if self._session is not None:
            self._session.accept(samples)
            return
        columns = samples.T if samples.ndim == 2 else samples[np.newaxis]
        assert self._start_learner is not None
        while len(self._learners) < len(columns):  # at the first audio
            if (another := self._start_learner(self._rate_hz)) is not None:
                self._learners.append(another)
        for learner, column in zip(self._learners, columns, strict=True):
            learner.accept(column)

    def states(self) -> dict[int, str]:
        """What has been learned of each channel's speaker."""
        if self._session is not None:
            events = self._session.finish()
            return {each.channel or 0: each.value for each in events if isinstance(each, AdaptationState)}
        states = ((channel, learner.adaptation_state()) for channel, learner in enumerate(self._learners))
        return {channel: state for channel, state in states if state is not None}

    def close(self) -> None:
        """Ends the session, if there is one."""
        if self._session is not None:
            self._session.close()
