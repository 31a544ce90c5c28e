"""What is known of a request while it runs and when it has ended: for metrics and for the request log."""

import time
from dataclasses import dataclass, field

from pykaldi_server.errors import ProtocolError
from pykaldi_server.logs import LogContext
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.protocols.gstreamer import RequestInfo, is_final, parse_event, transcript_of
from pykaldi_server.protocols.worker import Position

__all__ = ["CANCELLED", "Delays", "RequestRecord"]

CANCELLED = "cancelled"
"""The outcome of a request whose client has left before its end."""

MOST_CHARACTERS = 500_000
"""No more of a request's transcripts is kept."""


@dataclass(slots=True)
class Delays:
    """How long results of one kind took, see `Position`.

    Attributes:
        count: number of results.
        total_s: sum of their delays in seconds.
        longest_s: the longest delay in seconds.
    """

    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0

    def add(self, delays_s: tuple[float, ...]) -> None:
        """Counts some more results."""
        for delay_s in delays_s:
            self.count += 1
            self.total_s += delay_s
            self.longest_s = max(self.longest_s, delay_s)

    @property
    def mean_s(self) -> float | None:
        """The mean delay in seconds; None without results."""
        return self.total_s / self.count if self.count else None


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request. Its relay fills it in the master's event loop, at a cost of a few additions per message.

    Attributes:
        info: the request.
        caller: who makes it.
        protocol: short name of the client's protocol.
        log_context: what log lines say of it.
        begun_s: when it began to look for a worker, in seconds since 1970.
        ended_s: when it ended; None while it runs.
        queue_wait_s: seconds until it had a worker; None as long as it has none.
        model: name of the worker's model; "" as long as there is no worker.
        worker: who serves it.
        received_bytes: bytes of the client's messages.
        sent_bytes: bytes of results for the client, as the worker sent them.
        audio_s: seconds of audio that have been recognised.
        cpu_s: CPU seconds of the worker that this took.
        partials, finals: delays of results.
        num_words: words in the best hypotheses of final results, if they are counted.
        transcripts: the best transcripts of final results, if they are kept.
        outcome: name of the status with which it ended, in lower case, or `CANCELLED`.
        message: describes what went wrong.
        error: the kind of error with which it ended; "" without one.
    """

    info: RequestInfo
    caller: Caller
    protocol: str
    log_context: LogContext
    begun_s: float = 0.0
    ended_s: float | None = None
    queue_wait_s: float | None = None
    model: str = ""
    worker: str = ""
    received_bytes: int = 0
    sent_bytes: int = 0
    audio_s: float = 0.0
    cpu_s: float = 0.0
    partials: Delays = field(default_factory=Delays)
    finals: Delays = field(default_factory=Delays)
    num_words: int = 0
    transcripts: list[str] = field(default_factory=list)
    outcome: str = CANCELLED
    message: str = ""
    error: str = ""
    _begun_monotonic_s: float = 0.0
    _num_characters: int = 0  # of the transcripts

    @classmethod
    def of(cls, info: RequestInfo, caller: Caller, protocol: str) -> "RequestRecord":
        """The record of a request that has not begun."""
        return cls(info, caller, protocol, LogContext(info.id, caller=str(caller)))

    def begin(self, info: RequestInfo) -> None:
        """The request begins to look for a worker.

        Args:
            info: what is known of it by now.
        """
        if info.id != self.info.id:
            self.log_context = LogContext(info.id, caller=str(self.caller))
        self.info = info
        self.begun_s, self._begun_monotonic_s = time.time(), time.monotonic()

    def assign(self, model: str, worker: str) -> None:
        """The request has got a worker; it may get another one if that leaves before it begins."""
        if self.queue_wait_s is None:
            self.queue_wait_s = time.monotonic() - self._begun_monotonic_s
        self.model, self.worker = model, worker
        self.log_context.model, self.log_context.worker = model, worker

    def note(self, position: Position) -> None:
        """The worker has come this far."""
        self.audio_s = max(self.audio_s, position.audio_s)
        self.cpu_s = max(self.cpu_s, position.cpu_s)
        self.partials.add(position.partial_delays_s)
        self.finals.add(position.final_delays_s)

    def note_final(self, text: str, keeps_text: bool) -> None:
        """A final result has come.

        Args:
            text: the event.
            keeps_text: whether the transcript is kept.
        """
        try:
            event = parse_event(text)
        except ProtocolError:
            return  # the relay reports it
        transcript = transcript_of(event) if is_final(event) else None
        if transcript is not None:
            self.num_words += len(transcript.split())
            if keeps_text and self._num_characters < MOST_CHARACTERS:
                self._num_characters += len(transcript)
                self.transcripts.append(transcript)

    def end(self) -> None:
        """The request has ended, with the outcome that has been noted."""
        self.ended_s = self.begun_s + self.duration_s

    @property
    def duration_s(self) -> float:
        """Seconds since the request began, whatever the clock of the machine does."""
        return time.monotonic() - self._begun_monotonic_s

    @property
    def real_time_factor(self) -> float | None:
        """CPU seconds per second of audio; None where the worker says nothing of it."""
        return self.cpu_s / self.audio_s if self.cpu_s > 0 and self.audio_s > 0 else None
