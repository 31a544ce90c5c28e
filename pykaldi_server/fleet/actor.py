"""What runs in an actor of Ray: one worker process, watched by the supervisor that `serve` has, too.

Ray starts an actor again, on a machine that has room, when its process or its machine has died; within a
machine the supervisor does so, for a worker process that dies or hangs. The recogniser is a process of its
own, as everywhere else: where it crashes the actor does not, and its memory is not Ray's. A worker whose
actor has died finishes its requests, and ends.

This module does not import Ray.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand

__all__ = ["ActorState", "Assignment", "WorkerActor"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an actor is to run.

    Attributes:
        command: how the worker process is started.
        patience_s: how long that may take to end when it is asked to.
        revision: of the settings; a larger one replaces a smaller one.
    """

    command: WorkerCommand
    patience_s: float
    revision: int = 0


@dataclass(frozen=True, slots=True)
class ActorState:
    """How an actor is doing.

    Attributes:
        model: name of the model, once it has been loaded; "" before.
        revision: of the settings in use, whether they have taken effect or were invalid.
        is_retiring: it ends after its requests.
        is_over: its worker process has ended, and no other will follow.
        error: why; "" if it has been told to end.
    """

    model: str
    revision: int
    is_retiring: bool
    is_over: bool
    error: str


class WorkerActor:
    """Keeps a worker process running, from construction until it is told to end.

    All methods return at once, so that Ray can call them one after the other.

    Args:
        assignment: what to run.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._loop = asyncio.new_event_loop()
        self._supervisor: Supervisor | None = None
        self._running: asyncio.Task[None] | None = None
        self._reloading: set[asyncio.Task[bool]] = set()
        # What `state` shows; other threads only read it.
        self._model = ""
        self._error = ""
        self._is_retiring = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def state(self) -> ActorState:
        """How the actor is doing."""
        return ActorState(
            model=self._model,
            revision=self._assignment.revision,
            is_retiring=self._is_retiring,
            is_over=not self._thread.is_alive(),
            error=self._error,
        )

    def reload(self, assignment: Assignment) -> None:
        """Replaces the worker process without a gap; where the new one does not serve, the old one stays."""
        if assignment.revision > self._assignment.revision and not self._is_retiring:
            self._assignment = assignment
            self._call(lambda: self._replace((assignment.command,)))

    def retire(self) -> None:
        """Ends the worker process after its requests, however long these take."""
        if not self._is_retiring:
            self._is_retiring = True
            self._call(lambda: self._replace(()))

    def stop(self) -> None:
        """Ends the worker process after its requests, which have no more than its ``drain_s``.

        The second time it cuts them off.
        """
        self._is_retiring = True
        self._call(self._stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._supervise())
        except PykaldiServerError as error:
            self._error = str(error)
            logger.error("%s", error)
        except Exception as error:
            self._error = repr(error)
            logger.exception("the worker process is not watched any more")
        finally:
            self._loop.close()

    async def _supervise(self) -> None:
        assignment = self._assignment
        self._supervisor = Supervisor([assignment.command], self._loaded, patience_s=assignment.patience_s)
        self._running = asyncio.create_task(self._supervisor.run())
        await asyncio.wait((self._running,))
        for task in self._reloading:
            task.cancel()
        if not self._running.cancelled():
            self._running.result()

    def _loaded(self, _: WorkerCommand, model: str) -> None:
        self._model = model

    def _replace(self, commands: tuple[WorkerCommand, ...]) -> None:
        assert self._supervisor is not None
        task = self._loop.create_task(self._supervisor.reload(commands))
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    def _stop(self) -> None:
        assert self._running is not None
        assert self._supervisor is not None
        if self._running.cancelling():
            self._supervisor.hurry()
        else:
            self._running.cancel()

    def _call(self, function: Callable[[], None]) -> None:
        """Has a function called in the supervisor's thread, once that has begun; not if it has ended."""
        try:
            # In two steps: the first step of `_supervise` may come after the first of these.
            self._loop.call_soon_threadsafe(self._loop.call_soon, function)
        except RuntimeError:  # the loop is closed
            logger.debug("the worker process has ended already")
