"""A worker with its model and its settings, of which a process has one, and two while it reloads.

When the settings are read again, the next generation loads its model and connects to the master while the one
before it serves on; then that accepts no more requests, and ends when those that it has are done.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.options import parse_assignments
from pykaldi_server.session import Model
from pykaldi_server.session.graph import compile_in_background
from pykaldi_server.session.loading import find_name
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.post_processor import PostProcessor
from pykaldi_server.worker.recording import make_directory
from pykaldi_server.worker.settings import WorkerSettings
from pykaldi_server.worker.worker import Worker

__all__ = ["Generation"]

logger = logging.getLogger(__name__)

CUT_OFF_S = 2.0
"""How long requests that are cut off may take to say what has been recognised of them."""


@dataclass(slots=True, eq=False)
class Generation:
    """Serves from construction until `retire`; see the module's text. It belongs to the process's event loop.

    Attributes:
        options: the settings, with what the model's configuration file adds to them.
        worker: serves.
        serving: done when the worker has ended.
        post_processor: changes the text of results; None leaves it alone.
    """

    options: WorkerOptions
    worker: Worker
    post_processor: PostProcessor | None
    serving: "asyncio.Task[None]"

    @classmethod
    async def start(
        cls,
        model_name: str,
        options: WorkerOptions,
        loader: ThreadPoolExecutor,
        on_named: Callable[[str], None],
    ) -> Self:
        """Loads a model and begins to serve.

        Args:
            model_name: a model directory or a configuration file.
            options: where the master is, how many slots, ...
            loader: a thread to load the model in.
            on_named: called with the model's name before it is loaded.

        Raises:
            ConfigError, ModelFormatError, FileNotFoundError: a setting is invalid, or the model cannot be
                loaded.
        """
        options.validate()
        settings = WorkerSettings.read(model_name)
        settings.configure_logging()
        options = settings.complete(options)
        if options.out_dir is not None:
            make_directory(options.out_dir)
        # The programs are started while this process is small.
        post_processor = PostProcessor.start(options, settings.directory)
        try:
            on_named(options.name or find_name(settings.model))
            overrides = parse_assignments(options.model_options)
            loop = asyncio.get_running_loop()
            model = await loop.run_in_executor(loader, lambda: Model.load(settings.model, **overrides))
            if options.name:
                model = replace(model, name=options.name)
            if post_processor is not None:
                post_processor.check()
            worker = Worker(model, options, post_processor)
        except BaseException:
            if post_processor is not None:
                post_processor.close()
            raise
        serving = asyncio.create_task(cls._serve(worker, options, post_processor))
        return cls(options, worker, post_processor, serving)

    def retire(self) -> None:
        """Accepts no more requests; those that run end in their own time. May be called again."""
        self.worker.drain()

    def end_soon(self) -> None:
        """Gives the requests that run the time that the options say, once no more are accepted."""
        if self.serving.done():
            return
        logger.info("ending after the running requests, in %g s at the latest", self.options.drain_s)
        loop = asyncio.get_running_loop()
        cutting_off = loop.call_later(self.options.drain_s, self._cut_off)
        ending = loop.call_later(self.options.drain_s + CUT_OFF_S, self.serving.cancel)
        self.serving.add_done_callback(lambda _: cutting_off.cancel())
        self.serving.add_done_callback(lambda _: ending.cancel())

    def _cut_off(self) -> None:
        if self.post_processor is not None:
            self.post_processor.close(patience_s=0)  # the last results do not wait for it
        self.worker.cut_off()

    @staticmethod
    async def _serve(worker: Worker, options: WorkerOptions, post_processor: PostProcessor | None) -> None:
        compiling = asyncio.create_task(_compile_graph(worker)) if options.compile_graphs else None
        try:
            await worker.run()
        finally:
            if compiling is not None:
                compiling.cancel()
                with suppress(asyncio.CancelledError):
                    await compiling
            if post_processor is not None:
                await asyncio.to_thread(post_processor.close)


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
