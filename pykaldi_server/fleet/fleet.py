"""Keeps as many workers in a Ray cluster as their masters need.

    masters --status--> Scaling --number--> Fleet --actors--> Ray --machines--> WorkerActor --> worker process

The fleet belongs to the process that runs it, and ends with it. Ray decides where workers run, as evenly
spread as there is room, and starts those again whose machine is lost.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pykaldi_server.errors import ConfigError
from pykaldi_server.fleet.actor import ActorState, Assignment
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.scaling import Load, Scaling

__all__ = ["Cluster", "Fleet", "FleetSettings", "WorkerLostError"]

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
"""How often the masters are asked, and the workers."""
PATIENCE_S = 30.0
"""A worker that has not been given a place after this time waits for one: the cluster is full."""
FAILURE_PAUSE_S = 30.0
"""Time between attempts to start workers, when one has failed."""


class WorkerLostError(Exception):
    """An actor has ended for good, and Ray does not start it again."""


class Worker(Protocol):
    """An actor somewhere in the cluster."""

    async def state(self) -> ActorState | None:
        """How it is doing, as soon as it can say so; None while it is being started again.

        Raises:
            WorkerLostError: it never will be.
        """

    def reload(self, assignment: Assignment) -> None:
        """See `WorkerActor`."""

    def retire(self) -> None:
        """See `WorkerActor`."""

    def stop(self) -> None:
        """See `WorkerActor`."""

    def kill(self) -> None:
        """Ends the actor at once, and what it runs."""


class Cluster(Protocol):
    """Machines on which workers run."""

    def start(self, assignment: Assignment, cores: float) -> Worker:
        """Starts a worker, as soon as there is room for it; returns at once."""


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What a fleet is run with.

    Attributes:
        options: how many workers.
        assignment: what each of them runs.
        sessions: slots of a worker.
        model: the name of the model, where the options set it.
        read_load: returns what the masters say that there is to do for a model.
    """

    options: FleetOptions
    assignment: Assignment
    sessions: int
    model: str
    read_load: Callable[[str], Any]


@dataclass(slots=True, eq=False)
class _Member:
    """A worker, as the fleet knows it.

    Attributes:
        worker: the worker.
        since_s: when it was started.
        state: what it has last said; None if nothing yet, and while it is being started again.
        asking: the question how it is doing, while that has no answer.
        has_been_seen: whether it has ever said anything.
        is_retiring: it has been told to end.
    """

    worker: Worker
    since_s: float
    state: ActorState | None = None
    asking: "asyncio.Task[ActorState | None] | None" = None
    has_been_seen: bool = False
    is_retiring: bool = False


