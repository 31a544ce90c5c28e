"""Jobs of a batch system, in which workers of a cluster run: submitted, watched, and replaced when they end.

    sbatch, qsub, condor_submit --> queue --> job --> its workers --> scheduler, here
                                      |                                  |
                        squeue, qstat, condor_q ---> BatchJobs <--- names of workers

dask-jobqueue makes the scheduler and the scripts. It would replace only jobs of one process that have had a
worker: it learns neither of those that end before, nor of those that have several.
"""

import getpass
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Self

from distributed import Client, Scheduler, SchedulerPlugin

from pykaldi_server.errors import BatchError

__all__ = ["LISTINGS", "BatchJobs", "ClientOfJobs"]

LISTINGS = {
    "slurm": "squeue --noheader --format=%A --user={user}",
    "sge": "qstat -u {user}",
    "pbs": "qstat -u {user}",
    "htcondor": "condor_q -af ClusterId",
}
"""Commands that list the user's jobs which have not ended; lines of jobs begin with a number."""

_LISTED = re.compile(r"^\s*([0-9]+)", re.MULTILINE)
_NUMBER = re.compile(r"([0-9]+)")
_SUBMITTED = {"htcondor": re.compile(r"submitted to cluster ([0-9]+)")}

_LOOKS_EVERY_S = 2.0
_LISTINGS_WITHOUT = 2  # in a row, after which a job has ended
_LISTED_AFTER = 0.1  # of the time that jobs have been away: many people ask the batch system
_LISTED_EVERY_S = 60.0  # at the latest
_LOST_S = 30.0  # after which a job is replaced whose workers are gone, though it has not ended
_FAILED_STARTS = 3  # in a row, after which a job is not replaced any more
_SUBMITTED_AGAIN_S = 30.0  # after a refusal
_QUEUED_S = 60.0  # after which jobs that wait are mentioned; then after twice the time, and so on
_ANSWERS_WITHIN_S = 60.0  # of commands
_LONGEST_TEXT = 400


@dataclass
class _Place:
    """A job that there should be, and the one that is there for it.

    Attributes:
        number: of the job in the batch system; empty if none is submitted.
        name: what the names of its workers begin with.
        has_started: it has had workers.
        seen_s: when it had, as far as looks have found out, most recently.
        num_unlisted: listings in a row that lack it.
        num_failed: jobs in a row, here, that have ended before they had workers.
    """

    number: str = ""
    name: str = ""
    has_started: bool = False
    seen_s: float = 0.0
    num_unlisted: int = 0
    num_failed: int = 0

    @property
    def is_given_up(self) -> bool:
        """Whether no more jobs are submitted for it."""
        return self.num_failed >= _FAILED_STARTS


class _Arrivals(SchedulerPlugin):
    """Has the names of all workers that the scheduler has seen."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Notes a worker that has come."""
        self.names.add(str(scheduler.workers[worker].name))


