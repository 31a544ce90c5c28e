"""A worker process from start to end: serve, reload on SIGHUP, drain on SIGTERM, report to a supervisor."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pykaldi_server import event_loop
from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.memory import return_free_memory
from pykaldi_server.protocols.supervision import (
    ALIVE,
    EXIT_MODEL,
    EXIT_RECYCLE,
    NAMED,
    READY,
    RECYCLE,
    RETIRE,
    SERVING,
)
from pykaldi_server.service import Service
from pykaldi_server.worker.generation import Generation
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.recycling import Recycling
from pykaldi_server.worker.statistics import WorkerStatistics
from pykaldi_server.worker.worker import HANG_S, Worker

__all__ = ["SupervisorLink", "run_worker_process"]

logger = logging.getLogger(__name__)

BEAT_S = 1.0
HANDOVER_S = 10.0
"""How long a worker that has loaded its model may take to reach the master, which may be away."""
MEMORY_PERIOD_S = 5.0
"""How often free memory is given back, and it is looked how much the process has."""


class SupervisorLink:
    """The worker's end of the line to its supervisor: says `alive` while all is well, notices its death."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, fd: int) -> "SupervisorLink":
        """Opens the end that the process was born with."""
        return cls(*await asyncio.open_connection(sock=socket.socket(fileno=fd)))

    def report(self, word: bytes, model: str = "") -> None:
        """Says one of the words of `protocols.supervision`."""
        self._writer.write(b" ".join(filter(None, (word, model.encode()))) + b"\n")

    async def beat(self, is_well: Callable[[], bool]) -> None:
        """Says `alive` every second as long as the process is well; the silence otherwise tells enough."""
        while True:
            if is_well():
                self.report(ALIVE)
            await asyncio.sleep(BEAT_S)

    async def outlive(self, retire: Callable[[], None]) -> None:
        """Ends this process at once when the supervisor is gone: nobody else would.

        Args:
            retire: called when another process has taken the place of this one.
        """
        with suppress(OSError):
            while line := await self._reader.readline():
                if line.strip() == RETIRE:
                    retire()
        logger.error("the supervisor is gone")
        os._exit(os.EX_UNAVAILABLE)


