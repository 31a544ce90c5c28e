"""Tornado's WebSocket protocol with less work per message; masters and workers have it at both ends.

A live stream is many small messages, and what one costs is mostly turns of the event loop, calls of the
system and tasks that live for a moment. So

* as much is read at once as has come, and messages that have come as a whole are taken from that: Tornado
  reads each of the three or four fields of a frame by itself, and waits for each;
* a handler is called where the event loop has found that something has come: only if it has to wait, or what
  has come is no whole message, the task that reads wakes up;
* a message goes straight to the system. What that takes at once is written: nobody has to wait for it.
"""

import asyncio
import math
import os
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, cast

from tornado.httpclient import HTTPRequest, _RequestProxy
from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream, StreamClosedError
from tornado.util import _websocket_mask
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketProtocol,
    WebSocketProtocol13,
)

if sys.platform == "linux":
    import fcntl
    import termios

__all__ = ["Backlog", "QuickConnection", "QuickProtocol", "Receiver", "connect_quickly", "finish"]

Receiver = Callable[[str | bytes | None], "asyncio.Future[None] | None"]
"""Takes a message, None when the connection is closed. Until what it returns is done, no more is read."""

BULK_BYTES = 16 * 1024
"""As much is read at once, if it has come: several packets of a live stream."""
TEXT, BINARY = 0x1, 0x2
LAST, MASKED = 0x80, 0x80
"""Bits of the first and of the second byte of a frame (RFC 6455, 5.2)."""
SIZE_IN_2_BYTES, SIZE_IN_8_BYTES = 126, 127
"""Sizes in the second byte that say in how many further bytes the size is."""
MASK_BYTES = 4
MASKS_AT_ONCE = 64
MESSAGES_AT_ONCE = 64
"""After handling so many messages of a connection, others have their turn."""

ACKNOWLEDGED = slice(120, 128)
"""Where Linux has ``tcpi_bytes_acked``, 64 bits, in ``struct tcp_info`` (linux/tcp.h)."""


class Backlog:
    """What has been sent on a connection, and has not arrived.

    Args:
        stream: the connection.
    """

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream
        self._arrived = 0
        self._sent = 0.0  # bytes, when it was last asked

    def is_moving(self) -> bool:
        """Whether some, but not all, has arrived of what was under way when this was last asked.

        So a ping that was sent then has not arrived, although the other end takes what comes. False where the
        system does not say what has arrived.
        """
        if self._stream.closed():
            return False
        try:
            arrived, waiting = _progress(self._stream.socket)
        except OSError:  # it is not TCP
            return False
        is_moving = self._arrived < arrived < self._sent
        self._arrived = arrived
        self._sent = math.inf if self._stream.writing() else arrived + waiting
        return is_moving


