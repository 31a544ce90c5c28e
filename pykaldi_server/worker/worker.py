"""A worker: slots that each keep one connection to the master and serve one request after another.

A slot is a coroutine: connect, wait for a request, serve it (`worker_request`), close, connect again. The
audio is decoded and recognised in a pool with one thread a slot, one message at a time. While a message is
being worked on, no more than the next three are read from the master: that is how a slow worker holds back a
fast client.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import GOING_AWAY, NORMAL_CLOSURE, RequestInfo, WorkerInfo
from pykaldi_server.session import Model
from pykaldi_server.version import __version__
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.request import WorkerRequest

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
HANDSHAKE_S = 1.0  # for opening and closing handshakes at the end
T = TypeVar("T")


class Worker:
    """All slots of one process, in the running asyncio loop; the model is shared by all.

    Args:
        model: what to recognise with.
        options: where the master is, how many slots, ...

    Attributes:
        model: what the next request is recognised with.
    """

    def __init__(self, model: Model, options: WorkerOptions) -> None:
        options.validate()
        self.model = model
        self._options = options
        info = WorkerInfo(model=model.name, language=options.language, version=__version__)
        self._url = info.url(options.url)
        self._threads = ThreadPoolExecutor(options.sessions, thread_name_prefix="session")
        self._draining = asyncio.Event()
        self._master_is_away = False
        self._waiting: set[WebSocketClientConnection] = set()
        self._calls: dict[object, float] = {}

    async def run(self) -> None:
        """Serves requests until after `drain` the running ones have ended; cancel it to stop at once."""
        try:
            async with asyncio.TaskGroup() as slots:
                for _ in range(self._options.sessions):
                    slots.create_task(self._run_slot())
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Accepts no more requests; `run` returns when the running ones have ended."""
        self._draining.set()
        for connection in tuple(self._waiting):
            connection.close(GOING_AWAY, "the worker is shutting down")

    def longest_call_s(self) -> float:
        """How long the oldest piece of work that has not returned has been at it; 0 when there is none."""
        now_s = asyncio.get_running_loop().time()
        return max((now_s - start_s for start_s in self._calls.values()), default=0.0)

    async def _run_slot(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._draining.is_set():
            if await self._connect_and_serve():
                pause_s = FIRST_PAUSE_S
                continue
            try:
                await asyncio.wait_for(self._draining.wait(), pause_s)
            except TimeoutError:
                pause_s = min(2 * pause_s, self._options.reconnect_max_s)

    async def _connect_and_serve(self) -> bool:
        """Serves one request; False when the master is away or closes the connection without one."""
        try:
            connection = await self._connect()
        except (OSError, HTTPError, WebSocketError) as error:
            level = logging.DEBUG if self._master_is_away else logging.WARNING
            logger.log(level, "no connection to the master at %s: %s", self._options.url, error)
            self._master_is_away = True
            return False
        if self._master_is_away:
            logger.info("connected to the master at %s", self._options.url)
            self._master_is_away = False
        try:
            info = await self._wait_for_request(connection)
            if info is None:
                return False
            silence_timeout_s = self._options.silence_timeout_s
            await WorkerRequest(connection, info, self.model, self._in_thread, silence_timeout_s).run()
            return True
        finally:
            await _close(connection)

    async def _connect(self) -> WebSocketClientConnection:
        options = self._options
        connecting = asyncio.ensure_future(
            websocket_connect(
                self._url,
                connect_timeout=options.connect_timeout_s,
                ping_interval=options.ping_interval_s,
                ping_timeout=options.ping_interval_s,
            )
        )
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting], timeout=HANDSHAKE_S)
            if connecting.done() and connecting.exception() is None:
                await _close(connecting.result())
            raise

    async def _wait_for_request(self, connection: WebSocketClientConnection) -> RequestInfo | None:
        self._waiting.add(connection)
        if self._draining.is_set():
            connection.close(GOING_AWAY)
        try:
            message = await connection.read_message()
        finally:
            self._waiting.discard(connection)
        if message is None:
            return None
        try:
            return RequestInfo.from_init_message(message)
        except ProtocolError as error:
            logger.error("the master does not follow the protocol: %s", error)
            return None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Runs a piece of work in the pool.

        Even when cancelled, it returns only after the work has: no thread may still be using a session that
        somebody is about to close.
        """
        loop = asyncio.get_running_loop()
        call = object()
        self._calls[call] = loop.time()
        running = loop.run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
        finally:
            del self._calls[call]


async def _close(connection: WebSocketClientConnection) -> None:
    """Closes a connection and waits for the master to do so; what it still sends is dropped."""
    is_closed = connection.protocol is None or connection.protocol.is_closing()
    connection.close(NORMAL_CLOSURE)
    if is_closed:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(HANDSHAKE_S):
            while await connection.read_message() is not None:
                continue
