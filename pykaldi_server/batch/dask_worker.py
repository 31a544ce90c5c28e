"""What runs within the workers of Dask: recognisers that a worker keeps, and the task that uses one.

    thread of a Dask worker --task--> RecognizerPool of one process, which has loaded the model

Each thread has a process of its own, which stays from task to task. A recording that kills a process thus
neither kills the Dask worker nor costs other recordings anything, and is known by name.

The cluster may be somebody else's. Its scheduler is told of nothing but tasks: a plugin that it knew would
outlive a client that is killed, and would keep workers without this package from starting. So the first task
brings the recognisers to its worker; they end with the run or, if its client is gone, by themselves.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from distributed import Worker, WorkerPlugin, get_worker

from pykaldi_server.audio.duration import estimated_duration_s
from pykaldi_server.batch.parts import SHORTEST_PART_S
from pykaldi_server.batch.pool import Done, Failed, Progress, Ready, RecognizerPool
from pykaldi_server.batch.tasks import Recognize, RecognizerOptions, Task
from pykaldi_server.errors import ConfigError

__all__ = [
    "Answer",
    "Long",
    "NoModel",
    "Recognizers",
    "end_recognizers",
    "missing_package",
    "run_task",
    "without_package",
]

_IDLE_S = 60.0  # recognisers without a task end after it: the client may be gone
_LOOKS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Long:
    """A recording is so long that parts of it may be recognised side by side; nothing has been recognised."""

    task: Task
    length_s: float


@dataclass(frozen=True, slots=True)
class NoModel:
    """The model cannot be loaded; the text says why."""

    task: Task
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Dask worker answers.

    Attributes:
        outcome: what became of the task.
        worker: address of the Dask worker.
        audio_s: how much audio has been recognised.
        ready: what the recogniser says of its model, if it could be loaded.
    """

    outcome: Done | Failed | Long | NoModel
    worker: str
    audio_s: float = 0.0
    ready: Ready | None = None


