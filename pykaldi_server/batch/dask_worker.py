"""What runs within the workers of Dask: a plugin that keeps recognisers, and the task that uses one.

    thread of a Dask worker --task--> RecognizerPool of one process, which has loaded the model

Each thread has a process of its own, which stays from task to task. A recording that kills a process thus
neither kills the Dask worker nor costs other recordings anything, and is known by name.
"""

import threading
from dataclasses import dataclass
from typing import cast

from distributed import Worker, WorkerPlugin, get_worker

from pykaldi_server.audio.duration import estimated_duration_s
from pykaldi_server.batch.parts import SHORTEST_PART_S
from pykaldi_server.batch.pool import Done, Failed, Progress, Ready, RecognizerPool, Task
from pykaldi_server.batch.recognizer import Recognize, RecognizerOptions
from pykaldi_server.errors import ConfigError

__all__ = ["Answer", "Long", "NoModel", "Recognizers", "run_task"]


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
        audio_s: how much audio has been recognised.
        ready: what the recogniser says of its model, if it could be loaded.
    """

    outcome: Done | Failed | Long | NoModel
    audio_s: float = 0.0
    ready: Ready | None = None


class Recognizers(WorkerPlugin):
    """The recognisers of a Dask worker.

    Args:
        name: tells runs with other options apart.
        options: what each recogniser loads.
    """

    def __init__(self, name: str, options: RecognizerOptions) -> None:
        self.name = name
        self._options = options

    def setup(self, worker: Worker) -> None:
        """Begins with no recogniser: threads that have tasks start theirs."""
        self._lock = threading.Lock()  # guards what follows
        self._idle: list[tuple[RecognizerPool, Ready]] = []
        self._is_open = True

    def teardown(self, worker: Worker) -> None:
        """Ends the recognisers."""
        with self._lock:
            self._is_open = False
            idle, self._idle = self._idle, []
        for pool, _ in idle:
            pool.__exit__(None)

    def run(self, task: Task, may_be_long: bool) -> Answer:
        """Does a task; see `run_task`."""
        try:
            pool, ready = self._take()
        except ConfigError as error:
            return Answer(NoModel(task, str(error)))
        try:
            if may_be_long and ready.can_cut and isinstance(task, Recognize):
                length_s = estimated_duration_s(task.path, self._options.content_type)
                if length_s is not None and length_s >= 2 * SHORTEST_PART_S:
                    return Answer(Long(task, length_s), ready=ready)
            return _recognised(pool, ready, task)
        except ConfigError as error:  # of a process that took the place of one that died
            return Answer(NoModel(task, str(error)))
        finally:
            self._give_back(pool, ready)

    def _take(self) -> tuple[RecognizerPool, Ready]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        pool = RecognizerPool(self._options, 1)
        try:
            return pool, pool.start(1)
        except BaseException as error:
            pool.__exit__(type(error))
            raise

    def _give_back(self, pool: RecognizerPool, ready: Ready) -> None:
        with self._lock:
            if self._is_open:
                self._idle.append((pool, ready))
                return
        pool.__exit__(None)


def _recognised(pool: RecognizerPool, ready: Ready, task: Task) -> Answer:
    audio_s = 0.0
    pool.add([task])
    for message in pool.outcomes():
        if isinstance(message, Progress):
            audio_s = message.done_s
        else:
            outcome = message
    return Answer(outcome, audio_s, ready)


def run_task(plugin: str, task: Task, may_be_long: bool) -> Answer:
    """Does a task in a Dask worker that has a plugin; first the event of the plugin's name has its key.

    Args:
        plugin: name of the worker's `Recognizers`.
        task: the task.
        may_be_long: a recording that is long is only measured.
    """
    worker = get_worker()
    worker.log_event(plugin, worker.get_current_task())
    return cast(Recognizers, worker.plugins[plugin]).run(task, may_be_long)
