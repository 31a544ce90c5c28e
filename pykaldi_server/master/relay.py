"""One request: finds a worker, passes the client's messages on, delivers the worker's events, releases the
worker.

    client --send--> store --no more than WINDOW_BYTES on the way--> worker
    sink <--deliver, consumed, end------------------------------------ worker

Whatever protocol a client speaks, its messages come as those of `protocols.gstreamer`, and events go out to a
`Sink`, which turns them into the client's protocol. The client is read into a store even when the worker is
slow: keepalive pings are answered, and leaving is noticed at once. The worker says how far it has come
(`Position`), so that only a bounded number of bytes is on the way to it and it can always read its
connection. A worker gets the user's kept state, where one is wanted, before anything that the client sends.

A request ends in exactly one way: as the worker announces, with an error, because the client is gone, or
because the server stops, which is an error unless all has been recognised by then.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.hub import Hub, WorkerConnection
from pykaldi_server.master.pool import UnavailableError, UnknownModelError
from pykaldi_server.master.records import RequestRecord
from pykaldi_server.protocols.gstreamer import (
    EOS,
    RequestInfo,
    adaptation_state_of,
    channel_of,
    is_eos,
    is_final,
    parse_event,
    transcript_of,
)
from pykaldi_server.protocols.messages import (
    INTERNAL_ERROR,
    INVALID_DATA,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    Status,
    dumps,
    message_bytes,
)
from pykaldi_server.protocols.store import MessageStore
from pykaldi_server.protocols.worker import Position, is_position, split_message

__all__ = ["End", "Relay", "Sink"]

logger = logging.getLogger(__name__)

WINDOW_BYTES = 128 * 1024
POSITION_BYTES = WINDOW_BYTES // 4
PIECES_AT_ONCE = 16
"""After storing this many pieces of a message, other requests have their turn."""
WORKER_LOST = "The recogniser was lost before the recognition was complete"
_CLOSE_CODES = {
    Status.SUCCESS: NORMAL_CLOSURE,
    Status.NO_SPEECH: POLICY_VIOLATION,
    Status.AUDIO_CAPTURE: INVALID_DATA,
    Status.NOT_ALLOWED: POLICY_VIOLATION,
    Status.NOT_AVAILABLE: TRY_AGAIN_LATER,
}
_SUCCESS_PREFIX = '{"status": 0,'
_STATE_FIELD = '"adaptation_state"'


class End(NamedTuple):
    """How a request has ended.

    Attributes:
        status: SUCCESS, or what went wrong.
        message: describes what went wrong.
        is_unknown_model: no worker serves the model that the client asked for.
        error: the kind of error, where the status does not say enough.
    """

    status: Status
    message: str = ""
    is_unknown_model: bool = False
    error: str = ""

    @property
    def error_kind(self) -> str:
        """What metrics call the error; "" if there is none."""
        if self.status is Status.SUCCESS:
            return ""
        return self.error or ("unknown_model" if self.is_unknown_model else self.status.name.lower())

    @property
    def close_code(self) -> int:
        """The code with which a WebSocket is closed whose protocol has no errors of its own."""
        return POLICY_VIOLATION if self.is_unknown_model else _CLOSE_CODES.get(self.status, INTERNAL_ERROR)


class Sink(Protocol):
    """The client's side of a request: turns events into the client's protocol."""

    async def deliver(self, event: str) -> None:
        """Passes on an event with status 0, a text of `protocols.gstreamer`; returns when that is written."""

    async def consumed(self, position: Position) -> None:
        """The worker has processed this much of what was sent. Comes after the events that belong to it."""

    async def end(self, end: End) -> None:
        """The request has ended; nothing more comes. Is not called after `Relay.cancel`."""


class Relay:
    """Carries one request; see the module's text. It belongs to the master's event loop.

    Args:
        hub: what the master's handlers share.
        info: the request.
        sink: the client's side.
        caller: who makes the request.
        position_bytes: the sink wants to know of `consumed` after this many bytes; 0 for every message.
        protocol: short name of the client's protocol, for metrics.

    Attributes:
        caller: who makes the request.
        record: what is known of the request.
        is_over: the request has ended; messages are dropped.
    """

    def __init__(
        self,
        hub: Hub,
        info: RequestInfo,
        sink: Sink,
        caller: Caller,
        position_bytes: int = POSITION_BYTES,
        protocol: str = "other",
    ) -> None:
        self.caller = caller
        self.record = RequestRecord.of(info, caller, protocol)
        self.is_over = False
        self._hub = hub
        self._info = info
        self._sink = sink
        self._position_bytes = position_bytes
        self._store = MessageStore(hub.options.store_bytes)
        self._room = asyncio.Event()
        self._has_audio = False
        self._at_end = False  # the client has said EOS
        self._cut_off: End | None = None  # how the request ends, because the server stops
        self._ticket: int | None = None  # who has been in line keeps its place
        self._worker: WorkerConnection | None = None
        self._is_prepared = False  # the worker has all that comes before the client's messages
        self._keeps_state = False
        self._own_bytes = 0  # of what has been sent, those that do not come from the client
        self._awaits_own_position = False  # that of the kept state, which does not concern the client
        self._sent_bytes = 0
        self._consumed_bytes = 0
        # What a worker got that has not said anything yet: another can take over. None once it has.
        self._unconfirmed: deque[str | bytes] | None = deque()
        self._idle: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_started(self) -> bool:
        """Whether a worker is or was looked for."""
        return self._task is not None

    @property
    def stored_bytes(self) -> int:
        """Bytes of the client's messages that wait for the worker."""
        return len(self._store)

    @property
    def keeps_state(self) -> bool:
        """Whether what the request teaches of its user is kept, if it gets to its end."""
        return self._keeps_state

    def start(self, info: RequestInfo | None = None) -> None:
        """Begins to look for a worker. Messages may be sent before one is found.

        Args:
            info: takes the place of what was known of the request so far.
        """
        self._info = info or self._info
        self._hub.requests.add(self)
        self.record.begin(self._info)
        self._hub.metrics.request_begins(self.record)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"relay {self._info.id}")
        self._task.add_done_callback(self._forget)  # also if it is cancelled before it has begun

    async def send(self, message: str | bytes) -> None:
        """Takes the client's next message. Returns at once unless the store is full."""
        if self.is_over or self._at_end or self._cut_off is not None:
            return
        self._at_end = is_eos(message)
        self.record.received_bytes += message_bytes(message)
        if not self._has_audio and (self._at_end or (isinstance(message, bytes) and message)):
            self._has_audio = True
            if self._idle is not None:
                self._idle.reschedule(None)
        for number, piece in enumerate(split_message(message), start=1):
            self._store.put(piece)
            if number % PIECES_AT_ONCE == 0:  # a whole recording takes a while to be written to disk
                self._pump()
                await asyncio.sleep(0)
                if self.is_over:
                    return
        self._pump()
        while self._store.is_full and not self.is_over:
            self._room.clear()
            await self._room.wait()

    def cancel(self) -> None:
        """The client is gone: stops the worker and frees its slot at once."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._store.close()

    async def cut_off(self, reason: str, patience_s: float) -> None:
        """The server stops: ends the request with what the worker finds in the audio that it has.

        Args:
            reason: the client is told, unless it has sent everything and everything has been recognised.
            patience_s: how long the worker may take.
        """
        task = self._task
        if task is None:
            return
        if not self.is_over:
            self._cut_off = End(Status.ABORTED, reason, error="shutdown")
            if self._worker is not None:
                if not self._at_end:
                    self._worker.send(EOS)
                await asyncio.wait([task], timeout=patience_s)
            if not self.is_over:
                task.cancel()
        await asyncio.wait([task], timeout=self._hub.options.write_timeout_s)

    def _forget(self, _: "asyncio.Task[None]") -> None:
        self._hub.requests.discard(self)
        self._store.close()
        self.record.end()
        self._hub.metrics.request_ends(self.record)

    async def _run(self) -> None:
        self.record.log_context.enter()
        end = End(Status.ABORTED, WORKER_LOST, error="worker_lost")
        try:
            end = await self._serve()
        except asyncio.CancelledError:
            if self._cut_off is None:
                raise
        except Exception:  # whatever it is, the client waits for an end
            logger.exception("%s: failed", self._info.id)
            end = End(Status.ABORTED, "Internal error of the server", error="internal")
        finally:
            self.is_over, self._idle = True, None
            if self._worker is not None:
                self._worker.release()
            self._store.close()
            self._room.set()
        if self._cut_off is not None and not (self._at_end and end.status is Status.SUCCESS):
            end = self._cut_off
        self.record.outcome, self.record.message = end.status.name.lower(), end.message
        self.record.error = end.error_kind
        if end.status is Status.SUCCESS:
            logger.info("%s: done", self._info.id)
        else:
            logger.warning("%s: error %d: %s", self._info.id, end.status, end.message)
        await self._sink.end(end)

    async def _serve(self) -> End:
        idle_s = self._hub.options.idle_s
        try:
            async with asyncio.timeout(None if self._has_audio else idle_s) as self._idle:
                while True:
                    worker = self._worker = await self._find_worker()
                    await self._send_kept_state(worker)
                    end = await self._deliver_all(worker)
                    if end is not None:
                        return end
                    worker.release()
        except UnavailableError as error:
            return End(Status.NOT_AVAILABLE, str(error), isinstance(error, UnknownModelError))
        except TimeoutError:
            return End(Status.NO_SPEECH, f"no audio came within {idle_s:g} s", error="idle")

    async def _find_worker(self) -> WorkerConnection:
        pool, options = self._hub.pool, self._hub.options
        if self._ticket is None:
            self._ticket = pool.ticket()
        while True:
            worker = await pool.acquire(
                self._info.model, options.queue_s, length=options.queue_length, ticket=self._ticket
            )
            if worker.begin(self._info, self._position_bytes):
                self.record.assign(worker.info.model, str(worker))
                logger.info("%s: served by %s", self._info.id, worker)
                return worker
            pool.remove(worker)

    async def _send_kept_state(self, worker: WorkerConnection) -> None:
        """Sends what earlier sessions of the user have taught. One that the client sends later wins."""
        states = self._hub.states
        self._keeps_state = states is not None and states.is_for(self._info, worker.info)
        if states is not None and self._keeps_state:
            state = await states.load(self._info, worker.info)
            if state is not None:
                message = dumps({"adaptation_state": state})
                self._own_bytes = self._sent_bytes = message_bytes(message)
                self._awaits_own_position = True
                worker.send(message)
        self._is_prepared = True

    async def _deliver_all(self, worker: WorkerConnection) -> End | None:
        """Delivers until the end; None when the worker left before it began: another should be found."""
        self._pump()
        while (message := await worker.read()) is not None:
            if is_position(message):
                end = await self._note_position(worker, Position.from_text(str(message)))
            else:
                self._unconfirmed = None
                end = await self._deliver(message)
            if end is not None:
                return end
        if worker.is_going_away and self._unconfirmed is not None:
            self._take_back(self._unconfirmed)
            return None
        if (
            self._at_end
            and not self._store
            and worker.is_closed_properly
            and not worker.info.reports_positions
        ):
            return End(Status.SUCCESS)
        return End(Status.ABORTED, WORKER_LOST, error="worker_lost")

    async def _deliver(self, message: str | bytes) -> End | None:
        """Passes an event on; returns how the request ends, if it does."""
        text = message if isinstance(message, str) else message.decode(errors="replace")
        self.record.sent_bytes += len(text)
        if self._keeps_state and _STATE_FIELD in text:
            self._keep_state(text)
        if not text.startswith(_SUCCESS_PREFIX) or logger.isEnabledFor(logging.DEBUG):
            try:
                event = parse_event(text)
            except ProtocolError as error:
                logger.warning("%s: a message of %s was ignored: %s", self._info.id, self._worker, error)
                return None
            if event["status"] != Status.SUCCESS:
                return _error_end(event["status"], str(event.get("message", "")))
            if is_final(event):
                logger.debug("%s: final: %s", self._info.id, transcript_of(event))
        return await self._until_written(self._sink.deliver(text))

    def _keep_state(self, text: str) -> None:
        """Keeps the adaptation state in an event, if it has one: of several channels, that of the first."""
        try:
            event = parse_event(text)
        except ProtocolError:
            return  # `_deliver` reports it
        state = adaptation_state_of(event)
        if state is None or channel_of(event):  # the user is who speaks on the first channel
            return
        if self._hub.states is not None and self._worker is not None:
            self._hub.states.save(self._info, self._worker.info, state)

    async def _note_position(self, worker: WorkerConnection, position: Position) -> End | None:
        """Makes room for what waits, and tells the sink; returns how the request ends, if it does."""
        self._consumed_bytes = position.num_bytes
        self.record.note(position)
        self._hub.metrics.results_sent(self.record, position)
        if self._awaits_own_position:
            self._awaits_own_position = False
            if position.num_bytes == self._own_bytes and not position.end:
                return None
        # What a worker that reports no positions has been sent may still wait, but not all of it is kept.
        if worker.info.reports_positions or position.num_bytes > WINDOW_BYTES:
            self._unconfirmed = None
        self._pump()
        of_client = replace(position, num_bytes=position.num_bytes - self._own_bytes)
        end = await self._until_written(self._sink.consumed(of_client))
        return End(Status.SUCCESS) if end is None and position.end else end

    async def _until_written(self, writing: Coroutine[Any, Any, None]) -> End | None:
        """Waits for the sink, but not for ever; returns how the request ends, if it does."""
        timeout_s = self._hub.options.write_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await writing
        except TimeoutError:
            return End(
                Status.ABORTED,
                f"the client has not read its results for {timeout_s:g} s",
                error="slow_client",
            )
        return None

    def _pump(self) -> None:
        """Sends what the window has room for."""
        worker = self._worker
        if not self._is_prepared:
            return
        if self._cut_off is not None and not self._at_end:  # the worker has been told that this was all
            return
        while worker is not None and self._store and self._sent_bytes - self._consumed_bytes < WINDOW_BYTES:
            message = self._store.get()
            num_bytes = message_bytes(message)
            self._sent_bytes += num_bytes
            if self._unconfirmed is not None:
                self._unconfirmed.append(message)
            worker.send(message)
        if not self._store.is_full:
            self._room.set()

    def _take_back(self, unconfirmed: "deque[str | bytes]") -> None:
        """Makes what a worker got and did nothing with the next to be sent."""
        self._worker = None
        self._is_prepared = self._awaits_own_position = False
        self._own_bytes = self._sent_bytes = self._consumed_bytes = 0
        while unconfirmed:
            self._store.put_back(unconfirmed.pop())


def _error_end(status: int, message: str) -> End:
    try:
        return End(Status(status), message)
    except ValueError:
        return End(Status.ABORTED, message or f"the recogniser failed with status {status}")
