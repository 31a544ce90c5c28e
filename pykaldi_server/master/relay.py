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
import time
from collections import deque
from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.deadlines import Deadlines, Late
from pykaldi_server.master.end import End
from pykaldi_server.master.hub import Hub, WorkerConnection
from pykaldi_server.master.limits import LimitError, session_limit_s
from pykaldi_server.master.places import PlaceTeller
from pykaldi_server.master.pool import NOT_AVAILABLE, UnavailableError, UnknownModelError, retry_s
from pykaldi_server.master.records import RequestRecord
from pykaldi_server.protocols.gstreamer import (
    EOS,
    RequestInfo,
    adaptation_state_of,
    channel_of,
    is_eos,
    is_final,
    parse_event,
    queue_message,
    transcript_of,
)
from pykaldi_server.protocols.languages import model_for_language
from pykaldi_server.protocols.messages import (
    Status,
    dumps,
    message_bytes,
)
from pykaldi_server.protocols.store import MessageStore
from pykaldi_server.protocols.worker import PIECE_BYTES, Position, is_position, split_message

__all__ = ["End", "Relay", "Sink"]

logger = logging.getLogger(__name__)

WINDOW_BYTES = 128 * 1024
POSITION_BYTES = WINDOW_BYTES // 4
PIECES_AT_ONCE = 16
"""After storing this many pieces of a message, other requests have their turn."""
MESSAGES_AT_ONCE = 256
"""After sending this many messages to a worker, other requests have their turn."""
WORKER_LOST = "The recogniser was lost before the recognition was complete"
_SUCCESS_PREFIX = '{"status": 0,'
_STATE_FIELD = '"adaptation_state"'
_FINAL_FIELD = '"final": true'