class BatchJobs:
    """Jobs; a context manager, which submits them, replaces those that end, and cancels them.

    Args:
        system: a key of `LISTINGS`.
        cluster: a `dask_jobqueue.JobQueueCluster` without workers.
        num_jobs: how many there should be.

    Raises:
        BatchError: the batch system refuses the first job, or its command is not there.
    """

    def __init__(self, system: str, cluster: Any, num_jobs: int) -> None:
        self._system = system
        self._cluster = cluster
        self._arrivals = _Arrivals()
        self._num_names = 0
        self._places = [_Place() for _ in range(num_jobs)]  # after `__enter__` only the thread changes them
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._said: set[str] = set()  # lines about commands that fail
        self._error: Exception | None = None
        self._submits_at_s = 0.0
        self._lists_at_s = 0.0
        self._complete_s = time.monotonic()  # when no job was away, most recently
        self._mentions_at_s = 0.0
        self._mentions_after_s = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="batch jobs", daemon=True)

    def __enter__(self) -> Self:
        self._cluster.scheduler.add_plugin(self._arrivals)
        try:
            self._submit(self._places[0])
            self._submit_all()
        except BaseException:
            self._cancel_all()
            raise
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._cancel_all()

    def check(self, say: Callable[[str], None]) -> None:
        """Says what has happened to jobs since the last call.

        Raises:
            BatchError: no job is left, and none is submitted any more.
        """
        while True:
            try:
                say(self._lines.get_nowait())
            except Empty:
                break
        if self._error is not None:
            raise self._error

    def _keep(self) -> None:
        """Looks after the jobs; a thread of its own."""
        while not self._is_over.wait(_LOOKS_EVERY_S):
            try:
                self._look()
            except Exception as error:  # `check` raises it where somebody sees it
                self._error = error
                return

    def _look(self) -> None:
        now_s = time.monotonic()
        names = _names_of_jobs(each.name for each in list(self._cluster.scheduler.workers.values()))
        arrived = _names_of_jobs(self._arrivals.names.copy())
        absent = []
        for place in self._places:
            if place.name in arrived:  # perhaps it has ended since the last look
                place.has_started, place.num_failed = True, 0
            if place.name in names:
                place.seen_s, place.num_unlisted = now_s, 0
            elif place.number:
                absent.append(place)
        self._count_listings(absent, now_s)
        for place in absent:
            if place.num_unlisted >= _LISTINGS_WITHOUT:
                self._note_end(place)
            elif place.seen_s and now_s - place.seen_s >= _LOST_S:
                self._cancel(place.number)
                self._note_end(place)
        self._mention_waiting([each for each in absent if each.number and not each.has_started], now_s)
        if now_s >= self._submits_at_s:
            self._submit_all()

    def _count_listings(self, absent: list[_Place], now_s: float) -> None:
        """Lists jobs while some have no workers, and notes which are missing; rarely if that lasts."""
        if not absent:
            self._complete_s = now_s
        if not absent or now_s < self._lists_at_s:
            return
        self._lists_at_s = now_s + min(_LISTED_AFTER * (now_s - self._complete_s), _LISTED_EVERY_S)
        listed = self._listed()
        for place in absent:
            is_listed = listed is None or place.number in listed
            place.num_unlisted = 0 if is_listed else place.num_unlisted + 1

    def _note_end(self, place: _Place) -> None:
        if place.has_started:
            self._lines.put(f"{self._system}: job {place.number} has ended before the work")
        else:
            place.num_failed += 1
            text = f"{self._system}: job {place.number} has ended before it had a worker"
            if all(each.is_given_up for each in self._places):
                raise BatchError(f"{text}, as those before it; its output may say why")
            self._lines.put(f"{text}; its output may say why")
        place.number = place.name = ""

    def _mention_waiting(self, waiting: list[_Place], now_s: float) -> None:
        """Says which jobs do not start, after longer and longer times."""
        if not waiting:
            self._mentions_after_s = 0.0
        elif not self._mentions_after_s:
            self._mentions_after_s = _QUEUED_S
            self._mentions_at_s = now_s + _QUEUED_S
        elif now_s >= self._mentions_at_s:
            self._lines.put(f"{self._system}: waiting for {_named(waiting)} to start")
            self._mentions_after_s *= 2
            self._mentions_at_s = now_s + self._mentions_after_s

    def _submit_all(self) -> None:
        """Submits the jobs that are not there; after a refusal the others have to wait."""
        try:
            for place in self._places:
                if not place.number and not place.is_given_up:
                    self._submit(place)
        except BatchError as error:
            self._say_once(f"{error}; trying again every {_SUBMITTED_AGAIN_S:.0f} s")
            self._submits_at_s = time.monotonic() + _SUBMITTED_AGAIN_S

    def _submit(self, place: _Place) -> None:
        scheduler = self._cluster.scheduler
        spec = self._cluster.new_spec
        self._num_names += 1
        name = f"{self._system}-job-{self._num_names}"
        job = spec["cls"](scheduler.contact_address or scheduler.address, name=name, **spec["options"])
        with job.job_file() as file:
            printed = _output_of(job.submit_command, file)
        found = _SUBMITTED.get(self._system, _NUMBER).search(printed)
        if found is None:
            raise BatchError(
                f"{job.submit_command}: expected the number of a job, found {_one_line(printed)}"
            )
        place.number, place.name = found[1], name
        place.has_started, place.seen_s, place.num_unlisted = False, 0.0, 0
        self._lines.put(f"{self._system}: job {place.number} is submitted")

    def _listed(self) -> set[str] | None:
        """The numbers of the jobs that have not ended; None if they are not to be known."""
        try:
            return set(_LISTED.findall(_output_of(LISTINGS[self._system].format(user=getpass.getuser()))))
        except BatchError as error:
            self._say_once(f"{error}; it is not known which jobs have ended")
            return None

    def _cancel_all(self) -> None:
        for place in self._places:
            if place.number:
                self._cancel(place.number)

    def _cancel(self, number: str) -> None:
        spec = self._cluster.new_spec
        command = spec["cls"](name=self._system, **spec["options"]).cancel_command
        try:
            _output_of(command, number)
        except BatchError as error:  # for most systems also that the job has just ended
            self._say_once(str(error))

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._lines.put(line)


class ClientOfJobs(Client):
    """A client of a cluster whose workers run in jobs.

    Attributes:
        jobs: the jobs, set by whoever makes it.
    """

    jobs: BatchJobs


def _output_of(command: str, *arguments: str) -> str:
    """What a command of a batch system prints.

    Raises:
        BatchError: it is not there, or fails; the text is one line.
    """
    words = shlex.split(command)
    name = shlex.join(words)
    try:
        ran = subprocess.run(  # the user's own, as dask-jobqueue would call it # nosec B603
            [*words, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWERS_WITHIN_S,
            check=False,
            start_new_session=True,  # Ctrl-C is for this process, which cancels what it has submitted
        )
    except OSError as error:
        raise BatchError(f"{name}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise BatchError(f"{name}: no answer within {_ANSWERS_WITHIN_S:.0f} s") from error
    if ran.returncode:
        said = _one_line(ran.stderr) or _one_line(ran.stdout) or "it says nothing"
        raise BatchError(f"{name}: exit status {ran.returncode}: {said}")
    return ran.stdout


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_TEXT]


def _names_of_jobs(workers: Iterable[Any]) -> set[str]:
    """The names of jobs that have workers of these names; those of several processes end in their numbers."""
    names = {str(each) for each in workers}
    return names | {each.rpartition("-")[0] for each in names}


def _named(places: Iterable[_Place]) -> str:
    numbers = [each.number for each in places]
    return f"job{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
