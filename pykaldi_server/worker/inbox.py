"""What a request hears from its master; always read, so that a cancel is noticed and pings are answered."""

import asyncio
import logging
from collections.abc import Callable

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.protocols.gstreamer import is_eos
from pykaldi_server.protocols.messages import message_bytes
from pykaldi_server.protocols.store import MessageStore
from pykaldi_server.sockets import QuickConnection, finish

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

    def __init__(self, connection: QuickConnection, on_closed: Callable[[], None]) -> None:
        self.received_s = 0.0
        self._connection = connection
        self._on_closed = on_closed
        self._store = MessageStore(STORE_BYTES)
        self._is_closed = False
        self._is_interrupted = False
        self._failure: OSError | None = None  # messages have been lost
        self._coming: asyncio.Future[None] | None = None  # somebody waits for a message
        self._room: asyncio.Future[None] | None = None  # the master waits for room
        connection.give_to(self._receive)

    async def get(self) -> str | bytes | None:
        """The next message; None when the master has closed the connection, or after `interrupt`.

        Raises:
            PykaldiServerError: there was no room for it on disk.
        """
        while not (self._store or self._is_closed or self._is_interrupted or self._failure is not None):
            self._coming = asyncio.get_running_loop().create_future()
            await self._coming
        if self._is_closed or self._is_interrupted:
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

    def interrupt(self) -> None:
        """Nobody waits for messages any more, whatever comes."""
        self._is_interrupted = True
        finish(self._coming)

    def close(self) -> None:
        """Drops what waits, and lets the connection keep what else comes."""
        self._connection.give_to(None)
        self._store.close()
        finish(self._room)

    def _take(self) -> str | bytes:
        message = self._store.get()
        self.received_s = self._store.came_s
        if self._room is not None and not self._store.is_full:
            finish(self._room)
            self._room = None
        return message

    def _receive(self, message: str | bytes | None) -> "asyncio.Future[None] | None":
        """Takes what has come; returns what is done when there is room for more, None if there is."""
        if message is None:
            self._is_closed = True
            finish(self._coming)
            self._on_closed()
            return None
        try:
            if self._failure is None:
                self._store.put(message)
        except OSError as error:  # what comes is still read, and dropped, so that a cancel is noticed
            self._failure = error
        finish(self._coming)
        if self._store.is_full:
            self._room = asyncio.get_running_loop().create_future()
        return self._room
