"""Tasks that are with the workers of a Dask cluster, or on their way: no more than keep all of them busy."""

import pickle  # to write only  # nosec B403
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from distributed import Client, Future, KilledWorker, as_completed

from pykaldi_server.batch.dask_worker import (
    Answer,
    end_recognizers,
    missing_package,
    run_task,
    without_package,
)
from pykaldi_server.batch.jobs import ClientOfJobs
from pykaldi_server.batch.tasks import RecognizerOptions, Task
from pykaldi_server.errors import BatchError, ConfigError

__all__ = ["Flight", "Lost"]

_JobT = TypeVar("_JobT")

# A worker has its next task before it has sent the answer to the last one.
_TASKS_PER_THREAD = 2
_COUNTED_AGAIN_S = 1.0  # workers come and go
_WAITS_S = 0.1  # as `as_completed` does
_ABSENT_S = 5.0  # a worker that is started again by its nanny is there sooner
_LOADS = 3  # of a model in a worker that have failed: once, memory may have been short


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker has died that had a task.

    Attributes:
        has_begun: it was at this task, as far as is known, not only about to begin it.
    """

    has_begun: bool


class Flight(Generic[_JobT]):
    """Tasks in flight, each for a job; a context manager, which takes back what has not landed.

    Workers that cannot recognise, for want of this package or of the model, are left out.

    Args:
        client: the client of the cluster.
        recognizer: how recordings are recognised.
        say: is given lines about workers that are waited for or left out.
    """

    def __init__(self, client: Client, recognizer: RecognizerOptions, say: Callable[[str], None]) -> None:
        self._client = client
        self._recognizer = recognizer
        self._say = say
        self._run = f"pykaldi-server-{uuid.uuid4().hex}"
        self._landing = as_completed(with_results=True, raise_errors=False)
        self._tasks: dict[Future[Answer], tuple[_JobT, Task]] = {}
        self._begun: set[str] = set()  # keys of tasks; also Dask's thread adds to it
        self._threads: dict[str, int] = {}  # of the workers that are there, by their addresses
        self._able: set[str] = set()  # workers that have recognised something
        self._left_out: dict[str, str] = {}  # the others, with the reason
        self._failed_loads: Counter[str] = Counter()  # of workers that are not able so far
        self._unsaid: list[str] = []  # lines that wait for the first worker that is able
        self._counted_s = 0.0
        self._present_s = 0.0  # when there were workers, most recently
        self._is_absence_said = False

    def __enter__(self) -> Self:
        self._client.subscribe_topic(self._run, self._note_begin)
        self._check_jobs()
        if not self._client.nthreads():
            self._say("waiting for workers: the cluster has none yet")
            self._wait(lambda: bool(self._threads))
        self._count()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._tasks:
            self._client.cancel(list(self._tasks))
        self._tasks = {}
        self._client.unsubscribe_topic(self._run)
        with suppress(OSError):  # the scheduler is gone
            self._threads = dict(self._client.nthreads())
            if usable := self._usable():
                self._client.run(end_recognizers, self._run, workers=usable, on_error="ignore")

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def num_threads(self) -> int:
        """How many tasks the workers can do at once; at least 1, as there may be none at the moment."""
        if time.monotonic() - self._counted_s >= _COUNTED_AGAIN_S:
            self._count()
        return max(1, sum(self._threads[each] for each in self._usable()))

    @property
    def has_worked(self) -> bool:
        """Whether a worker has recognised something."""
        return bool(self._able)

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
            without_package(),
            pickle.dumps((run_task, self._run, self._recognizer, task, may_be_long)),
            key=f"recognise-{uuid.uuid4().hex}",
            pure=False,
            priority=1 if is_urgent else 0,
            **self._where(),
        )
        self._tasks[future] = job, task
        self._landing.add(future)

    def note_able(self, worker: str) -> None:
        """Notes that a worker has recognised something."""
        self._able.add(worker)
        self._say_all()

    def note_unable(self, worker: str, reason: str) -> bool:
        """Notes that a worker could not load the model; after some attempts it gets no more tasks.

        Returns:
            False if the worker could load it before: then the task may be at fault.

        Raises:
            ConfigError: all workers are left out.
        """
        if worker in self._able:
            return False
        self._failed_loads[worker] += 1
        if self._failed_loads[worker] >= _LOADS:
            self._leave_out(worker, reason)
        self._count()
        return True

    def _leave_out(self, worker: str, reason: str) -> None:
        if worker not in self._left_out:
            self._left_out[worker] = reason
            self._unsaid.append(f"{worker}: this worker of Dask is left out: {reason}")
            if self._able:
                self._say_all()

    def _say_all(self) -> None:
        lines, self._unsaid = self._unsaid, []
        for line in lines:
            self._say(line)

    def _where(self) -> dict[str, Any]:
        """Which workers a task may go to; also to those that come later, as these may go."""
        return {"workers": self._usable(), "allow_other_workers": True} if self._left_out else {}

    def _usable(self) -> list[str]:
        return [each for each in self._threads if each not in self._left_out]

    def _count(self) -> None:
        """Finds out which workers there are; leaves new ones out that lack this package."""
        known = set(self._threads)
        self._threads = dict(self._client.nthreads())
        self._counted_s = time.monotonic()
        self._note_absence()
        if new := [each for each in self._threads if each not in known and each not in self._left_out]:
            answers = self._client.run(missing_package(), workers=new, on_error="return")
            for worker, answer in answers.items():
                if isinstance(answer, str):  # not an error, as of one that has gone
                    self._leave_out(worker, f"expected pykaldi-server in its Python, found none: {answer}")
        if self._threads and not self._usable():
            worker = next(iter(self._threads))
            raise ConfigError(f"{self._left_out[worker]} (at all workers of Dask, such as {worker})")

    def _wait(self, is_over: Callable[[], bool]) -> None:
        """Waits for something; says what happens to workers meanwhile.

        Raises:
            BatchError: there will be no more workers.
            ConfigError: all workers are left out.
        """
        while True:
            self._check_jobs()
            if is_over():
                return
            # One that looks for its scheduler would make this wait, and the tasks fail if it is gone.
            if self._client.status == "running" and time.monotonic() - self._counted_s >= _COUNTED_AGAIN_S:
                with suppress(OSError):
                    self._count()
            with self._landing.thread_condition:
                self._landing.thread_condition.wait(_WAITS_S)

    def _check_jobs(self) -> None:
        if isinstance(self._client, ClientOfJobs):
            self._client.jobs.check(self._say)

    def _note_absence(self) -> None:
        """Says once that all workers are gone, if that lasts, and once that there are some again."""
        now_s = time.monotonic()
        if self._threads:
            if self._is_absence_said:
                self._say("there are workers again")
            self._present_s, self._is_absence_said = now_s, False
        elif self._present_s and not self._is_absence_said and now_s - self._present_s >= _ABSENT_S:
            self._say("waiting for workers: all of them are gone")
            self._is_absence_said = True

    def landed(self) -> Iterator[tuple[_JobT, Task, Answer | Lost | Exception]]:
        """Waits for answers; yields those that there are, or why there is none.

        Raises:
            BatchError: the scheduler is gone, or there will be no more workers.
            ConfigError: all workers are left out.
        """
        self._wait(self._landing.has_ready)
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
