"""What a request sends to its master: events and positions, in order.

Usually the connection takes them at once. Otherwise a task waits for it, or for a text processor; recognition
goes on meanwhile, and `flush` waits until all have been written.

Positions keep the client's audio coming, so they overtake a result that is with a text processor for longer
than `PATIENCE_S`. The end position never overtakes anything.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tornado.websocket import WebSocketClosedError

from pykaldi_server.protocols.messages import dumps
from pykaldi_server.protocols.worker import Position
from pykaldi_server.session.events import Event, Final, Partial
from pykaldi_server.session.text_processor import Result
from pykaldi_server.sockets import QuickConnection
from pykaldi_server.worker.event_messages import event_message
from pykaldi_server.worker.statistics import RequestStatistics

__all__ = ["Outbox", "ProcessText"]

logger = logging.getLogger(__name__)

Item = Event | Position | str
ProcessText = Callable[[Result, str], Awaitable[Result]]
"""Has a text processor change a result of the request that is named, without blocking the event loop."""

PATIENCE_S = 0.2


class Outbox:
    """Messages on their way to the master. It belongs to one event loop.

    Args:
        connection: to the master.
        request_id: id of the request.
        process_text: changes the text of results; None leaves it alone.
        statistics: of the request; None counts nothing.

    Attributes:
        is_closed: the master has closed the connection; what is put in is dropped.
    """

    def __init__(
        self,
        connection: QuickConnection,
        request_id: str,
        process_text: ProcessText | None = None,
        statistics: RequestStatistics | None = None,
    ) -> None:
        self.is_closed = False
        self._statistics = statistics
        self._connection = connection
        self._id = request_id
        self._process_text = process_text
        self._items: deque[tuple[Item, float | None]] = deque()  # each with when what it needs had come
        self._has_items = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._writes: Awaitable[None] | None = None  # has been given to the connection, not yet written
        self._writing = asyncio.get_running_loop().create_task(self._write_all(), name=f"outbox {request_id}")

    def put(self, *items: Item) -> None:
        """Appends events, positions, or messages that are ready as text."""
        self.put_timed(*((item, None) for item in items))

    def put_timed(self, *items: tuple[Item, float | None]) -> None:
        """Appends items, each with the time, on the monotonic clock, when what it needs had been received."""
        if self.is_closed:
            return
        self._items.extend(items)
        if self._is_empty.is_set():
            self._write_at_once()
        if self._items or self._writes is not None:
            self._has_items.set()
            self._is_empty.clear()

    async def flush(self) -> None:
        """Waits until everything has been written, or the connection is closed."""
        empty = asyncio.ensure_future(self._is_empty.wait())
        await asyncio.wait((empty, self._writing), return_when=asyncio.FIRST_COMPLETED)
        empty.cancel()
        if self._writing.done():
            self._writing.result()

    def drop(self) -> None:
        """The connection is closed: nobody waits for what has not been written."""
        self.is_closed = True
        self._is_empty.set()

    def close(self) -> None:
        """Drops what has not been written."""
        self._writing.cancel()

    async def _write_all(self) -> None:
        while True:
            await self._has_items.wait()
            if self._writes is not None:
                await self._wait_for(self._writes)
                self._writes = None
            while self._items:
                item, received_s = self._items.popleft()
                if isinstance(item, Partial | Final) and self._process_text is not None:
                    item = await self._processed(item, self._process_text)
                await self._write(item, received_s)
            self._has_items.clear()
            self._is_empty.set()

    def _write_at_once(self) -> None:
        """Writes what needs no text processor, all at once, unless the connection has not taken the last."""
        if self._writes is not None or self.is_closed:
            return
        texts = []
        while self._items:
            item, received_s = self._items[0]
            if isinstance(item, Partial | Final) and self._process_text is not None:
                break
            self._items.popleft()
            self._note_sent(item, received_s)
            texts.append(self._text(item))
        if not texts:
            return
        try:
            written = self._connection.write_texts(texts)
        except WebSocketClosedError:
            self.is_closed = True
            return
        if not written.done():
            self._writes = written

    async def _processed(self, result: Result, process_text: ProcessText) -> Result:
        if self.is_closed or (isinstance(result, Partial) and self._is_outdated(result)):
            return result
        processing = asyncio.ensure_future(process_text(result, self._id))
        try:
            await asyncio.wait((processing,), timeout=PATIENCE_S)
            while not processing.done():
                self._has_items.clear()
                await self._write_positions()
                coming = asyncio.ensure_future(self._has_items.wait())
                await asyncio.wait((processing, coming), return_when=asyncio.FIRST_COMPLETED)
                coming.cancel()
            return processing.result()
        except Exception:
            logger.exception("%s: a result is sent as it is: the text processor has failed", self._id)
            return result
        finally:
            processing.cancel()

    def _is_outdated(self, partial: Partial) -> bool:
        """Whether a newer result of its channel waits already: then it is not worth processing."""
        return any(
            isinstance(item, Partial | Final) and item.channel == partial.channel for item, _ in self._items
        )

    async def _write_positions(self) -> None:
        """Writes the positions that wait, other than the end."""
        waiting = [each for each in self._items if isinstance(each[0], Position) and not each[0].end]
        for each in waiting:
            self._items.remove(each)
            await self._write(*each)

    async def _write(self, item: Item, received_s: float | None) -> None:
        if self.is_closed:
            return
        try:
            written = self._connection.write_texts([self._text(item)])
        except WebSocketClosedError:
            self.is_closed = True
            return
        await self._wait_for(written)
        if not self.is_closed:
            self._note_sent(item, received_s)

    async def _wait_for(self, written: Awaitable[None]) -> None:
        try:
            await written
        except WebSocketClosedError:
            self.is_closed = True

    def _note_sent(self, item: Item, received_s: float | None) -> None:
        if self._statistics is not None and received_s is not None and isinstance(item, Partial | Final):
            self._statistics.sent(item, time.monotonic() - received_s)

    def _text(self, item: Item) -> str:
        match item:
            case str():
                return item
            case Position():
                return self._with_delays(item).text()
            case _:
                return dumps(event_message(item, self._id))

    def _with_delays(self, position: Position) -> Position:
        """A position with the delays of the results that have been sent since the last one."""
        if self._statistics is None:
            return position
        partial_delays_s, final_delays_s = self._statistics.take_delays_s()
        if not (partial_delays_s or final_delays_s):
            return position
        return replace(position, partial_delays_s=partial_delays_s, final_delays_s=final_delays_s)
