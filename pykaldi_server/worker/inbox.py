"""What a request hears from its master; always read, so that a cancel is noticed and pings are answered."""

import asyncio
import logging
from collections.abc import Callable

from tornado.websocket import WebSocketClientConnection

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.protocols.gstreamer import is_eos
from pykaldi_server.protocols.messages import message_bytes
from pykaldi_server.protocols.store import MessageStore

__all__ = ["Inbox"]

logger = logging.getLogger(__name__)

# Our masters keep far less on the way. Those of the original send as fast as the client does.
STORE_BYTES = 1024**3


class Inbox:
    """The client's messages, in order. It belongs to one event loop.

    Args:
        connection: to the master.
        on_closed: called once, when the master closes the connection: the client is gone.

    Attributes:
        received_s: when the message that was taken last had come, on the monotonic clock.
    """

    def __init__(self, connection: WebSocketClientConnection, on_closed: Callable[[], None]) -> None:
        self._connection = connection
        self._on_closed = on_closed
        self._store = MessageStore(STORE_BYTES)
        self._changed = asyncio.Event()
        self._is_closed = False
        self._failure: OSError | None = None  # messages have been lost
        self.received_s = 0.0
        self._reading = asyncio.get_running_loop().create_task(self._read_all())

    async def get(self) -> str | bytes | None:
        """The next message; None when the master has closed the connection, whatever waits.

        Raises:
            PykaldiServerError: there was no room for it on disk.
        """
        while not self._store and not self._is_closed and self._failure is None:
            self._changed.clear()
            await self._changed.wait()
        if self._is_closed:
            return None
        if self._failure is not None and not self._store:
            text = f"The recogniser has no room left to store audio: {self._failure.strerror}"
            raise PykaldiServerError(text)
        return self._take()

    def get_more_audio(self, limit_bytes: int) -> list[bytes]:
        """The audio messages that have come after the last one, up to a number of bytes; does not wait."""
        messages: list[bytes] = []
        while self._store and limit_bytes > 0:
            before_s = self.received_s
            message = self._take()
            if not isinstance(message, bytes) or is_eos(message):
                self._store.put_back(message)
                self.received_s = before_s
                break
            messages.append(message)
            limit_bytes -= message_bytes(message)
        return messages

    def close(self) -> None:
        """Stops reading and drops what waits."""
        self._reading.cancel()
        self._store.close()

    def _take(self) -> str | bytes:
        message = self._store.get()
        self.received_s = self._store.came_s
        self._changed.set()
        return message

    async def _read_all(self) -> None:
        while (message := await self._connection.read_message()) is not None:
            try:
                if self._failure is None:
                    self._store.put(message)
            except OSError as error:  # what comes is still read, and dropped, so that a cancel is noticed
                self._failure = error
            self._changed.set()
            while self._store.is_full:
                self._changed.clear()
                await self._changed.wait()
        self._is_closed = True
        self._changed.set()
        self._on_closed()
