"""A worker process from start to end: load the model, serve, drain on SIGTERM, report to a supervisor."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace

from pykaldi_server.errors import ConfigError, ModelFormatError, PykaldiServerError
from pykaldi_server.options import parse_assignments
from pykaldi_server.protocols.supervision import ALIVE, EXIT_MODEL, NAMED, READY
from pykaldi_server.session import Model
from pykaldi_server.session.formats.gstreamer_yaml import YamlFile
from pykaldi_server.session.graph import compile_in_background
from pykaldi_server.session.loading import find_name
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.post_processor import PostProcessor
from pykaldi_server.worker.recording import make_directory
from pykaldi_server.worker.settings import WorkerSettings
from pykaldi_server.worker.worker import Worker

__all__ = ["SupervisorLink", "run_worker_process"]

logger = logging.getLogger(__name__)

BEAT_S = 1.0
HANG_S = 60.0
CUT_OFF_S = 2.0
"""How long requests that are cut off may take to say what has been recognised of them."""


class SupervisorLink:
    """The worker's end of the line to its supervisor: says `alive` while all is well, notices its death."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_well: Callable[[], bool] = lambda: True

    @classmethod
    async def open(cls, fd: int) -> "SupervisorLink":
        """Opens the end that the process was born with."""
        return cls(*await asyncio.open_connection(sock=socket.socket(fileno=fd)))

    def named(self, model: str) -> None:
        """Reports what the model that is about to be loaded is called."""
        self._writer.write(NAMED + b" " + model.encode() + b"\n")

    def ready(self, model: str) -> None:
        """Reports that the model is loaded."""
        self._writer.write(READY + b" " + model.encode() + b"\n")

    async def beat(self) -> None:
        """Says `alive` every second as long as `is_well`; the silence otherwise tells enough."""
        while True:
            if self.is_well():
                self._writer.write(ALIVE + b"\n")
            await asyncio.sleep(BEAT_S)

    async def outlive(self) -> None:
        """Ends this process at once when the supervisor is gone: nobody else would."""
        with suppress(OSError):
            await self._reader.read()
        logger.error("the supervisor is gone")
        os._exit(os.EX_UNAVAILABLE)


def run_worker_process(model: str, options: WorkerOptions, supervisor_fd: int | None = None) -> int:
    """Serves until SIGTERM or SIGINT; a second signal cuts running requests off.

    Args:
        model: a model directory or a configuration file.
        options: where the master is, how many slots, ...
        supervisor_fd: file descriptor of a socket to the supervisor, if there is one.

    Returns:
        The exit code; `EXIT_MODEL` means that starting again would not help.
    """
    try:
        settings = WorkerSettings.read(model)
        settings.configure_logging()
        options = settings.complete(options)
        if options.out_dir is not None:
            make_directory(options.out_dir)
        # The programs are started while this process is small.
        with PostProcessor.start(options, settings.directory) or nullcontext() as post_processor:
            asyncio.run(_serve(settings.model, options, supervisor_fd, post_processor))
    except (ConfigError, ModelFormatError, FileNotFoundError) as error:
        logger.error("%s", error)
        return EXIT_MODEL
    except asyncio.CancelledError:
        logger.warning("stopped with requests running")
    return 0


async def _serve(
    model_path: str | YamlFile,
    options: WorkerOptions,
    supervisor_fd: int | None,
    post_processor: PostProcessor | None,
) -> None:
    link = await SupervisorLink.open(supervisor_fd) if supervisor_fd is not None else None
    background = [asyncio.create_task(work) for work in ((link.beat(), link.outlive()) if link else ())]
    try:
        overrides = parse_assignments(options.model_options)
        if link is not None:
            link.named(options.name or find_name(model_path))
        model = await asyncio.to_thread(Model.load, model_path, **overrides)
        if options.name:
            model = replace(model, name=options.name)
        if post_processor is not None:
            post_processor.check()
        worker = Worker(model, options, post_processor)
        serving = asyncio.create_task(worker.run())
        if options.compile_graphs:
            background.append(asyncio.create_task(_compile_graph(worker)))
        _stop_on_signals(worker, serving, options.drain_s, post_processor)
        if link is not None:
            link.is_well = lambda: worker.longest_call_s() < HANG_S
            link.ready(model.name)
        await serving
    finally:
        for task in background:
            task.cancel()


async def _compile_graph(worker: Worker) -> None:
    """Compiles a graph that is composed in the search, and uses it for the requests that come then."""
    name = worker.model.name
    try:
        process = await asyncio.to_thread(compile_in_background, worker.model.graph_path)
        if process is None:
            return
        with process:
            try:
                exit_code = await asyncio.to_thread(process.wait)
            except asyncio.CancelledError:
                process.terminate()
                raise
        if exit_code == 0:
            worker.model = await asyncio.to_thread(worker.model.with_graph_of_now)
        else:
            logger.warning("%s: the graph was not compiled; it is composed in the search", name)
    except (PykaldiServerError, OSError) as error:
        logger.warning("%s: the graph is composed in the search: %s", name, error)


def _stop_on_signals(
    worker: Worker,
    serving: "asyncio.Task[None]",
    drain_s: float,
    post_processor: PostProcessor | None,
) -> None:
    loop = asyncio.get_running_loop()

    def cut_off() -> None:
        if post_processor is not None:
            post_processor.close(patience_s=0)  # the last results do not wait for it
        worker.cut_off()

    def stop() -> None:
        logger.info("stopping when the running requests have ended, in %g s at the latest", drain_s)
        worker.drain()
        loop.call_later(drain_s, cut_off)
        loop.call_later(drain_s + CUT_OFF_S, serving.cancel)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
