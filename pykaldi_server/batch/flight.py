"""Tasks that are with the workers of a Dask cluster, or on their way: no more than keep all of them busy."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from distributed import Client, Future, KilledWorker, as_completed

from pykaldi_server.batch.dask_worker import Answer, run_task
from pykaldi_server.batch.pool import Task
from pykaldi_server.errors import BatchError

__all__ = ["Flight", "Lost"]

_JobT = TypeVar("_JobT")

# A worker has its next task before it has sent the answer to the last one.
_TASKS_PER_THREAD = 2
_COUNTED_AGAIN_S = 1.0  # workers come and go


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker has died that had a task.

    Attributes:
        has_begun: it was at this task, as far as is known, not only about to begin it.
    """

    has_begun: bool


class Flight(Generic[_JobT]):
    """Tasks in flight, each for a job; a context manager, which takes back what has not landed.

    Args:
        client: the client of the cluster.
        plugin: name of the workers' plugin that does the tasks, see `run_task`.
    """

    def __init__(self, client: Client, plugin: str) -> None:
        self._client = client
        self._plugin = plugin
        self._landing = as_completed(with_results=True, raise_errors=False)
        self._tasks: dict[Future[Answer], tuple[_JobT, Task]] = {}
        self._begun: set[str] = set()  # keys of tasks; also Dask's thread adds to it
        self._num_threads = 0
        self._counted_s = 0.0

    def __enter__(self) -> Self:
        self._client.subscribe_topic(self._plugin, self._note_begin)
        self._client.wait_for_workers(1)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._tasks:
            self._client.cancel(list(self._tasks))
        self._tasks = {}
        self._client.unsubscribe_topic(self._plugin)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def num_threads(self) -> int:
        """How many tasks the workers can do at once; at least 1, as there may be none at the moment."""
        now_s = time.monotonic()
        if not self._num_threads or now_s - self._counted_s >= _COUNTED_AGAIN_S:
            self._num_threads = max(1, sum(self._client.nthreads().values()))
            self._counted_s = now_s
        return self._num_threads

    def has_room(self) -> bool:
        """Whether more tasks are needed to keep all workers busy."""
        return len(self._tasks) < _TASKS_PER_THREAD * self.num_threads

    def add(self, job: _JobT, task: Task, *, may_be_long: bool = False, is_urgent: bool = False) -> None:
        """Sends a task off.

        Args:
            job: comes back with the answer.
            task: the task.
            may_be_long: see `run_task`.
            is_urgent: it is begun before those that wait.
        """
        future = self._client.submit(
            run_task,
            self._plugin,
            task,
            may_be_long,
            key=f"recognise-{uuid.uuid4().hex}",
            pure=False,
            priority=1 if is_urgent else 0,
        )
        self._tasks[future] = job, task
        self._landing.add(future)

    def landed(self) -> Iterator[tuple[_JobT, Task, Answer | Lost | Exception]]:
        """Waits for answers; yields those that there are, or why there is none.

        Raises:
            BatchError: the scheduler is gone.
        """
        for future, result in self._landing.next_batch():
            job, task = self._tasks.pop(future)
            has_begun = future.key in self._begun
            self._begun.discard(future.key)
            if future.status == "finished":
                yield job, task, result
            elif future.status == "error":
                error = result[1]
                yield job, task, Lost(has_begun) if isinstance(error, KilledWorker) else error
            else:
                raise BatchError("the scheduler is gone; what is done stays done, and another run goes on")

    def _note_begin(self, event: tuple[float, str]) -> None:
        """Notes that a worker has begun a task, see `run_task`."""
        self._begun.add(event[1])
