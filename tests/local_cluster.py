"""A cluster whose actors run in the process of a test; the processes that they watch follow a script."""

import asyncio
from dataclasses import dataclass, field

from harness import until
from scripted_worker import SERVE, scripted

from pykaldi_server.fleet.actor import ActorState, Assignment, WorkerActor
from pykaldi_server.fleet.fleet import WorkerLostError

PATIENCE_S = 30.0


def assignment_of(script: str = SERVE, revision: int = 0) -> Assignment:
    """What an actor is to run: a process that follows a script."""
    return Assignment(scripted(script), PATIENCE_S, revision)


async def serves(actor: WorkerActor, model: str = "m") -> None:
    """Returns when an actor's process has loaded its model."""
    await until(lambda: actor.state().model == model)


async def is_over(actor: WorkerActor) -> None:
    """Returns when an actor's process has ended for good."""
    await until(lambda: actor.state().is_over)


@dataclass(eq=False)
class LocalWorker:
    """An actor, and the faults of the machine on which it might run."""

    assignment: Assignment
    actor: WorkerActor | None
    is_lost: bool = False

    async def state(self) -> ActorState | None:
        if self.is_lost:
            raise WorkerLostError("its machine is gone")
        if self.actor is None:  # there is no room, and the question waits
            await asyncio.Event().wait()
        assert self.actor is not None
        return self.actor.state()

    def reload(self, assignment: Assignment) -> None:
        assert self.actor is not None
        self.actor.reload(assignment)

    def retire(self) -> None:
        assert self.actor is not None
        self.actor.retire()

    def stop(self) -> None:
        assert self.actor is not None
        self.actor.stop()

    def kill(self) -> None:
        if self.actor is not None:
            self.actor.stop()

    def start_again(self) -> None:
        """What Ray does after a fault: a new actor with the same arguments."""
        self.actor = WorkerActor(self.assignment)


@dataclass
class LocalCluster:
    """As many places as it has been given."""

    places: int = 10
    workers: list[LocalWorker] = field(default_factory=list)

    def start(self, assignment: Assignment, cores: float) -> LocalWorker:
        has_room = len(self.running()) < self.places
        worker = LocalWorker(assignment, WorkerActor(assignment) if has_room else None)
        self.workers.append(worker)
        return worker

    def running(self) -> list[LocalWorker]:
        """Those whose process has not ended."""
        return [each for each in self.workers if each.actor is not None and not each.actor.state().is_over]

    async def close(self) -> None:
        """Leaves no process behind."""
        for each in self.workers:
            each.kill()
        await until(lambda: not self.running())
