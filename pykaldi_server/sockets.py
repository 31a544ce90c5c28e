"""Tornado's WebSocket protocol with less work per message; masters and workers have it at both ends.

A live stream is many small messages, and what one costs is mostly turns of the event loop, calls of the
system and tasks that live for a moment. So

* as much is read at once as has come, and frames are taken from that: Tornado reads each of the three or four
  fields of a frame by itself, and registers the connection with the loop anew in between;
* a handler runs in the task that reads, not in one of its own;
* a message that the system has taken at once is written: nobody has to wait for it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, cast

from tornado.httpclient import HTTPRequest, _RequestProxy
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketProtocol,
    WebSocketProtocol13,
)

__all__ = ["QuickConnection", "QuickProtocol", "Receiver", "connect_quickly"]

Receiver = Callable[[str | bytes | None], "asyncio.Future[None] | None"]
"""Takes a message, None when the connection is closed. Until what it returns is done, no more is read."""

BULK_BYTES = 16 * 1024
"""As much is read at once, if it has come: several packets of a live stream."""
TEXT, BINARY = 0x1, 0x2


class QuickProtocol(WebSocketProtocol13):
    """The protocol of one connection. Messages are not compressed."""

    _bulk = b""  # what has been read
    _taken = 0  # how much of that has been taken

    async def _receive_frame_loop(self) -> None:
        self.stream.read_chunk_size = BULK_BYTES  # a buffer of this size is made for each read
        try:
            await super()._receive_frame_loop()
            if isinstance(self.stream.error, MemoryError):  # the stream was closed for it
                raise self.stream.error
        except MemoryError:
            self._fail()

    async def _read_bytes(self, n: int) -> bytes:
        """Returns the next bytes, a field of a frame."""
        self._wire_bytes_in += n
        end = self._taken + n
        if end > len(self._bulk):
            rest = self._bulk[self._taken :]
            self._bulk, self._taken, end = b"", 0, n
            while (missing := n - len(rest)) > 0:
                if missing >= BULK_BYTES:
                    rest += await self.stream.read_bytes(missing)
                else:
                    rest += await self.stream.read_bytes(BULK_BYTES, partial=True)
            self._bulk = rest
        field = self._bulk[self._taken : end]
        self._taken = end
        return field

    def _run_callback(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a handler; what it returns is to be awaited if it is not None, and never raises."""
        try:
            result = callback(*args, **kwargs)
        except (Exception, asyncio.CancelledError):
            self._fail()
            return None
        return None if result is None else self._completed(result)

    async def _completed(self, result: Awaitable[Any]) -> None:
        try:
            await result
        except (Exception, asyncio.CancelledError):
            self._fail()

    def _fail(self) -> None:
        self.handler.log_exception(*sys.exc_info())
        self._abort()

    def write_message(
        self, message: str | bytes | dict[str, Any], binary: bool = False
    ) -> "asyncio.Future[None]":
        if self._compressor is not None or isinstance(message, dict):
            return super().write_message(message, binary)
        data = message.encode() if isinstance(message, str) else message
        try:
            written = self._write_frame(True, BINARY if binary else TEXT, data)
        except StreamClosedError:
            raise WebSocketClosedError from None
        if written.done() and written.exception() is None:
            return written
        return asyncio.ensure_future(_written(written))


async def _written(written: "asyncio.Future[None]") -> None:
    try:
        await written
    except StreamClosedError:
        raise WebSocketClosedError from None


class QuickConnection(WebSocketClientConnection):
    """A connection to a server, made by `connect_quickly`.

    Attributes:
        is_out_of_memory: there was no memory for a message; the connection is closed.
    """

    is_out_of_memory = False
    _receiver: Receiver | None = None

    def give_to(self, receiver: Receiver | None) -> None:
        """Gives messages to a function, those first that have come; None has them wait for `read_message`."""
        self._receiver = receiver
        while receiver is not None and not self.read_queue.empty():
            receiver(self.read_queue.get_nowait())

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Tornado's: what has gone wrong with a message."""
        self.is_out_of_memory |= isinstance(value, MemoryError)
        super().log_exception(typ, value, tb)

    def _on_message(self, message: str | bytes | None) -> Awaitable[None] | None:
        if self._receiver is not None:
            return self._receiver(message)
        return super()._on_message(message)

    def get_websocket_protocol(self) -> WebSocketProtocol:
        return QuickProtocol(self, mask_outgoing=True, params=self.params)


def connect_quickly(request: HTTPRequest) -> "asyncio.Future[QuickConnection]":
    """Opens a WebSocket, as `tornado.websocket.websocket_connect` does."""
    request.headers = HTTPHeaders(request.headers)
    complete = cast(HTTPRequest, _RequestProxy(request, HTTPRequest._DEFAULTS))
    return cast("asyncio.Future[QuickConnection]", QuickConnection(complete).connect_future)
