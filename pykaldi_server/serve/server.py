"""`serve`: a master and its worker processes, started, watched and stopped as one."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.server import Master
from pykaldi_server.serve.options import ServeOptions, split_name
from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand

__all__ = ["Server", "run_server"]

logger = logging.getLogger(__name__)


class Server:
    """Runs a master in this process and workers in others.

    Args:
        options: settings.
        announce: called once, with the server's URL, when the first request can be served.
    """

    def __init__(self, options: ServeOptions, announce: Callable[[str], None]) -> None:
        options.validate()
        self._options = options
        self._announce = announce
        self._master = Master(options.master)
        # Without its default model, the server would give clients that name none another one.
        self._master.hub.pool.accepting = False
        self._stop_requested = asyncio.Event()
        self._model_of_name: dict[str, tuple[str, str]] = {}

    async def run(self) -> None:
        """Serves until SIGINT or SIGTERM; a second signal does not wait for running requests.

        Raises:
            OSError: the address cannot be had.
            ConfigError: a model cannot be loaded, or two have the same name.
        """
        self._listen_to_signals()
        self._master.start()
        if self._options.master.uses_tls:
            self._master.listen_for_own_workers()
        supervisor = Supervisor(self._commands(), self._worker_ready, self._worker_named)
        working = asyncio.create_task(supervisor.run())
        announcing = asyncio.create_task(self._announce_when_ready())
        stopping = asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        announcing.cancel()
        stopping.cancel()
        await self._shut_down(working)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop_requested.set)

    def _commands(self) -> list[WorkerCommand]:
        options = self._options
        extra = (*(f"--model-option={each}" for each in options.model_options), *options.worker_arguments)
        return [
            WorkerCommand(path, self._master.worker_url, options.sessions, name, extra)
            for name, path in map(split_name, options.models)
            for _ in range(options.workers)
        ]

    def _worker_named(self, command: WorkerCommand, model_name: str) -> None:
        """Compares the name of a model, which may take minutes to load, with those of the others.

        Raises:
            ConfigError: another model has the same name, so clients could not tell them apart.
        """
        model = command.name, command.model
        other = self._model_of_name.setdefault(model_name, model)
        if other != model:
            raise ConfigError(
                f"models: expected different names, found {model_name!r} for both {other[1]} and "
                f"{command.model}; give one of them another name: NAME={command.model}"
            )

    def _worker_ready(self, command: WorkerCommand, model_name: str) -> None:
        """Makes the first model the default one."""
        model = command.name, command.model
        if model == split_name(self._options.models[0]) and not self._stop_requested.is_set():
            self._master.hub.pool.default_model = model_name
            self._master.hub.pool.accepting = True

    async def _announce_when_ready(self) -> None:
        await self._master.wait_until_ready()
        self._announce(self._master.url)

    async def _shut_down(self, working: "asyncio.Task[None]") -> None:
        """First no new requests, then the end of the running ones, then that of workers and master."""
        loop = asyncio.get_running_loop()
        draining = asyncio.create_task(self._master.drain(self._options.master.drain_s))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, draining.cancel)
        await asyncio.wait([draining])
        working.cancel()
        await self._master.stop()
        with suppress(asyncio.CancelledError):
            await working
        logger.info("stopped")


def run_server(options: ServeOptions, announce: Callable[[str], None]) -> None:
    """Runs a `Server` to its end, in an event loop of its own."""

    async def run() -> None:
        await Server(options, announce).run()

    asyncio.run(run())
