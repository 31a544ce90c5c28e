"""A worker: slots that each keep one connection to the master and serve one request after another.

A slot is a coroutine: connect, wait for a request, serve it (`worker.request`), close, connect again. The
audio is decoded and recognised by `decoder_threads`, one message of a request at a time. The connection is
always read: the master keeps only so much on the way as the worker's positions allow.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.websocket import WebSocketError

from pykaldi_server.cores import num_cores
from pykaldi_server.errors import ConfigError, ProtocolError
from pykaldi_server.protocols.addresses import shown_url
from pykaldi_server.protocols.credentials import authorization, find_token, refusal_text
from pykaldi_server.protocols.liveness import SILENT_INTERVALS, watch_server
from pykaldi_server.protocols.messages import GOING_AWAY, NORMAL_CLOSURE, POLICY_VIOLATION
from pykaldi_server.protocols.trust import Trust
from pykaldi_server.protocols.worker import POSITION_PROTOCOL, WorkerInfo, WorkerRequestInfo
from pykaldi_server.session import Model
from pykaldi_server.session.text_processor import Result, TextProcessor
from pykaldi_server.sockets import QuickConnection, connect_quickly
from pykaldi_server.version import __version__
from pykaldi_server.worker.decoder_threads import DecoderThreads
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.request import WorkerRequest
from pykaldi_server.worker.statistics import WorkerStatistics

__all__ = ["HANG_S", "Worker"]

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
HANG_S = 60.0
"""A recogniser that shows no progress for this long hangs."""
HANDSHAKE_S = 1.0  # for opening and closing handshakes at the end


class Worker:
    """All slots of one process, in the running asyncio loop; the model is shared by all.

    Args:
        model: what to recognise with.
        options: where the master is, how many slots, ...
        text_processor: changes the text of results; None leaves it alone.

    Attributes:
        model: what the next request is recognised with.
        connected: set when all slots have reached the master for the first time.
        after_request: called after each request, with whether it has run out of memory.
        statistics: what its requests take and how they end.
    """

    def __init__(
        self, model: Model, options: WorkerOptions, text_processor: TextProcessor | None = None
    ) -> None:
        options.validate()
        self.model = model
        self.connected = asyncio.Event()
        self.after_request: Callable[[bool], None] = lambda is_out_of_memory: None
        self.statistics = WorkerStatistics()
        self._options = options
        self._text_processor = text_processor
        language = options.language or model.language
        info = WorkerInfo(model.name, language, __version__, POSITION_PROTOCOL, model.sample_rate_hz)
        self._url = info.url(options.url)
        self._threads = DecoderThreads(min(options.sessions, num_cores()))
        # A request that was cancelled may leave a result with the text processor for a while.
        self._text_threads = ThreadPoolExecutor(2 * options.sessions, thread_name_prefix="text")
        self._draining = asyncio.Event()
        self._master_is_away = False
        self._has_complained = False
        self._waiting: set[QuickConnection] = set()
        self._requests: set[WorkerRequest] = set()

    async def run(self) -> None:
        """Serves requests until after `drain` the running ones have ended; cancel it to stop at once."""
        try:
            self._threads.start()
            async with asyncio.TaskGroup() as slots:
                for _ in range(self._options.sessions):
                    slots.create_task(self._run_slot())
        finally:
            self._threads.stop()
            self._text_threads.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Accepts no more requests; `run` returns when the running ones have ended."""
        self._draining.set()
        for connection in tuple(self._waiting):
            connection.close(GOING_AWAY, "the worker is shutting down")

    def cut_off(self) -> None:
        """Ends the running requests with status 2, after what has been recognised of them."""
        for request in tuple(self._requests):
            request.interrupt("the worker is shutting down")

    def longest_step_s(self) -> float:
        """How long ago the oldest of the steps that the recogniser is at has begun; 0 without any."""
        return self._threads.longest_step_s()

    @property
    def slots(self) -> dict[str, int]:
        """Number of slots by state: free, busy with a request, or disconnected from the master."""
        free, busy = len(self._waiting), len(self._requests)
        wanted = free + busy if self.is_draining else self._options.sessions
        return {"free": free, "busy": busy, "disconnected": wanted - free - busy}

    @property
    def is_draining(self) -> bool:
        """Whether no more requests are accepted."""
        return self._draining.is_set()

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
        except (OSError, HTTPError, WebSocketError, ConfigError) as error:
            level = logging.DEBUG if self._master_is_away else logging.WARNING
            reason = _refusal_of(error) or error
            logger.log(level, "no connection to the master at %s: %s", shown_url(self._options.url), reason)
            self._master_is_away = True
            return False
        if self._master_is_away:
            logger.info("connected to the master at %s", shown_url(self._options.url))
            self._master_is_away = False
        try:
            with watch_server(connection, self._options.ping_interval_s, self._master_lost):
                return await self._serve_one(connection)
        finally:
            await _close(connection)

    async def _serve_one(self, connection: QuickConnection) -> bool:
        """Waits for a request and serves it; False when the master closes without one."""
        info = await self._wait_for_request(connection)
        if info is None:
            return False
        statistics = self.statistics.begin()
        request = WorkerRequest(
            connection,
            info,
            self.model,
            self._threads.share(),
            self._options.silence_timeout_s,
            None if self._text_processor is None else self._process_text,
            self._options.out_dir,
            statistics,
        )
        self._requests.add(request)
        try:
            await asyncio.create_task(request.run(), name=f"request {info.request.id}")
        finally:
            self._requests.discard(request)
            self.statistics.end(statistics)
        self.after_request(request.is_out_of_memory)
        return True

    def _master_lost(self) -> None:
        self._master_is_away = True
        silent_s = SILENT_INTERVALS * self._options.ping_interval_s
        logger.warning(
            "the master at %s has given no sign of life for %g s", shown_url(self._options.url), silent_s
        )

    async def _connect(self) -> QuickConnection:
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

    async def _wait_for_request(self, connection: QuickConnection) -> WorkerRequestInfo | None:
        self._waiting.add(connection)
        if len(self._waiting) + len(self._requests) == self._options.sessions:
            self.connected.set()
        if self._draining.is_set():
            connection.close(GOING_AWAY)
        try:
            message = await connection.read_message()
        finally:
            self._waiting.discard(connection)
        if message is None:
            self._explain_close(connection)
            return None
        try:
            info = WorkerRequestInfo.from_init_message(message)
            self._has_complained = False
            return info
        except ProtocolError as error:
            self._complain(f"{shown_url(self._options.url)} is not a master's address for workers: {error}")
            return None

    def _explain_close(self, connection: QuickConnection) -> None:
        if connection.close_code == POLICY_VIOLATION:
            self._complain(f"{shown_url(self._options.url)} refuses this worker: {connection.close_reason}")

    def _complain(self, text: str) -> None:
        """Logs what keeps all slots from working, once until a request comes."""
        logger.log(logging.DEBUG if self._has_complained else logging.ERROR, "%s", text)
        self._has_complained = True

    async def _process_text(self, result: Result, request_id: str) -> Result:
        assert self._text_processor is not None
        process = partial(self._text_processor.process, result, request_id)
        context = contextvars.copy_context()  # log lines have the request's id
        return await asyncio.get_running_loop().run_in_executor(self._text_threads, context.run, process)


def _refusal_of(error: Exception) -> str | None:
    """Why a master refuses the worker's token; None if it has not said anything like that."""
    if not isinstance(error, HTTPError):
        return None
    return refusal_text(error.code, error.response.body if error.response is not None else b"")


async def _close(connection: QuickConnection) -> None:
    """Closes a connection and waits for the master to do so; what it still sends is dropped."""
    is_closed = connection.protocol is None or connection.protocol.is_closing()
    connection.close(NORMAL_CLOSURE)
    if is_closed:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(HANDSHAKE_S):
            while await connection.read_message() is not None:
                continue