class Recognizers(WorkerPlugin):
    """The recognisers of a run in a Dask worker, which ends them when it ends itself.

    Args:
        options: what each recogniser loads.
        address: address of the worker.
        idle_s: how long a recogniser waits for a task before it ends.
    """

    def __init__(self, options: RecognizerOptions, address: str, idle_s: float = _IDLE_S) -> None:
        self._options = options
        self._address = address
        self._idle_s = idle_s
        self._lock = threading.Lock()  # guards what follows
        self._idle: list[tuple[RecognizerPool, Ready, float]] = []  # with the time since when
        self._busy: dict[RecognizerPool, Callable[[], bool]] = {}  # with whether the task is still wanted
        self._is_watched = False
        self._is_open = True

    @property
    def num_recognizers(self) -> int:
        """How many recognisers there are, those that load the model included."""
        with self._lock:
            return len(self._idle) + len(self._busy)

    def teardown(self, worker: Worker) -> None:
        """Ends the recognisers, also those that are at a task."""
        self.close()

    def close(self) -> None:
        """Ends the recognisers, also those that are at a task; no more start."""
        with self._lock:
            self._is_open = False
            idle, self._idle = self._idle, []
            for pool in self._busy:
                pool.kill()
        for pool, _, _ in idle:
            pool.__exit__(None)

    def run(self, task: Task, may_be_long: bool, is_wanted: Callable[[], bool] = lambda: True) -> Answer:
        """Does a task; see `run_task`.

        Args:
            task: the task.
            may_be_long: a recording that is long is only measured.
            is_wanted: whether somebody still waits for the answer.
        """
        try:
            pool, ready = self._take(is_wanted)
        except ConfigError as error:
            return Answer(NoModel(task, str(error)), self._address)
        try:
            if may_be_long and ready.can_cut and isinstance(task, Recognize):
                length_s = estimated_duration_s(task.path, self._options.content_type)
                if length_s is not None and length_s >= 2 * SHORTEST_PART_S:
                    return Answer(Long(task, length_s), self._address, ready=ready)
            return self._recognised(pool, ready, task)
        except ConfigError as error:  # of a process that took the place of one that died
            return Answer(NoModel(task, str(error)), self._address)
        finally:
            self._give_back(pool, ready)

    def _take(self, is_wanted: Callable[[], bool]) -> tuple[RecognizerPool, Ready]:
        with self._lock:
            if not self._is_open:
                raise ConfigError(f"{self._options.model}: the run is over")
            if self._idle:
                pool, ready, _ = self._idle.pop()
                self._busy[pool] = is_wanted
                return pool, ready
            pool = RecognizerPool(self._options, 1)
            self._busy[pool] = is_wanted
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, daemon=True).start()
        try:
            return pool, pool.start(1)
        except BaseException as error:
            with self._lock:
                del self._busy[pool]
            pool.__exit__(type(error))
            raise

    def _give_back(self, pool: RecognizerPool, ready: Ready) -> None:
        with self._lock:
            del self._busy[pool]
            if self._is_open:
                self._idle.append((pool, ready, time.monotonic()))
                return
        pool.__exit__(None)

    def _recognised(self, pool: RecognizerPool, ready: Ready, task: Task) -> Answer:
        audio_s = 0.0
        pool.add([task])
        for message in pool.outcomes():
            if isinstance(message, Progress):
                audio_s = message.done_s
            else:
                outcome = message
        return Answer(outcome, self._address, audio_s, ready)

    def _watch(self) -> None:
        """Ends recognisers that nobody needs any more, until there are none; a thread of its own."""
        while True:
            time.sleep(_LOOKS_EVERY_S)
            with self._lock:
                for pool, is_wanted in self._busy.items():
                    if not (self._is_open and is_wanted()):  # `close` misses processes that are starting
                        pool.kill()
                now_s = time.monotonic()
                over = [each for each in self._idle if now_s - each[2] >= self._idle_s]
                self._idle = [each for each in self._idle if each not in over]
                self._is_watched = bool(self._idle or self._busy)
                is_over = not self._is_watched
            for pool, _, _ in over:
                pool.__exit__(None)
            if is_over:
                return


def run_task(run: str, options: RecognizerOptions, task: Task, may_be_long: bool) -> Answer:
    """Does a task in a Dask worker; first the event of the run's name has its key.

    Args:
        run: name of the run, which tells its recognisers from those of others.
        options: what each recogniser loads.
        task: the task.
        may_be_long: a recording that is long is only measured.
    """
    worker = get_worker()
    key = worker.get_current_task()
    worker.log_event(run, key)

    def is_wanted() -> bool:
        state = worker.state.tasks.get(key)  # the client, or the scheduler after it, has taken it back
        return state is not None and state.state != "cancelled"

    recognizers = worker.plugins.setdefault(run, Recognizers(options, worker.address))
    return cast(Recognizers, recognizers).run(task, may_be_long, is_wanted)


def end_recognizers(run: str, dask_worker: Worker) -> None:
    """Ends the recognisers that a worker of Dask has of a run."""
    recognizers = dask_worker.plugins.pop(run, None)
    if recognizers is not None:
        recognizers.teardown(dask_worker)


# Dask pickles functions that have no name in a module by value, so that also a process without this package
# can load them. A worker of Dask that cannot load a task ends, with the tasks of all other clients.


def without_package() -> Callable[[bytes], Any]:
    """Returns a function that calls another one; both, with its arguments, are in pickled bytes."""

    def call(pickled: bytes) -> Any:
        from pickle import loads  # what comes over the connection is trusted with this in any case  # nosec B403

        function, *arguments = loads(pickled)  # nosec B301
        return function(*arguments)

    return call


def missing_package() -> Callable[[], str | None]:
    """Returns a function that says why this package cannot be used where it is called; None if it can."""

    def find() -> str | None:
        from importlib import import_module

        try:
            import_module("pykaldi_server.batch.dask_worker")
        except ImportError as error:
            return str(error)
        return None

    return find
