"""The base of the master's plain TCP protocols: accepting, reading, bounded writes, an end in order.

    client --bytes--> receive ...  -- end of the client's bytes --> left
    client <--write-- ...          -- finish: last bytes, then the end of ours

The end is one that the client can read: when the server is done, it says so, ends its own direction, and
reads on for a moment. Closing at once while bytes of the client are still under way would destroy the
server's last words.
"""

import asyncio
import logging
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from tornado.netutil import add_accept_handler

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.limits import message_rate
from pykaldi_server.protocols.messages import Status

__all__ = ["TcpConnection", "TcpServer"]

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
LINGER_S = 2.0
"""How long a client may go on sending after the server has ended the conversation."""
MOST_PROBES = 3


class TcpConnection(ABC):
    """One client's connection, from `run` until that returns.

    Subclasses implement `receive`, `left`, `ended` and `farewell`. The event `closed` is set at the end.

    Args:
        hub: what the master's handlers share.
        reader, writer: the connection.

    Attributes:
        caller: the client; the protocols have no field for a token.
        is_finished: the server has ended the conversation; nothing more is sent.
    """

    kind = "client"

    def __init__(self, hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hub = hub
        self.closed = asyncio.Event()
        self.caller = Caller(str(writer.get_extra_info("peername", ("an unknown address",))[0]))
        self._rate = message_rate(lambda: self.caller, lambda: hub.options)
        self._reader = reader
        self._writer = writer
        self.is_finished = False
        self._lingering: asyncio.TimerHandle | None = None

    @abstractmethod
    async def receive(self, data: bytes) -> None:
        """Takes bytes of the client; until it returns, no more are read: the back-pressure.

        Raises:
            ProtocolError: the client does not speak the protocol; it gets an error, and the connection ends.
        """

    @abstractmethod
    async def left(self, is_lost: bool) -> None:
        """The client sends nothing more. When this returns, the connection is closed.

        Args:
            is_lost: the client is gone altogether; otherwise it may still be reading.
        """

    @abstractmethod
    def ended(self, reason: str) -> None:
        """Gives up what the conversation has not completed, for this reason. May be called again."""

    @abstractmethod
    def farewell(self, status: Status, text: str) -> bytes:
        """Returns what the server sends before it ends the conversation by itself."""

    async def hold_back(self) -> None:
        """To be awaited for each message: returns at once, unless there have been too many."""
        delay_s = self._rate.delay_s()
        if delay_s:
            await asyncio.sleep(delay_s)

    async def write(self, data: bytes) -> None:
        """Sends bytes; returns when little of them is still waiting, or when the client is gone.

        A client that does not read for too long is disconnected.
        """
        if self.is_finished:
            return
        self._writer.write(data)
        timeout_s = self.hub.options.write_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
        except TimeoutError:
            logger.warning("%s: has not read its results for %g s", self, timeout_s)
            self._writer.transport.abort()
        except ConnectionError:  # reading notices it, too, and ends the connection
            logger.debug("%s: a message found its peer gone", self)

    def finish(self, last: bytes = b"") -> None:
        """Sends the last bytes and ends the conversation. May be called again."""
        if self.is_finished:
            return
        self.is_finished = True
        if not self._writer.is_closing():
            self._writer.write(last)
            with suppress(OSError):  # the client is gone; reading notices it, too, and ends the connection
                self._writer.write_eof()
        loop = asyncio.get_running_loop()
        self._lingering = loop.call_later(LINGER_S, self._writer.transport.abort)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Ends the conversation because the server is shutting down; `closed` is set when that is done."""
        self.finish(self.farewell(Status.ABORTED, reason or "the server is shutting down"))

    async def run(self) -> None:
        """Serves the client until the connection is closed."""
        self.hub.sockets.add(self)
        self._watch_peer()
        is_lost = False
        try:
            try:
                while data := await self._reader.read(READ_BYTES):
                    await self._receive(data)
            except (ConnectionError, TimeoutError) as error:
                logger.info("%s: lost: %s", self, error)
                is_lost = True
            if not self.is_finished:
                await self.left(is_lost)
        finally:
            self.is_finished = True
            self.ended("the connection was ended")
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
            if self._lingering is not None:
                self._lingering.cancel()  # it would keep all of this alive for seconds
            self.hub.sockets.discard(self)
            self.closed.set()

    async def _receive(self, data: bytes) -> None:
        if self.is_finished:
            return
        try:
            await self.receive(data)
        except ProtocolError as error:
            self.hub.metrics.errors["invalid_request"] += 1
            logger.warning("%s: closed: %s", self, error)
            self.ended(str(error))
            self.finish(self.farewell(Status.NOT_ALLOWED, str(error)))

    def _watch_peer(self) -> None:
        """Lets the kernel notice that the client's machine is gone; the server has no pings for that."""
        connection = self._writer.get_extra_info("socket")
        options = self.hub.options
        interval_s = max(1, round(options.ping_interval_s))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":  # elsewhere the system has its own patience
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, MOST_PROBES)
            timeout_ms = round(1000 * options.silence_timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


class TcpServer:
    """Accepts clients of one protocol, from construction until `stop`.

    Args:
        sockets: listen already; they are closed by `stop`.
        connection: the connection's class.
        hub: what the master's handlers share.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        connection: Callable[[Hub, asyncio.StreamReader, asyncio.StreamWriter], TcpConnection],
        hub: Hub,
    ) -> None:
        self._sockets = tuple(sockets)
        self._connection = connection
        self._hub = hub
        self._serving: set[asyncio.Task[None]] = set()
        self._remove_handlers = [add_accept_handler(each, self._accept) for each in self._sockets]

    def stop(self) -> None:
        """Accepts nobody any more; connections that are open stay so."""
        for remove in self._remove_handlers:
            remove()
        for each in self._sockets:
            each.close()

    def _accept(self, accepted: socket.socket, address: Any) -> None:
        if self._hub.connections.enter(accepted, str(address[0])):
            accepted.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(accepted), name=f"client at {address}")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=accepted, limit=READ_BYTES)
            await self._connection(self._hub, reader, writer).run()
        except Exception:  # of this client only
            self._hub.metrics.errors["internal"] += 1
            logger.exception("a connection failed")
        finally:
            self._hub.connections.leave(accepted)
