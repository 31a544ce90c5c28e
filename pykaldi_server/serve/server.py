"""`serve`: a master and its worker processes, started, watched and stopped as one."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from pykaldi_server import event_loop
from pykaldi_server.errors import ConfigError
from pykaldi_server.master.connections import allow_many_files
from pykaldi_server.master.server import Master, wind_down
from pykaldi_server.serve.options import ServeOptions, split_name
from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand
from pykaldi_server.service import Service

__all__ = ["Server", "run_server"]

logger = logging.getLogger(__name__)


class Server:
    """Runs a master in this process and workers in others.

    Args:
        options: settings.
        announce: called once, with the server's URL, when the first request can be served.
        reread: reads the settings again, upon SIGHUP; raises `ConfigError` if they are invalid.
    """

    def __init__(
        self,
        options: ServeOptions,
        announce: Callable[[str], None],
        reread: Callable[[], ServeOptions] | None = None,
    ) -> None:
        options.validate()
        self._options = options
        self._announce = announce
        self._reread = reread or (lambda: options)
        self._master = Master(options.master)
        self._worker_token = self._master.hub.access.make_worker_token()
        # Without its default model, the server would give clients that name none another one.
        self._master.hub.pool.accepting = False
        self._service = Service(self._reload)
        self._supervisor: Supervisor | None = None
        self._model_of_name: dict[str, tuple[str, str]] = {}
        self._has_default_model = False

    async def run(self) -> None:
        """Serves until SIGINT or SIGTERM; a second signal does not wait for running requests.

        Raises:
            OSError: the address cannot be had.
            ConfigError: a model cannot be loaded, or two have the same name.
        """
        async with self._service as service:
            self._master.start()
            self._master.listen_for_own_workers()
            self._supervisor = Supervisor(self._commands(), self._worker_ready, self._worker_named)
            working = asyncio.create_task(self._supervisor.run())
            announcing = asyncio.create_task(self._announce_when_ready())
            stopping = asyncio.create_task(service.stopping.wait())
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            announcing.cancel()
            stopping.cancel()
            # First no new requests, then the end of the running ones, then that of workers and master.
            await wind_down(self._master, service)
            working.cancel()
            await self._master.stop()
            with suppress(asyncio.CancelledError):
                await working
            logger.info("stopped")

    def _commands(self) -> list[WorkerCommand]:
        options = self._options
        extra = (*(f"--model-option={each}" for each in options.model_options), *options.worker_arguments)
        return [
            WorkerCommand(path, (self._master.worker_url,), options.sessions, name, extra, self._worker_token)
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
        self._master.hub.pool.expect_model(model_name)
        self._let_clients_in()

    def _worker_ready(self, command: WorkerCommand, model_name: str) -> None:
        """Makes the first model the default one, unless the settings name another, and lets clients in."""
        model = command.name, command.model
        if model == split_name(self._options.models[0]):
            if self._options.master.default_model is None:
                self._master.hub.pool.default_model = model_name
            self._has_default_model = True
            self._let_clients_in()

    def _let_clients_in(self) -> None:
        """Lets clients in when the first model is there, and the names of the others are known.

        Clients that ask for those have to wait for them, but are not told that there are none.
        """
        are_named = set(map(split_name, self._options.models)) <= set(self._model_of_name.values())
        if self._has_default_model and are_named and not self._service.stopping.is_set():
            self._master.hub.pool.accepting = True

    async def _announce_when_ready(self) -> None:
        await self._master.wait_until_ready()
        self._announce(self._master.url)
        self._service.ready()

    async def _reload(self) -> None:
        """Reads the settings again, for the master and for new worker processes in place of the old ones.

        Raises:
            ConfigError: a setting is invalid; nothing has changed.
        """
        options = self._reread()
        self._master.reload(options.master)
        self._options = options
        before, self._model_of_name = self._model_of_name, {}
        assert self._supervisor is not None
        if await self._supervisor.reload(self._commands()):
            for name in before.keys() - self._model_of_name.keys():
                self._master.hub.forget_model(name)
            logger.info("all models have been loaded again")
        else:  # what has not been replaced serves on
            for name in self._model_of_name.keys() - before.keys() - self._master.hub.models.keys():
                self._master.hub.forget_model(name)
            self._model_of_name = {**self._model_of_name, **before}


def run_server(
    options: ServeOptions, announce: Callable[[str], None], reread: Callable[[], ServeOptions]
) -> None:
    """Runs a `Server` to its end, in an event loop of its own."""

    async def run() -> None:
        allow_many_files()
        await Server(options, announce, reread).run()

    event_loop.run(run())
