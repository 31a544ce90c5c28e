"""Ray, as far as a fleet needs it. The only module that imports Ray, and only when it is used."""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pykaldi_server.errors import ConfigError
from pykaldi_server.fleet.actor import ActorState, Assignment, WorkerActor
from pykaldi_server.fleet.fleet import WorkerLostError
from pykaldi_server.logs import configure_logging

__all__ = ["RayCluster", "RayWorker", "connected_ray"]

logger = logging.getLogger(__name__)


def import_ray() -> Any:
    """Imports Ray.

    Raises:
        ConfigError: it is not installed.
    """
    # Ray looks at these when it is imported: nothing is reported to its makers, and no line of a log is
    # dropped because another worker has logged the same.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("ray: this command needs Ray: pip install 'pykaldi-server[ray]'") from None
    return ray


@contextmanager
def connected_ray(address: str, log_level: str, log_format: str) -> Iterator["RayCluster"]:
    """A connection to a cluster; Ray ends whatever was started through it when it is closed.

    Args:
        address: of the cluster; "" for the one that there is, or a new one on this machine.
        log_level, log_format: see `LoggedActor`.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = import_ray()
    try:
        ray.init(
            address=address or None,
            include_dashboard=False,
            configure_logging=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"ray_address {address or '(not set)'}: {reason}") from error
    try:
        yield RayCluster(ray, log_level, log_format)
    finally:
        ray.shutdown()


class LoggedActor(WorkerActor):
    """An actor in a process of its own, with a log.

    Args:
        assignment: what to run.
        log_level: least severe level of messages.
        log_format: layout of the log.
    """

    def __init__(self, assignment: Assignment, log_level: str, log_format: str) -> None:
        configure_logging(f"actor {os.getpid()}", False, log_level, log_format)
        super().__init__(assignment)

    def __repr__(self) -> str:
        """What Ray writes in front of each line of the log."""
        return "worker"


class RayCluster:
    """The machines of a Ray cluster.

    Args:
        ray: the module, connected to the cluster.
        log_level, log_format: see `LoggedActor`.
    """

    def __init__(self, ray: Any, log_level: str, log_format: str) -> None:
        self._ray = ray
        self._log = log_level, log_format

    def start(self, assignment: Assignment, cores: float) -> "RayWorker":
        """Starts a worker, as soon as there is room for it; returns at once."""
        actor = self._ray.remote(LoggedActor).options(
            num_cpus=cores,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        return RayWorker(self._ray, actor.remote(assignment, *self._log))


class RayWorker:
    """A handle of a `WorkerActor`.

    Args:
        ray: the module.
        actor: Ray's own handle.
    """

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    async def state(self) -> ActorState | None:
        """How it is doing, as soon as it can say so; None while it is being started again.

        Raises:
            WorkerLostError: it never will be.
        """
        exceptions = self._ray.exceptions
        try:
            state: ActorState = await asyncio.wrap_future(self._actor.state.remote().future())
        except exceptions.ActorUnavailableError:
            return None
        except exceptions.RayActorError as error:
            raise WorkerLostError(str(error).strip().partition("\n")[0]) from error
        return state

    def reload(self, assignment: Assignment) -> None:
        """Replaces the worker process."""
        self._actor.reload.remote(assignment)

    def retire(self) -> None:
        """Ends the worker process after its requests."""
        self._actor.retire.remote()

    def stop(self) -> None:
        """Ends the worker process after its requests, which have limited time; the second time at once."""
        self._actor.stop.remote()

    def kill(self) -> None:
        """Ends the actor, and what it runs, at once."""
        self._ray.kill(self._actor)