@dataclass(slots=True)
class Fleet:
    """All workers of one model, in the running asyncio loop.

    Attributes:
        cluster: where they run.
        settings: see `reload`.
    """

    cluster: Cluster
    settings: FleetSettings
    _scaling: Scaling = field(init=False)
    _members: list[_Member] = field(default_factory=list)
    _model: str = ""
    _is_full: bool = False
    _not_before_s: float = 0.0

    def __post_init__(self) -> None:
        self._scaling = Scaling(self.settings.options, self.settings.sessions)

    @property
    def model(self) -> str:
        """The name by which masters know the model; "" until a worker has loaded it."""
        return self.settings.model or self._model

    def reload(self, settings: FleetSettings) -> None:
        """Takes other settings over, for workers that run as well, one after the other without a gap."""
        revision = self.settings.assignment.revision + 1
        self.settings = replace(settings, assignment=replace(settings.assignment, revision=revision))
        self._scaling.options, self._scaling.sessions = settings.options, settings.sessions

    async def run(self) -> None:
        """Keeps as many workers as are needed, until it is cancelled; does not end them then.

        Raises:
            ConfigError: a worker cannot load its model, and none has before.
        """
        now = asyncio.get_running_loop().time
        while True:
            load = await self.settings.read_load(self.model) if self.model else Load(0, 0, False)
            await self._look_after(now())
            current = sum(not each.is_retiring for each in self._members)
            wanted = self._scaling.wanted(load, current, now())
            if wanted > current and now() >= self._not_before_s:
                _say_change(wanted, current, load)
                for _ in range(wanted - current):
                    self._start(now())
            elif wanted < current:
                _say_change(wanted, current, load)
                for each in self._least_useful(current - wanted):
                    self._end(each, each.worker.retire)
            await asyncio.sleep(PERIOD_S)

    async def stop(self) -> None:
        """Ends all workers after their requests, which have no more than the ``drain_s`` of their options."""
        for each in self._members:
            self._end(each, each.worker.stop)
        while self._members:
            await self._look_after(asyncio.get_running_loop().time())
            await asyncio.sleep(PERIOD_S / 10)

    def hurry(self) -> None:
        """Cuts off the requests that still run, after `stop`."""
        for each in self._members:
            each.worker.stop()

    def kill(self) -> None:
        """Ends all workers at once."""
        for each in tuple(self._members):
            self._drop(each)

    def _start(self, now_s: float) -> None:
        settings = self.settings
        self._members.append(
            _Member(self.cluster.start(settings.assignment, settings.options.cores), since_s=now_s)
        )

    def _least_useful(self, number: int) -> list[_Member]:
        """Members to end: those that do not run yet, and then those that came last."""
        current = [each for each in self._members if not each.is_retiring]
        return sorted(current, key=lambda each: (each.state is not None, -each.since_s))[:number]

    def _end(self, member: _Member, tell: Callable[[], None]) -> None:
        if member.state is not None:
            member.is_retiring = True
            tell()
        else:  # it has no place yet, or none any more: nobody is served by it
            self._drop(member)

    def _drop(self, member: _Member) -> None:
        if member.asking is not None:
            member.asking.cancel()
        member.worker.kill()
        if member in self._members:
            self._members.remove(member)

    async def _look_after(self, now_s: float) -> None:
        """Asks all members how they are doing, and acts upon what they have said."""
        for each in self._members:
            if each.asking is None:
                each.asking = asyncio.create_task(each.worker.state())
        questions = [each.asking for each in self._members if each.asking is not None]
        if questions:  # those who do not answer now will have done so the next time, or the one after that
            await asyncio.wait(questions, timeout=PERIOD_S)
        for each in tuple(self._members):
            if each.asking is not None and each.asking.done():
                self._hear(each, each.asking, now_s)
        self._say_whether_full(now_s)

    def _hear(self, member: _Member, answer: "asyncio.Task[ActorState | None]", now_s: float) -> None:
        member.asking = None
        try:
            member.state = state = answer.result()
        except WorkerLostError as error:
            self._drop(member)
            if member.has_been_seen:
                logger.error("a worker is lost: %s", error)
            else:
                self._failed(str(error), now_s)
            return
        if state is None:
            return
        member.has_been_seen = True
        self._model = state.model or self._model
        if state.is_over:
            self._drop(member)
            if state.error:
                self._failed(state.error, now_s)
        elif member.is_retiring and not state.is_retiring:  # it has been started again since
            member.worker.retire()
        elif not member.is_retiring and state.revision < self.settings.assignment.revision:
            member.worker.reload(self.settings.assignment)

    def _failed(self, error: str, now_s: float) -> None:
        if not self._model:
            raise ConfigError(error)
        logger.error("a worker has ended: %s; next start in %g s", error, FAILURE_PAUSE_S)
        self._not_before_s = now_s + FAILURE_PAUSE_S

    def _say_whether_full(self, now_s: float) -> None:
        waiting = sum(each.state is None and now_s - each.since_s > PATIENCE_S for each in self._members)
        if waiting and not self._is_full:
            logger.warning("workers that wait for a place in the cluster: %d; see --cores", waiting)
        self._is_full = waiting > 0


def _say_change(wanted: int, current: int, load: Load) -> None:
    text = "workers: %d instead of %d; requests: %d running, %d waiting"
    logger.info(text, wanted, current, load.busy, load.waiting)
