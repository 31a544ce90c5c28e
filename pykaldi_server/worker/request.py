"""One request as a worker sees it: messages from the master, work on threads, events back, in order.

Each message is one piece of work for the threads. Whatever ends a request before its audio does, what has
been recognised of the current segment is sent first.
"""

import asyncio
import logging
import threading
from collections.abc import Generator
from pathlib import Path

from pykaldi_server.errors import ProtocolError
from pykaldi_server.logs import LogContext
from pykaldi_server.protocols.gstreamer import (
    Audio,
    ClientMessage,
    EndOfStream,
    Reset,
    error_message,
    parse_client_message,
)
from pykaldi_server.protocols.messages import Status, dumps, message_bytes
from pykaldi_server.protocols.worker import PIECE_BYTES, Position, WorkerRequestInfo
from pykaldi_server.session import Model
from pykaldi_server.session.events import AdaptationState, Event
from pykaldi_server.sockets import QuickConnection
from pykaldi_server.worker.decoder_threads import Share
from pykaldi_server.worker.inbox import Inbox
from pykaldi_server.worker.outbox import Item, Outbox, ProcessText
from pykaldi_server.worker.recognition import Recognition, is_out_of_memory, status_of
from pykaldi_server.worker.statistics import RequestStatistics, WorkerStatistics

__all__ = ["WorkerRequest"]

logger = logging.getLogger(__name__)

TimedEvents = list[tuple[Event, float | None]]
"""Events, each with the time when what it needs had been received."""


class CancelledByMasterError(Exception):
    """The master has closed the connection: its client is gone."""


