"""What a request says to its master: events and positions, written in order by a task of their own.

Recognition goes on while a message is being written; `flush` waits until all have been.
"""

import asyncio
import logging

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from pykaldi_server.protocols.messages import dumps
from pykaldi_server.protocols.worker import Position
from pykaldi_server.session.events import Event
from pykaldi_server.worker.event_messages import event_message

__all__ = ["Outbox"]

logger = logging.getLogger(__name__)


class Outbox:
    """Messages on their way to the master. It belongs to one event loop.

    Args:
        connection: to the master.
        request_id: id of the request.

    Attributes:
        is_closed: the master has closed the connection; what is put in is dropped.
    """

    def __init__(self, connection: WebSocketClientConnection, request_id: str) -> None:
        self.is_closed = False
        self._connection = connection
        self._id = request_id
        self._items: asyncio.Queue[Event | Position | str] = asyncio.Queue()
        self._writing = asyncio.get_running_loop().create_task(self._write_all(), name=f"outbox {request_id}")

    def put(self, *items: Event | Position | str) -> None:
        """Appends events, positions, or messages that are ready as text."""
        for item in items:
            self._items.put_nowait(item)

    async def flush(self) -> None:
        """Waits until everything has been written, or the connection is closed."""
        await self._items.join()

    def close(self) -> None:
        """Drops what has not been written."""
        self._writing.cancel()

    async def _write_all(self) -> None:
        while True:
            item = await self._items.get()
            try:
                if not self.is_closed:
                    await self._connection.write_message(self._text(item))
            except WebSocketClosedError:
                self.is_closed = True
            finally:
                self._items.task_done()

    def _text(self, item: Event | Position | str) -> str:
        match item:
            case str():
                return item
            case Position():
                return item.text()
            case _:
                return dumps(event_message(item, self._id))
