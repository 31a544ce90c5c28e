"""The masters that a worker serves: how each is reached, and what has been said of it in the log."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.websocket import WebSocketError

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.addresses import shown_url
from pykaldi_server.protocols.credentials import authorization, find_token, refusal_text
from pykaldi_server.protocols.liveness import SILENT_INTERVALS, watch_server
from pykaldi_server.protocols.messages import GOING_AWAY, NORMAL_CLOSURE, POLICY_VIOLATION
from pykaldi_server.protocols.trust import Trust
from pykaldi_server.protocols.worker import WorkerInfo
from pykaldi_server.sockets import QuickConnection, connect_quickly
from pykaldi_server.worker.options import WorkerOptions

__all__ = ["Line", "Master", "seek"]

logger = logging.getLogger(__name__)

HANDSHAKE_S = 1.0  # for opening and closing handshakes at the end


class Master:
    """One of the masters of a worker, for all its slots.

    Args:
        url: its address for workers.
        info: what the worker tells it about itself.
        options: of the worker.
    """

    def __init__(self, url: str, info: WorkerInfo, options: WorkerOptions) -> None:
        self._url = info.url(url)
        self._shown = shown_url(url)
        self._options = options
        self._is_away = False
        self._has_complained = False

    def __str__(self) -> str:
        return self._shown

    async def connect(self) -> "Line | None":
        """Opens a connection; None when the master is away, which is logged once."""
        try:
            connection = await self._open()
        except (OSError, HTTPError, WebSocketError, ConfigError) as error:
            level = logging.DEBUG if self._is_away else logging.WARNING
            logger.log(level, "no connection to the master at %s: %s", self, _refusal_of(error) or error)
            self._is_away = True
            return None
        if self._is_away:
            logger.info("connected to the master at %s", self)
            self._is_away = False
        return Line(self, connection)

    def watch(self, connection: QuickConnection) -> AbstractContextManager[None]:
        """Breaks the connection off when the master gives no sign of life."""
        return watch_server(connection, self._options.ping_interval_s, self._lost)

    def explain_close(self, connection: QuickConnection) -> None:
        """Logs why the master has closed a connection, if that is the worker's fault."""
        if connection.close_code == POLICY_VIOLATION:
            self.complain(f"{self} refuses this worker: {connection.close_reason}")

    def complain(self, text: str) -> None:
        """Logs what keeps all slots from serving this master, once until `content`."""
        logger.log(logging.DEBUG if self._has_complained else logging.ERROR, "%s", text)
        self._has_complained = True

    def content(self) -> None:
        """A request has come: there is nothing to complain of."""
        self._has_complained = False

    def _lost(self) -> None:
        self._is_away = True
        silent_s = SILENT_INTERVALS * self._options.ping_interval_s
        logger.warning("the master at %s has given no sign of life for %g s", self, silent_s)

    async def _open(self) -> QuickConnection:
        options = self._options
        connecting = asyncio.ensure_future(
            connect_quickly(
                HTTPRequest(
                    self._url,
                    headers=authorization(find_token(options.token, options.token_file)),
                    connect_timeout=options.connect_timeout_s,
                    **Trust(options.cafile, options.insecure).tls_arguments(),
                ),
            )
        )
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting], timeout=HANDSHAKE_S)
            if connecting.done() and connecting.exception() is None:
                await _close(connecting.result())
            raise


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A slot's connection to one of the masters.

    Attributes:
        master: the other end.
        connection: just opened.
    """

    master: Master
    connection: QuickConnection

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Breaks the connection off when the master gives no sign of life, and closes it at the end."""
        try:
            with self.master.watch(self.connection):
                yield
        finally:
            await self.close()

    def leave(self, reason: str) -> None:
        """Takes no request any more; the master gives one that is on the way to another worker."""
        self.connection.close(GOING_AWAY, reason)

    async def close(self) -> None:
        """Closes the connection and waits for the master to do so; what it still sends is dropped."""
        await _close(self.connection)


async def seek(masters: Sequence[Master], pause_s: float) -> Line:
    """Tries masters in their order, after each pause, until one can be reached."""
    while True:
        await asyncio.sleep(pause_s)
        for master in masters:
            if (line := await master.connect()) is not None:
                return line


def _refusal_of(error: Exception) -> str | None:
    """Why a master refuses the worker's token; None if it has not said anything like that."""
    if not isinstance(error, HTTPError):
        return None
    return refusal_text(error.code, error.response.body if error.response is not None else b"")


async def _close(connection: QuickConnection) -> None:
    is_closed = connection.protocol is None or connection.protocol.is_closing()
    connection.close(NORMAL_CLOSURE)
    if is_closed:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(HANDSHAKE_S):
            while await connection.read_message() is not None:
                continue