def _progress(connection: socket.socket) -> tuple[int, int]:
    """How many bytes the other end has acknowledged, and how many it has not yet; 0 where nobody knows."""
    if sys.platform == "linux":
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
        (waiting,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
        return int.from_bytes(info[ACKNOWLEDGED], sys.byteorder), waiting
    return 0, 0


class QuickProtocol(WebSocketProtocol13):
    """The protocol of one connection. Messages are not compressed.

    Attributes:
        whole_bytes: no longer message is taken as a whole; it is Tornado's, field by field.
    """

    whole_bytes = BULK_BYTES
    _bulk = b""  # what has been read
    _taken = 0  # how much of that has been taken
    _is_whole_next = True  # what comes next is, or may be, a message that is taken as a whole
    _is_listening = False  # what comes is handled by `_handle_read`
    _pending: Awaitable[None] | None = None  # what the task has to wait for before more is taken

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._masks = _masks()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done.set_result(None)

    async def _receive_frame_loop(self) -> None:
        self.stream.read_chunk_size = BULK_BYTES  # a buffer of this size is made for each read
        self._read_for_tornado = self.stream._handle_read
        vars(self.stream)["_handle_read"] = self._handle_read
        try:
            await super()._receive_frame_loop()
            if isinstance(self.stream.error, MemoryError):  # the stream was closed for it
                raise self.stream.error
        except MemoryError:
            self._fail()
        finally:
            vars(self.stream).pop("_handle_read", None)

    async def _receive_frame(self) -> None:
        """Returns when something had to be waited for, or after a frame that Tornado has taken."""
        waiting = self._take_messages()
        while waiting is None and self._is_whole_next:
            waiting = await self._listen()
        if waiting is None:
            await super()._receive_frame()
            waiting = self._held_back()
        if waiting is not None:
            await waiting

    async def _listen(self) -> Awaitable[None] | None:
        """Reads on until something has to be waited for, which it returns, or no whole message comes next.

        The task sleeps meanwhile: messages are handled by `_handle_read`.
        """
        self._is_listening = True
        try:
            came = await self._read_some()  # if something has come before it sleeps
        except StreamClosedError:
            if self._pending is None:
                raise
            came = b""  # it was closed while a message was handled: that is completed first
        finally:
            self._is_listening = False
        if came:
            return self._take_messages(came)
        waiting, self._pending = self._pending, None
        return waiting

    def _handle_read(self) -> None:
        """Called by the stream when something has come."""
        if not self._is_listening:
            self._read_for_tornado()
        elif came := self._read_now():
            self._pending = self._take_messages(came)
            if self._pending is not None or not self._is_whole_next:
                self._is_listening = False
                self.stream._read_from_buffer(0)  # wakes the task

    def _read_now(self) -> bytes:
        """Returns what has come; nothing if the connection turns out to be closed."""
        try:
            came = self.stream.socket.recv(BULK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            self.stream.close(exc_info=error)
            return b""
        if not came:
            self.stream.close()
        return came

    def _take_messages(self, came: bytes = b"") -> Awaitable[None] | None:
        """Handles the messages that have come as a whole.

        Args:
            came: follows what has been read before.

        Returns:
            What has to be waited for before more is taken; None if there are no more for now.
        """
        self._bulk, self._taken = self._bulk[self._taken :] + came, 0
        for _ in range(MESSAGES_AT_ONCE):
            if (message := self._take_whole()) is None:
                return None
            if (handled := self._handle_message(*message)) is not None:
                return self._after(handled)
            if (holding := self._held_back()) is not None:
                return holding
        return asyncio.sleep(0)

    async def _after(self, handled: Awaitable[None]) -> None:
        await handled
        if (holding := self._held_back()) is not None:
            await holding

    def _held_back(self) -> Awaitable[None] | None:
        """Called after each frame: what has to be waited for before the next is read."""
        return None

    def _take_whole(self) -> tuple[int, bytes] | None:
        """Takes a message in one frame from what has been read, and notes whether such a message is next.

        Returns:
            Its opcode and its content; None if what comes next is something else, or has not come as a whole.
        """
        bulk, begin = self._bulk, self._taken
        num_bytes = len(bulk) - begin
        self._is_whole_next = self._fragmented_message_buffer is None
        if num_bytes < 2 or not self._is_whole_next:
            return None
        opcode = bulk[begin] ^ LAST
        size, data = bulk[begin + 1] & ~MASKED, begin + 2
        self._is_whole_next = opcode in (TEXT, BINARY) and size != SIZE_IN_8_BYTES
        if size == SIZE_IN_2_BYTES:
            data += 2
            size = int.from_bytes(bulk[begin + 2 : data], "big")
        is_masked = bulk[begin + 1] & MASKED
        data += MASK_BYTES if is_masked else 0
        end = data + size
        self._is_whole_next = self._is_whole_next and size <= self.whole_bytes
        if end > len(bulk) or not self._is_whole_next:
            return None
        self._taken = end
        self._wire_bytes_in += end - begin
        content = bulk[data:end]
        return opcode, _websocket_mask(bulk[data - MASK_BYTES : data], content) if is_masked else content

    async def _read_bytes(self, n: int) -> bytes:
        """Returns the next bytes, a field of a frame."""
        self._wire_bytes_in += n
        end = self._taken + n
        if end > len(self._bulk):
            rest = self._bulk[self._taken :]
            self._bulk, self._taken, end = b"", 0, n
            while (missing := n - len(rest)) > 0:
                rest += await self._read_some(missing)
            self._bulk = rest
        field = self._bulk[self._taken : end]
        self._taken = end
        return field

    async def _read_some(self, num_missing: int = 0) -> bytes:
        """Returns what comes from the network next; as many bytes as are missing, if these are many."""
        if num_missing >= BULK_BYTES:
            return await self.stream.read_bytes(num_missing)
        return await self.stream.read_bytes(BULK_BYTES, partial=True)

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
        return self._write(self._frame(BINARY if binary else TEXT, data))

    def write_texts(self, messages: Iterable[str]) -> "asyncio.Future[None]":
        """Writes text messages all at once; what is returned is done when that is written.

        Raises:
            WebSocketClosedError: the connection is closed.
        """
        return self._write(b"".join([self._frame(TEXT, each.encode()) for each in messages]))

    def _write(self, frames: bytes) -> "asyncio.Future[None]":
        frame = memoryview(frames)
        self._wire_bytes_out += len(frame)
        num_bytes = self._write_at_once(frame)
        if num_bytes == len(frame):
            return self._done
        try:
            return asyncio.ensure_future(_written(self.stream.write(frame[num_bytes:])))
        except StreamClosedError:
            raise WebSocketClosedError from None

    def _frame(self, opcode: int, data: bytes) -> bytes:
        """A whole message as the other end gets it."""
        size, masked = len(data), MASKED if self.mask_outgoing else 0
        if size < SIZE_IN_2_BYTES:
            head = struct.pack("!BB", LAST | opcode, masked | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", LAST | opcode, masked | SIZE_IN_2_BYTES, size)
        else:
            head = struct.pack("!BBQ", LAST | opcode, masked | SIZE_IN_8_BYTES, size)
        if not masked:
            return head + data
        mask = next(self._masks)
        return b"".join((head, mask, _websocket_mask(mask, data)))

    def _write_at_once(self, frame: memoryview) -> int:
        """Returns how much the system takes now. Errors come again when the stream writes the rest."""
        if self.stream.closed() or self.stream.writing():
            return 0
        try:
            return self.stream.write_to_fd(frame)
        except OSError:
            return 0


def _masks() -> Iterator[bytes]:
    """Yields what nobody can foresee (RFC 6455, 5.3), with few calls of the system."""
    while True:
        many = os.urandom(MASK_BYTES * MASKS_AT_ONCE)
        for begin in range(0, len(many), MASK_BYTES):
            yield many[begin : begin + MASK_BYTES]


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

    def write_texts(self, messages: Iterable[str]) -> "asyncio.Future[None]":
        """Writes text messages all at once; what is returned is done when that is written.

        Raises:
            WebSocketClosedError: the connection is closed.
        """
        if self.protocol is None:
            raise WebSocketClosedError
        return cast(QuickProtocol, self.protocol).write_texts(messages)

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


def finish(future: "asyncio.Future[None] | None") -> None:
    """Wakes whoever waits for a future, if somebody does."""
    if future is not None and not future.done():
        future.set_result(None)