class RequestEndedError(Exception):
    """The worker itself ends the request early."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class WorkerRequest:
    """Serves one request over a connection that has just got its first message.

    Args:
        connection: to the master.
        info: that first message.
        model: what to recognise with.
        share: the request's share of the threads.
        silence_timeout_s: ends the request when nothing new is recognised for this long; None never does.
        process_text: changes the text of results; None leaves it alone.
        out_dir: directory in which the audio is kept; None keeps none.
        statistics: counts what the request takes and how it ends; None counts nothing that anyone reads.

    Attributes:
        is_out_of_memory: the request has failed for want of memory.
    """

    def __init__(
        self,
        connection: QuickConnection,
        info: WorkerRequestInfo,
        model: Model,
        share: Share,
        silence_timeout_s: float | None,
        process_text: ProcessText | None = None,
        out_dir: Path | None = None,
        statistics: RequestStatistics | None = None,
    ) -> None:
        self.is_out_of_memory = False
        self._statistics = statistics or WorkerStatistics().begin()
        self._info = info
        self._out_dir = out_dir
        self._id = info.request.id
        self._model = model
        self._share = share
        self._silence_timeout_s = silence_timeout_s
        self._loop = asyncio.get_running_loop()
        self._last_result_s = self._loop.time()
        self._is_cancelled = threading.Event()
        self._interruption: RequestEndedError | None = None
        self._outbox = Outbox(connection, self._id, process_text, self._statistics)
        self._inbox = Inbox(connection, self._cancel)
        self._consumed_bytes = 0
        self._reported_bytes = 0
        self._not_understood: ProtocolError | None = None  # the first message that was ignored

    async def run(self) -> None:
        """Recognises to the end. Whatever goes wrong is told to the client, and only logged here."""
        context = LogContext(self._id, self._model.name)
        context.enter()
        request = self._info.request
        logger.info("%s: started, user %s, type %s", self._id, request.user_id, request.content_type)
        recognition: Recognition | None = None
        try:
            recognition = Recognition(self._model, self._info, self._out_dir)
            await self._recognize(recognition)
            self._statistics.outcome = Status.SUCCESS.name.lower()
            logger.info("%s: done", self._id)
        except CancelledByMasterError:
            logger.info("%s: cancelled", self._id)
        except Exception as error:
            await self._fail(recognition, error)
        finally:
            self._inbox.close()
            self._outbox.close()
            if recognition is not None:
                recognition.close()

    def interrupt(self, reason: str) -> None:
        """Ends the request with status 2 and this reason, after what has been recognised."""
        if self._interruption is None:
            self._interruption = RequestEndedError(Status.ABORTED, reason)
            self._inbox.interrupt()

    def _cancel(self) -> None:
        """The master has closed the connection."""
        self._is_cancelled.set()
        self._outbox.drop()

    async def _recognize(self, recognition: Recognition) -> None:
        at_end = False
        while not at_end:
            message = await self._next_message()
            received_s = self._inbox.received_s
            num_bytes = message_bytes(message)
            parsed = self._parse(message)
            if isinstance(parsed, Audio) and self._info.position_bytes != 0:
                more = self._inbox.get_more_audio(PIECE_BYTES - num_bytes)
                parsed = Audio(b"".join((parsed.data, *more)))
                num_bytes = len(parsed.data)
            events: TimedEvents = []
            if parsed is not None:
                events = await self._work(recognition, parsed, received_s)
                at_end = isinstance(parsed, EndOfStream)
            if at_end and not recognition.has_audio and self._not_understood is not None:
                text = f"expected audio in binary messages, found none; {self._not_understood}"
                raise RequestEndedError(Status.NOT_ALLOWED, text)
            if isinstance(parsed, Reset):
                self._tell(events)
                events = []
                await self._outbox.flush()  # its result is what the client waits for
            self._consumed_bytes += num_bytes
            self._tell(events, self._position(recognition, at_end))
        await self._outbox.flush()

    async def _work(self, recognition: Recognition, message: ClientMessage, first_s: float) -> TimedEvents:
        """Does what a message asks, on a thread; events of a step go out while the next is computed.

        Those of the last one are returned: they go out together with the position, since each message that is
        sent by itself costs the master as much as one of audio.

        Args:
            recognition: of the request.
            message: what to do; audio may be that of several messages.
            first_s: when the message, or the first of several, had been received.
        """
        try:
            events = await self._share.run(self._steps(recognition, message, first_s), self._tell)
        finally:
            self._statistics.cpu_s = self._share.cpu_s
        if self._is_cancelled.is_set() or self._outbox.is_closed:
            raise CancelledByMasterError
        if self._interruption is not None:
            self._tell(events)
            raise self._interruption
        return events

    def _steps(
        self, recognition: Recognition, message: ClientMessage, first_s: float
    ) -> Generator[TimedEvents, None, TimedEvents]:
        """What a thread does, step by step; returns the events of the last one."""
        last: TimedEvents = []
        last_s = self._inbox.received_s
        is_audio = isinstance(message, Audio)
        statistics = self._statistics
        for events in recognition.handle(message):
            statistics.recognized(recognition.position_s, first_s, last_s)
            last += [(each, statistics.received_s(each, last_s, is_audio)) for each in events]
            if recognition.has_more:
                yield last
                last = []
            if self._is_cancelled.is_set() or self._interruption is not None:
                break
        return last

    def _tell(self, events: TimedEvents, position: Position | None = None) -> None:
        if not all(isinstance(event, AdaptationState) for event, _ in events):
            self._last_result_s = self._loop.time()
        items: list[tuple[Item, float | None]] = [*events]
        if position is not None:
            items.append((position, None))
        self._outbox.put_timed(*items)

    def _position(self, recognition: Recognition, at_end: bool) -> Position | None:
        """How far it has come, when the master wants to know of it."""
        wanted = self._info.position_bytes
        if wanted is None or not (at_end or self._consumed_bytes - self._reported_bytes >= wanted):
            return None
        self._reported_bytes = self._consumed_bytes
        return Position(self._consumed_bytes, recognition.position_s, at_end, self._statistics.cpu_s)

    async def _next_message(self) -> str | bytes:
        if self._silence_timeout_s is None:
            message = await self._inbox.get()
        else:
            try:
                async with asyncio.timeout_at(self._last_result_s + self._silence_timeout_s):
                    message = await self._inbox.get()
            except TimeoutError:
                text = f"nothing was recognised for {self._silence_timeout_s:g} s"
                raise RequestEndedError(Status.NO_SPEECH, text) from None
        if self._interruption is not None:
            raise self._interruption
        if message is None:
            raise CancelledByMasterError
        return message

    def _parse(self, message: str | bytes) -> ClientMessage | None:
        try:
            return parse_client_message(message)
        except ProtocolError as error:
            logger.warning("%s: message ignored: %s", self._id, error)
            self._not_understood = self._not_understood or error
            return None

    async def _fail(self, recognition: Recognition | None, error: Exception) -> None:
        """Sends what has been recognised of the segment, then the error."""
        self.is_out_of_memory = is_out_of_memory(error)
        if isinstance(error, RequestEndedError):
            status, text = error.status, str(error)
        else:
            status, text = status_of(error)
            if status is Status.ABORTED:
                logger.error("%s: failed", self._id, exc_info=error)
        self._statistics.outcome = status.name.lower()
        if recognition is not None:
            self._outbox.put(*await self._last_events(recognition))
        logger.warning("%s: error %d: %s", self._id, status, text)
        self._outbox.put(dumps(error_message(status, text, self._id)))
        await self._outbox.flush()

    async def _last_events(self, recognition: Recognition) -> list[Event]:
        events: list[Event] = []

        def steps() -> Generator[list[Event]]:
            yield recognition.finalize()

        try:
            await self._share.run(steps(), events.extend)
        except Exception:  # the session may be what has failed
            logger.warning("%s: nothing more can be had of the segment", self._id, exc_info=True)
        return events
