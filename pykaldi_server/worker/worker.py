"""A worker: slots that each keep one connection to the master and serve one request after another.

A slot is a coroutine: connect, wait for a request, serve it (`worker.request`), close, connect again. Where
there are several masters, each has its share of the slots; while it is away, these serve the next ones. The
audio is decoded and recognised by `decoder_threads`, one message of a request at a time. The connection is
always read: the master keeps only so much on the way as the worker's positions allow.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pykaldi_server.cores import num_cores
from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.messages import GOING_AWAY
from pykaldi_server.protocols.worker import POSITION_PROTOCOL, WorkerInfo, WorkerRequestInfo
from pykaldi_server.session import Model
from pykaldi_server.session.text_processor import Result, TextProcessor
from pykaldi_server.sockets import QuickConnection
from pykaldi_server.version import __version__
from pykaldi_server.worker.decoder_threads import DecoderThreads
from pykaldi_server.worker.masters import Line, Master, seek
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.request import WorkerRequest
from pykaldi_server.worker.statistics import WorkerStatistics

__all__ = ["HANG_S", "Worker"]

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
HANG_S = 60.0
"""A recogniser that shows no progress for this long hangs."""


class Worker:
    """All slots of one process, in the running asyncio loop; the model is shared by all.

    Args:
        model: what to recognise with.
        options: where the masters are, how many slots, ...
        text_processor: changes the text of results; None leaves it alone.

    Attributes:
        model: what the next request is recognised with.
        connected: set when all slots have reached a master for the first time.
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
        self._masters = tuple(Master(url, info, options) for url in options.url)
        self._threads = DecoderThreads(min(options.sessions, num_cores()))
        # A request that was cancelled may leave a result with the text processor for a while.
        self._text_threads = ThreadPoolExecutor(2 * options.sessions, thread_name_prefix="text")
        self._draining = asyncio.Event()
        self._waiting: set[QuickConnection] = set()
        self._requests: set[WorkerRequest] = set()

    async def run(self) -> None:
        """Serves requests until after `drain` the running ones have ended; cancel it to stop at once."""
        try:
            self._threads.start()
            async with asyncio.TaskGroup() as slots:
                for number in range(self._options.sessions):
                    own = number % len(self._masters)
                    slots.create_task(self._run_slot((*self._masters[own:], *self._masters[:own])))
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
        """Number of slots by state: free, busy with a request, or disconnected from all masters."""
        free, busy = len(self._waiting), len(self._requests)
        wanted = free + busy if self.is_draining else self._options.sessions
        return {"free": free, "busy": busy, "disconnected": wanted - free - busy}

    @property
    def is_draining(self) -> bool:
        """Whether no more requests are accepted."""
        return self._draining.is_set()

    async def _run_slot(self, masters: Sequence[Master]) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._draining.is_set():
            if await self._serve_first(masters):
                pause_s = FIRST_PAUSE_S
                continue
            try:
                await asyncio.wait_for(self._draining.wait(), pause_s)
            except TimeoutError:
                pause_s = min(2 * pause_s, self._options.reconnect_max_s)

    async def _serve_first(self, masters: Sequence[Master]) -> bool:
        """Serves one request of the first master that can be reached and has one; False if none does."""
        for place, master in enumerate(masters):
            line = await master.connect()
            if line is not None and await self._serve_at(line, masters[:place]):
                return True
            if self._draining.is_set():
                break
        return False

    async def _serve_at(self, line: Line, better: Sequence[Master]) -> bool:
        """Serves one request of a master, or of a better one that can be reached again before one comes."""
        while True:
            async with line.watched():
                request, found = await self._wait(line, better)
                if request is not None:
                    await self._serve(line.connection, request)
                    return True
            if found is None:
                return False
            line, better = found, better[: better.index(found.master)]

    async def _wait(
        self, line: Line, better: Sequence[Master]
    ) -> tuple[WorkerRequestInfo | None, Line | None]:
        """Waits for a request, and for a line to a better master; one of them, or neither at the end."""
        if not better:
            return await self._wait_for_request(line), None
        reading = asyncio.create_task(self._wait_for_request(line))
        seeking = asyncio.create_task(seek(better, self._options.reconnect_max_s))
        is_found = False
        try:
            await asyncio.wait((reading, seeking), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result(), None
            line.leave("the worker goes back to the master that it belongs to")
            found = seeking.result()
            is_found = True
            return None, found
        finally:
            for task in (reading, seeking):
                task.cancel()
            _, spare = await asyncio.gather(reading, seeking, return_exceptions=True)
            if not is_found and isinstance(spare, Line):  # found at the moment when a request or the end came
                await spare.close()

    async def _serve(self, connection: QuickConnection, info: WorkerRequestInfo) -> None:
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
        self.after_request(request.is_out_of_memory or connection.is_out_of_memory)

    async def _wait_for_request(self, line: Line) -> WorkerRequestInfo | None:
        """The next request; None when the master closes without one."""
        connection, master = line.connection, line.master
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
            if connection.is_out_of_memory:  # for the request that was coming
                self.after_request(True)
            master.explain_close(connection)
            return None
        try:
            info = WorkerRequestInfo.from_init_message(message)
        except ProtocolError as error:
            master.complain(f"{master} is not a master's address for workers: {error}")
            return None
        master.content()
        return info

    async def _process_text(self, result: Result, request_id: str) -> Result:
        assert self._text_processor is not None
        process = partial(self._text_processor.process, result, request_id)
        context = contextvars.copy_context()  # log lines have the request's id
        return await asyncio.get_running_loop().run_in_executor(self._text_threads, context.run, process)
