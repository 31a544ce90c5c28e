"""Runs a fleet in a Ray cluster from start to end, as `pykaldi-server ray` does."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from pykaldi_server.fleet.actor import Assignment
from pykaldi_server.fleet.fleet import Fleet, FleetSettings
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.ray_cluster import connected_ray
from pykaldi_server.fleet.scaling import Load
from pykaldi_server.fleet.status import MasterStatus, read_load
from pykaldi_server.protocols.credentials import find_token
from pykaldi_server.protocols.trust import Trust
from pykaldi_server.serve.supervisor import WorkerCommand
from pykaldi_server.service import Service
from pykaldi_server.worker.options import WorkerOptions

__all__ = ["FleetRun", "run_fleet"]

logger = logging.getLogger(__name__)

END_S = 10.0
"""How much longer than the worker processes a fleet may take to end."""


@dataclass(frozen=True, slots=True)
class FleetRun:
    """What a fleet is run with.

    Attributes:
        options: which cluster, and how many workers.
        workers: options of the workers, among them the addresses of the masters.
        command: how a worker process is started.
        patience_s: how long a worker process may take to end.
        log_level, log_format: of the actors.
    """

    options: FleetOptions
    workers: WorkerOptions
    command: WorkerCommand
    patience_s: float
    log_level: str
    log_format: str

    def settings(self) -> FleetSettings:
        """The settings of the fleet.

        Raises:
            ConfigError: an address of a master, or a file of a token, is invalid.
        """
        find_token("", self.options.status_token_file, {})
        trust = Trust(self.workers.cafile, self.workers.insecure)
        masters = [MasterStatus(url, trust) for url in self.workers.url]

        async def load_of_model(model: str) -> Load:
            return await read_load(masters, model, self.options)

        return FleetSettings(
            options=self.options,
            assignment=Assignment(self.command, self.patience_s),
            sessions=self.workers.sessions,
            model=self.workers.name,
            read_load=load_of_model,
        )


def run_fleet(run: FleetRun, reread: Callable[[], FleetRun]) -> None:
    """Runs workers until SIGTERM or SIGINT, upon which all finish their requests; a second signal ends them.

    Args:
        run: what with.
        reread: makes it again from the settings, upon SIGHUP; raises `ConfigError` if those are invalid.

    Raises:
        ConfigError: a setting is invalid, the cluster cannot be reached, or the model cannot be loaded.
    """
    settings = run.settings()
    with connected_ray(run.options.ray_address, run.log_level, run.log_format) as cluster:
        asyncio.run(_run(Fleet(cluster, settings), reread))


async def _run(fleet: Fleet, reread: Callable[[], FleetRun]) -> None:
    async def reload() -> None:
        fleet.reload(reread().settings())

    try:
        async with Service(reload) as service:
            service.ready()
            running, stopping = (asyncio.create_task(each) for each in (fleet.run(), service.stopping.wait()))
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                stopping.cancel()
                running.result()
            running.cancel()
            await asyncio.wait((running,))
            logger.info("all workers end after their requests")
            ending = asyncio.create_task(fleet.stop())
            hurrying = asyncio.create_task(service.hurrying.wait())
            patience_s = fleet.settings.assignment.patience_s + END_S
            await asyncio.wait((ending, hurrying), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            fleet.hurry()
            hurrying.cancel()
            await asyncio.wait(
                (ending,), timeout=END_S
            )  # a machine that is lost does not say that it has ended
            ending.cancel()
    finally:
        fleet.kill()