class Sink(Protocol):
    """The client's side of a request: turns events into the client's protocol."""

    def deliver(self, event: str) -> Awaitable[object] | None:
        """Passes on an event with status 0, a text of `protocols.gstreamer`.

        Returns:
            What is done when that is written; None if it is so now.
        """

    def consumed(self, position: Position) -> Awaitable[object] | None:
        """The worker has processed this much of what was sent. Comes after the events that belong to it.

        Returns:
            As `deliver`.
        """

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
        self._store = MessageStore(hub.options.store_bytes, budget=hub.stored)
        self._held_s = 0.0  # how long what was sent last had been in the store
        self._room = asyncio.Event()
        self._has_audio = False  # or it has been said that there is none
        self._at_end = False  # the client has said EOS
        self._cut_off: End | None = None  # how the request ends, because the server ends it
        self._has_dropped = False  # what the client has sent and will send is not passed on
        self._ticket: int | None = None  # who has been in line keeps its place
        self._places: PlaceTeller | None = None
        self._worker: WorkerConnection | None = None
        self._is_prepared = False  # the worker has all that comes before the client's messages
        self._keeps_state = False
        self._own_bytes = 0  # of what has been sent, those that do not come from the client
        self._awaits_own_position = False  # that of the kept state, which does not concern the client
        self._sent_bytes = 0
        self._consumed_bytes = 0
        # What a worker got that has not said anything yet: another can take over. None once it has.
        self._unconfirmed: deque[str | bytes] | None = deque()
        self._next_pump: asyncio.Handle | None = None
        self._task: asyncio.Task[None] | None = None
        options = hub.options
        self._deadlines = Deadlines(options, session_limit_s(caller, options), self._is_late)

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
        self._deadlines.start()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"relay {self._info.id}")
        self._task.add_done_callback(self._forget)  # also if it is cancelled before it has begun

    async def send(self, message: str | bytes) -> None:
        """Takes the client's next message. Returns at once unless the store is full."""
        if (taking := self.take(message)) is not None:
            await taking

    def take(self, message: str | bytes) -> Awaitable[None] | None:
        """Takes the client's next message.

        Returns:
            What is to be awaited before the next one comes; None if that may come now. A message of a live
            stream, whose worker keeps up, goes straight to the worker.
        """
        if self.is_over or self._at_end or self._cut_off is not None:
            return None
        num_bytes = message_bytes(message)
        self._at_end = is_eos(message)
        self.record.received_bytes += num_bytes
        self._has_audio = self._has_audio or self._at_end or (num_bytes > 0 and isinstance(message, bytes))
        self._deadlines.client_spoke(has_audio=self._has_audio, is_complete=self._at_end)
        if num_bytes > PIECE_BYTES or self._store or not self._may_pass:
            return self._put(message)
        assert self._worker is not None
        self._held_s = 0.0
        self._pass_on(self._worker, message, num_bytes)
        self._note_debt(self._worker)
        return None

    async def _put(self, message: str | bytes) -> None:
        """Puts a message into the store, and waits while that is full."""
        for number, piece in enumerate(split_message(message), start=1):
            try:
                self._store.put(piece)
            except OSError as error:
                logger.error("%s: the audio cannot be stored: %s", self._info.id, error)
                text = "The server has no room left to store audio"
                self._end_now(End(Status.ABORTED, text, error="store"))
                return
            if number % PIECES_AT_ONCE == 0:  # a whole recording takes a while to be written to disk
                self._pump()
                await asyncio.sleep(0)
                if self.is_over or self._has_dropped:
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
                    self._drop_rest(self._worker, self._cut_off)
                await asyncio.wait([task], timeout=patience_s)
            if not self.is_over:
                task.cancel()
        await asyncio.wait([task], timeout=self._hub.options.write_timeout_s)

    def _forget(self, _: "asyncio.Task[None]") -> None:
        self._deadlines.stop()
        self._hub.requests.discard(self)
        self._store.close()
        self.record.end()
        self._hub.metrics.request_ends(self.record)
        if self._hub.request_log is not None:
            self._hub.request_log.add(self.record)

    async def _run(self) -> None:
        self.record.log_context.enter()
        end = End(Status.ABORTED, WORKER_LOST, error="worker_lost")
        try:
            with self._hub.sessions.entered(self.caller, self._hub.options):
                end = await self._serve()
        except LimitError as error:
            mean_s = self._hub.pool.mean_duration_s(self._info.model)
            after_s = retry_s(mean_s / error.num_sessions)
            end = End(
                Status.NOT_AVAILABLE,
                str(error),
                error="caller_limit",
                is_own_limit=True,
                retry_after_s=after_s,
            )
        except asyncio.CancelledError:
            if self._cut_off is None:
                raise
        except Exception:  # whatever it is, the client waits for an end
            logger.exception("%s: failed", self._info.id)
            end = End(Status.ABORTED, "Internal error of the server", error="internal")
        finally:
            self.is_over = True
            self._deadlines.stop()
            if self._places is not None:
                self._places.stop()
            if self._worker is not None:
                self._worker.release()
            self._store.close()
            self._room.set()
        if self._cut_off is not None and (self._has_dropped or end.status is not Status.SUCCESS):
            end = self._cut_off
        self.record.outcome, self.record.message = end.status.name.lower(), end.message
        self.record.error = end.error_kind
        if end.status is Status.SUCCESS:
            logger.info("%s: done", self._info.id)
        else:
            logger.warning("%s: error %d: %s", self._info.id, end.status, end.message)
        await self._sink.end(end)

    async def _serve(self) -> End:
        try:
            while True:
                worker = self._worker = await self._find_worker()
                await self._send_kept_state(worker)
                end = await self._deliver_all(worker)
                if end is not None:
                    return end
                worker.release()
        except UnavailableError as error:
            return End(
                Status.NOT_AVAILABLE,
                str(error),
                isinstance(error, UnknownModelError),
                retry_after_s=error.retry_after_s,
            )

    def _is_late(self, what: Late) -> None:
        """Ends a request that has lasted too long, with what has been recognised where that can be."""
        options, worker = self._hub.options, self._worker
        match what:
            case Late.NO_AUDIO:
                self._end_now(
                    End(Status.NO_SPEECH, f"no audio came within {options.idle_s:g} s", error="idle")
                )
            case Late.PAUSE if worker is not None and self._hub.pool.is_wanted(worker.info.model):
                text = f"nothing came for {options.pause_s:g} s, and others are waiting"
                self._drop_rest(worker, End(Status.NO_SPEECH, text, error="idle"))
            case Late.PAUSE:
                self._deadlines.allow_pause()
            case Late.TIME_IS_UP if worker is not None and self._at_end and not self._store:
                self._deadlines.ending()
            case Late.TIME_IS_UP if worker is not None:
                self._drop_rest(worker, self._time_is_up())
            case Late.TIME_IS_UP:
                self._end_now(self._time_is_up())
            case Late.WORKER_HANGS:
                timeout_s = options.worker_timeout_s
                logger.error("%s: %s has said nothing for %g s", self._info.id, worker, timeout_s)
                text = f"The recogniser has not answered for {timeout_s:g} s"
                self._end_now(End(Status.ABORTED, text, error="worker_hangs"))

    def _time_is_up(self) -> End:
        limit_s = session_limit_s(self.caller, self._hub.options)
        text = f"the request was served for {limit_s:g} s, as long as this server allows"
        return End(Status.ABORTED, text, error="session_limit")

    def _end_now(self, end: End) -> None:
        """Ends the request without another word of its worker."""
        self._cut_off = self._cut_off or end
        if self._task is not None:
            self._task.cancel()

    def _drop_rest(self, worker: WorkerConnection, end: End) -> None:
        """Ends the request with what the worker finds in the audio that it has got."""
        self._cut_off = end
        if not self._has_dropped:
            self._has_dropped = True
            worker.send(EOS)
            self._store.close()
            self._room.set()
            self._deadlines.ending()

    def _choose_model(self) -> None:
        """Finds the model for the language that the client asks for, if it asks for one.

        Raises:
            UnknownModelError: the models say their languages, and none is this one.
            UnavailableError: no model has connected so far, or the right one may yet do so.
        """
        info, hub = self._info, self._hub
        if not info.language:
            return
        if not hub.models and not hub.pool.accepting:
            raise UnavailableError(NOT_AVAILABLE, 1)
        named = hub.models.get(info.model or "")
        try:
            model = model_for_language(
                info.language, [named] if named else hub.models.values(), hub.pool.default_model
            )
        except ProtocolError as error:
            if hub.pool.expects_models:
                raise UnavailableError(f"{NOT_AVAILABLE}: models are still being loaded", 1) from None
            raise UnknownModelError(str(error), 0) from None
        self._info = replace(info, model=info.model or model)

    async def _find_worker(self) -> WorkerConnection:
        pool, options = self._hub.pool, self._hub.options
        self._choose_model()
        if self._ticket is None:
            self._ticket = pool.ticket()
            self._places = PlaceTeller(self._tell_place) if self._info.wants_place else None
        while True:
            worker = await pool.acquire(
                self._info.model,
                options.queue_s,
                length=options.queue_length,
                ticket=self._ticket,
                place=self._places,
            )
            if worker.begin(self._info, self._position_bytes):
                self.record.assign(worker.info.model, str(worker))
                logger.info("%s: served by %s", self._info.id, worker)
                self._deadlines.served()
                return worker
            pool.remove(worker)

    async def _tell_place(self, place: int) -> None:
        await self._until_written(self._sink.deliver(dumps(queue_message(place, self._info.id))))

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
        if self._places is not None:
            await self._places.served()
        while (message := await worker.read()) is not None:
            self._deadlines.worker_spoke()
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
        if self._hub.request_log is not None and _FINAL_FIELD in text:
            self.record.note_final(text, self._hub.options.request_log_text)
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
        if self._held_s:
            position = position.later(self._held_s)
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
        if self._own_bytes:
            position = replace(position, num_bytes=position.num_bytes - self._own_bytes)
        end = await self._until_written(self._sink.consumed(position))
        return End(Status.SUCCESS) if end is None and position.end else end

    async def _until_written(self, writing: Awaitable[object] | None) -> End | None:
        """Waits for the sink, but not for ever; returns how the request ends, if it does."""
        if writing is None:
            return None
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
        if not self._is_prepared or self._has_dropped:
            return
        num_sent = 0
        while worker is not None and self._store and self._may_pass:
            message = self._store.get()
            self._held_s = time.monotonic() - self._store.came_s
            self._pass_on(worker, message, message_bytes(message))
            num_sent += 1
            if num_sent == MESSAGES_AT_ONCE and self._store:
                self._pump_later()
                break
        if not self._store.is_full:
            self._room.set()
        if worker is not None:
            self._note_debt(worker)

    @property
    def _may_pass(self) -> bool:
        """Whether the worker may be sent a message of the client."""
        has_room = self._sent_bytes - self._consumed_bytes < WINDOW_BYTES
        return has_room and self._is_prepared and self._worker is not None and not self._has_dropped

    def _pass_on(self, worker: WorkerConnection, message: str | bytes, num_bytes: int) -> None:
        self._sent_bytes += num_bytes
        if self._unconfirmed is not None:
            self._unconfirmed.append(message)
        worker.send(message)

    def _pump_later(self) -> None:
        """Sends more when others have had their turn: a backlog may be a hundred thousand tiny messages."""
        if self._next_pump is None:
            self._next_pump = asyncio.get_running_loop().call_soon(self._pump_again)

    def _pump_again(self) -> None:
        self._next_pump = None
        self._pump()

    def _note_debt(self, worker: WorkerConnection) -> None:
        """Tells the deadlines whether the worker has to report how far it has come.

        Of one that reports no positions nothing can be said: it may be in the middle of a long silence.
        """
        if worker.info.reports_positions and not self._has_dropped:
            unreported = self._sent_bytes - self._consumed_bytes
            is_all = self._at_end and not self._store
            self._deadlines.worker_owes(unreported > self._position_bytes or (is_all and unreported > 0))

    def _take_back(self, unconfirmed: "deque[str | bytes]") -> None:
        """Makes what a worker got and did nothing with the next to be sent."""
        self._worker = None
        self._deadlines.unserved()
        self._is_prepared = self._awaits_own_position = False
        self._own_bytes = self._sent_bytes = self._consumed_bytes = 0
        while unconfirmed:
            self._store.put_back(unconfirmed.pop())


def _error_end(status: int, message: str) -> End:
    try:
        return End(Status(status), message)
    except ValueError:
        return End(Status.ABORTED, message or f"the recogniser failed with status {status}")