class WorkerProcess:
    """What a worker process does, from `load` until `retire`, in the running asyncio loop.

    Args:
        model: a model directory or a configuration file.
        options: settings.
        reread: reads them again; raises `ConfigError` if they are invalid.
        link: to the supervisor; None if there is none.

    Attributes:
        is_over: set when the process is to end after its requests: another one has taken its place, or it has
            done enough and there is no supervisor to start another one, or its worker has failed.
        exit_code: what the process ends with.
        is_loading: a model is being loaded.
        statistics: of all requests since the process started.
        load_s: how long it took to load the model that new requests are recognised with, in seconds.
    """

    def __init__(
        self,
        model: str,
        options: WorkerOptions,
        reread: Callable[[], WorkerOptions],
        link: SupervisorLink | None,
    ) -> None:
        self.is_over = asyncio.Event()
        self.exit_code = 0
        self.is_loading = False
        self.statistics = WorkerStatistics()
        self.load_s = 0.0
        self._model = model
        self._reread = reread
        self._link = link
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._generations: list[Generation] = []  # the last one takes requests
        self._recycling = Recycling(options)
        self._has_asked = False  # to be replaced
        self._is_retiring = False

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Those that serve requests. The last one takes new ones; there is none until a model is loaded."""
        return tuple(each.worker for each in self._generations)

    def is_well(self) -> bool:
        """Whether no piece of work hangs."""
        return all(each.worker.longest_step_s() < HANG_S for each in self._generations)

    async def reload(self) -> None:
        """Reads the settings and the model again, for new requests.

        Raises:
            ConfigError, ModelFormatError, FileNotFoundError: they cannot be used; all stays as it was.
        """
        if not self._is_retiring:
            await self.load(self._reread())

    async def load(self, options: WorkerOptions) -> None:
        """Starts to serve; what has served so far ends after its requests.

        Raises:
            ConfigError, ModelFormatError, FileNotFoundError: a setting is invalid, or the model cannot be
                loaded.
        """
        self.is_loading = True
        begin_s = time.monotonic()
        try:
            new = await Generation.start(
                self._model, options, self._loader, lambda name: self._say(NAMED, name)
            )
            self.is_loading = False
        except Exception:
            self.is_loading = False
            raise
        old = tuple(self._generations)
        if not old:
            try:
                self._recycling.check_start()
            except ConfigError:
                new.serving.cancel()
                await asyncio.wait((new.serving,))
                raise
        self._recycling.take_over(options)
        new.worker.after_request = self._request_ended
        new.worker.statistics = self.statistics
        self.load_s = time.monotonic() - begin_s
        self._generations.append(new)
        new.serving.add_done_callback(lambda _: self._ended(new))
        self._say(READY, new.worker.model.name)
        with suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_S):
                await new.worker.connected.wait()
        self._say(SERVING)
        for each in old:
            each.retire()

    def retire(self) -> None:
        """Accepts no more requests."""
        self._is_retiring = True
        for each in self._generations:
            each.retire()

    def end_soon(self) -> None:
        """Gives requests no more than the time that the options say."""
        for each in self._generations:
            each.end_soon()

    def cancel(self) -> None:
        """Breaks off the requests that still run."""
        for each in self._generations:
            each.serving.cancel()

    async def wait(self) -> None:
        """Returns when all requests have ended after `retire`; raises what a worker fails with."""
        results = await asyncio.gather(*(each.serving for each in self._generations), return_exceptions=True)
        for result in results:
            if isinstance(result, asyncio.CancelledError):
                logger.warning("stopped with requests running")
            elif isinstance(result, BaseException):
                raise result

    async def watch_memory(self) -> None:
        """Gives free memory back from time to time, and looks how much the process has."""
        audio_s = 0.0
        while True:
            await asyncio.sleep(MEMORY_PERIOD_S)
            if self.statistics.audio_s != audio_s:
                audio_s = self.statistics.audio_s
                with suppress(RuntimeError):  # no thread can be started; what watches memory is to go on
                    await asyncio.to_thread(_return_memory)
            self._consider_recycling()

    def _ended(self, generation: Generation) -> None:
        serving = generation.serving
        if not serving.cancelled() and serving.exception() is not None:
            self.is_over.set()  # and `wait` reports why
        elif not self._is_retiring:
            self._generations.remove(generation)

    def _request_ended(self, is_out_of_memory: bool) -> None:
        self._recycling.num_requests += 1
        self._recycling.is_out_of_memory |= is_out_of_memory
        self._consider_recycling()

    def _consider_recycling(self) -> None:
        if self._has_asked or self._is_retiring or not (reason := self._recycling.reason()):
            return
        self._has_asked = True
        logger.info("this process is to be replaced by a fresh one: %s", reason)
        if self._link is None:
            self.exit_code = EXIT_RECYCLE
            self.is_over.set()
        else:
            self._link.report(RECYCLE)

    def _say(self, word: bytes, model: str = "") -> None:
        if self._link is not None:
            self._link.report(word, model)


def _return_memory() -> None:
    """Gives back what is free, and what only the hardest moments of searches have needed."""
    from pykaldi_server.kaldi.decoder import free_idle_workspaces  # loaded with the model

    free_idle_workspaces()
    return_free_memory()


def run_worker_process(
    model: str, options: WorkerOptions, reread: Callable[[], WorkerOptions], supervisor_fd: int | None = None
) -> int:
    """Serves until SIGTERM or SIGINT; a second signal cuts running requests off.

    Args:
        model: a model directory or a configuration file.
        options: where the master is, how many slots, ...
        reread: reads them again, upon SIGHUP; raises `ConfigError` if they are invalid.
        supervisor_fd: file descriptor of a socket to the supervisor, if there is one.

    Returns:
        The exit code; `EXIT_MODEL` means that starting again would not help, `EXIT_RECYCLE` that it is due.
    """
    try:
        return event_loop.run(_serve(model, options, reread, supervisor_fd))
    except (ConfigError, ModelFormatError, FileNotFoundError) as error:
        logger.error("%s", error)
        return EXIT_MODEL


async def _serve(
    model: str, options: WorkerOptions, reread: Callable[[], WorkerOptions], supervisor_fd: int | None
) -> int:
    link = None if supervisor_fd is None else await SupervisorLink.open(supervisor_fd)
    process = WorkerProcess(model, options, reread, link)
    health = None
    if options.health_port is not None:
        from pykaldi_server.worker.health import HealthServer  # most workers do without prometheus_client

        # A process and the one that takes its place have the port at the same time for a moment.
        health = HealthServer(options, process, may_share_port=link is not None)
    background = [process.watch_memory()]
    if link is not None:
        background += [link.beat(process.is_well), link.outlive(process.is_over.set)]
    tasks = [asyncio.create_task(each) for each in background]
    try:
        async with Service(process.reload, process.is_well) as service:
            code = await _serve_until_told(process, options, service)
    finally:
        for task in tasks:
            task.cancel()
        if health is not None:
            health.stop()
    if process.is_loading:  # nobody waits for a model that nobody will use
        logging.shutdown()
        os._exit(code)
    return code


async def _serve_until_told(process: WorkerProcess, options: WorkerOptions, service: Service) -> int:
    starting = asyncio.create_task(process.load(options))
    stopping, is_over, hurrying = (
        asyncio.create_task(each.wait()) for each in (service.stopping, process.is_over, service.hurrying)
    )
    await asyncio.wait((starting, stopping, is_over), return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        service.ready()
        await asyncio.wait((stopping, is_over), return_when=asyncio.FIRST_COMPLETED)
    else:
        starting.cancel()
        await asyncio.wait((starting,))
    process.retire()
    ending = asyncio.create_task(process.wait())
    await asyncio.wait((ending, stopping), return_when=asyncio.FIRST_COMPLETED)
    process.end_soon()
    await asyncio.wait((ending, hurrying), return_when=asyncio.FIRST_COMPLETED)
    process.cancel()
    await ending
    return process.exit_code
