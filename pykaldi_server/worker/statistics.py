"""What a worker counts: audio, CPU time, outcomes, and how long results take.

The delay of a result is the time from when the audio that it needs had been received from the master to when
its text was sent to the master:

* of a partial result, that is the latest audio in it;
* of a final result, the audio up to the end of its segment, or the message by which the client ended the
  segment (``EOS``, finalize, reset).
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from pykaldi_server.session.events import Event, Final, Partial

__all__ = ["CANCELLED", "RequestStatistics", "WorkerStatistics"]

CANCELLED = "cancelled"
MOST_STRETCHES = 1024
"""As many of the latest pieces of audio are remembered; a segment has ended shortly before its result."""


class _Stretch(NamedTuple):
    """Audio that has been recognised in one step.

    Attributes:
        begin_s, end_s: where it is in the stream.
        first_s, last_s: when its first and its last part were received.
    """

    begin_s: float
    end_s: float
    first_s: float
    last_s: float

    def received_s(self, position_s: float) -> float:
        """When the audio up to a position within it had been received."""
        if self.end_s <= self.begin_s:
            return self.last_s
        share = min(max((position_s - self.begin_s) / (self.end_s - self.begin_s), 0.0), 1.0)
        return self.first_s + share * (self.last_s - self.first_s)


class RequestStatistics:
    """Those of one request. Its thread and the event loop use it, never both at the same time for one field.

    Args:
        observe: called in the event loop with each result and its delay in seconds.

    Attributes:
        audio_s: seconds of audio that have been recognised.
        cpu_s: CPU seconds that this has taken.
        outcome: how the request ended, the name of a status in lower case or `CANCELLED`.
    """

    def __init__(self, observe: Callable[[Event, float], None]) -> None:
        self.audio_s = 0.0
        self.cpu_s = 0.0
        self.outcome = CANCELLED
        self._observe = observe
        self._stretches: deque[_Stretch] = deque(maxlen=MOST_STRETCHES)
        self._partial_delays_s: list[float] = []
        self._final_delays_s: list[float] = []

    def recognized(self, position_s: float, first_s: float, last_s: float) -> None:
        """The audio up to a position has been recognised.

        Args:
            position_s: seconds of audio since the start of the stream.
            first_s, last_s: when the first and the last part of what is new had been received.
        """
        if position_s > self.audio_s:
            self._stretches.append(_Stretch(self.audio_s, position_s, first_s, last_s))
            self.audio_s = position_s

    def received_s(self, event: Event, last_s: float, is_audio: bool) -> float | None:
        """When what an event needs had been received; None for events that are not results.

        Args:
            event: comes of the message that is being handled.
            last_s: when that message, or the last of several, had been received.
            is_audio: whether the message is audio; others end a segment themselves.
        """
        if isinstance(event, Partial) or (isinstance(event, Final) and not is_audio):
            return last_s
        if not isinstance(event, Final):
            return None
        received_s = last_s
        for stretch in reversed(self._stretches):
            received_s = stretch.received_s(event.end_s)
            if stretch.begin_s < event.end_s:
                break
        return received_s

    def sent(self, event: Event, delay_s: float) -> None:
        """A result has been sent, this long after what it needs had been received."""
        delays_s = self._final_delays_s if isinstance(event, Final) else self._partial_delays_s
        delays_s.append(delay_s)
        self._observe(event, delay_s)

    def take_delays_s(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns the delays of the partial and of the final results since the last call."""
        delays_s = tuple(self._partial_delays_s), tuple(self._final_delays_s)
        self._partial_delays_s.clear()
        self._final_delays_s.clear()
        return delays_s


class WorkerStatistics:
    """Those of a worker process. It belongs to the event loop.

    Attributes:
        observe: called with each result and its delay in seconds.
        outcomes: number of requests that have ended, by outcome.
    """

    def __init__(self) -> None:
        self.observe: Callable[[Event, float], None] = lambda event, delay_s: None
        self.ended: Callable[[RequestStatistics], None] = lambda request: None
        self.outcomes: Counter[str] = Counter()
        self._running: set[RequestStatistics] = set()
        self._audio_s = 0.0
        self._cpu_s = 0.0

    def begin(self) -> RequestStatistics:
        """A request begins."""
        request = RequestStatistics(lambda event, delay_s: self.observe(event, delay_s))
        self._running.add(request)
        return request

    def end(self, request: RequestStatistics) -> None:
        """A request has ended."""
        self._running.discard(request)
        self._audio_s += request.audio_s
        self._cpu_s += request.cpu_s
        self.outcomes[request.outcome] += 1
        self.ended(request)

    @property
    def audio_s(self) -> float:
        """Seconds of audio that have been recognised."""
        return self._audio_s + sum(each.audio_s for each in self._running)

    @property
    def cpu_s(self) -> float:
        """CPU seconds that this has taken."""
        return self._cpu_s + sum(each.cpu_s for each in self._running)
