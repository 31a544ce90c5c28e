"""A batch from its recordings to what was recognised of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from pykaldi_server.batch.locations import Location
from pykaldi_server.batch.parts import WHOLE, Heard, Part, joined, plan_parts
from pykaldi_server.batch.pool import Done, Failed, Progress, RecognizerPool
from pykaldi_server.batch.sources import Recording
from pykaldi_server.batch.tasks import ProcessTexts, Recognize, RecognizerOptions, Task
from pykaldi_server.session.events import Event, in_order_of_time

__all__ = ["Batch", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a recording.

    Attributes:
        recording: the recording.
        events: what was recognised, if that was possible; several channels in the order of time, unless all
            events were asked for.
        error: why it was not; the text names the file.
    """

    recording: Recording
    events: tuple[Event, ...] = ()
    error: str = ""


@dataclass
class _Job:
    """A recording on its way: its parts, and what has been heard of them."""

    recording: Recording
    parts: list[Part] = field(default_factory=lambda: [WHOLE])
    heard: dict[Part, Heard] = field(default_factory=dict)
    error: str = ""


class Batch:
    """Recognises recordings in several processes.

    Args:
        options: how they are recognised.
        num_processes: how many processes there are.
        with_all_events: outcomes have partial results and adaptation states, too; nothing is cut then.
        longest_first: begin with the longest recordings, which keeps all processes busy to the end, instead
            of keeping their order.
    """

    def __init__(
        self,
        options: RecognizerOptions,
        num_processes: int,
        *,
        with_all_events: bool = False,
        longest_first: bool = True,
    ) -> None:
        self._options = options
        self._num_processes = num_processes
        self._with_all_events = with_all_events
        self._longest_first = longest_first

    def run(
        self, durations_s: dict[Recording, float | None], on_progress: Callable[[float], None]
    ) -> Iterator[Outcome]:
        """Recognises recordings; yields what became of each as soon as it is known.

        A file that several recordings have, under different names, is recognised once.

        Args:
            durations_s: the recordings with their lengths as far as they are known, see `durations_s`.
            on_progress: is told how many more seconds of audio have been recognised.

        Raises:
            ConfigError: the model cannot be loaded; the text says why.
        """
        by_path: dict[Location, list[Recording]] = {}
        for recording in durations_s:
            by_path.setdefault(recording.path, []).append(recording)
        first = {recordings[0]: durations_s[recordings[0]] for recordings in by_path.values()}
        for outcome in self._run(first, on_progress):
            yield from (replace(outcome, recording=each) for each in by_path[outcome.recording.path])

    def _run(
        self, durations_s: dict[Recording, float | None], on_progress: Callable[[float], None]
    ) -> Iterator[Outcome]:
        with RecognizerPool(self._options, self._num_processes) as pool:
            jobs = self._jobs(durations_s, not self._with_all_events)
            ready = pool.start(sum(len(job.parts) for job in jobs))
            jobs = self._jobs(durations_s, ready.can_cut and not self._with_all_events, ready.learns_all)
            pool.add(self._tasks(jobs, durations_s))
            by_path = {job.recording.path: job for job in jobs}
            done_s: dict[Task, float] = {}
            for message in pool.outcomes():
                job = by_path[message.task.path]
                match message:
                    case Progress(task=task, done_s=now_s):
                        on_progress(now_s - done_s.get(task, 0.0))
                        done_s[task] = now_s
                    case Failed(text=text) if not job.error:  # of several parts, once
                        job.error = text
                        pool.drop(job.recording.path)
                        yield Outcome(job.recording, error=text)
                    case Done() if not job.error:
                        yield from self._result(job, message, pool, ready.processes_texts)

    def _jobs(
        self, durations_s: dict[Recording, float | None], may_cut: bool, learns_all: bool = False
    ) -> list[_Job]:
        jobs = [_Job(recording) for recording in durations_s]
        share_s = sum(length_s or 0.0 for length_s in durations_s.values()) / self._num_processes
        if may_cut and share_s > 0:
            for job in jobs:
                length_s = durations_s[job.recording] or 0.0
                num_parts = min(self._num_processes, ceil(length_s / share_s - 1e-6))
                job.parts = plan_parts(length_s, num_parts, learns_all)
        return jobs

    def _tasks(self, jobs: Sequence[_Job], durations_s: dict[Recording, float | None]) -> list[Task]:
        tasks = []
        for job in jobs:
            for part in job.parts:
                length_s = min(part.end_s, durations_s[job.recording] or 0.0) - part.start_s
                tasks.append((length_s, Recognize(job.recording.path, part, self._with_all_events)))
        if self._longest_first:
            tasks.sort(key=lambda each: -each[0])
        return [task for _, task in tasks]

    def _result(
        self, job: _Job, done: Done, pool: RecognizerPool, processes_texts: bool
    ) -> Iterator[Outcome]:
        if not isinstance(done.result, Heard):
            events = done.result if self._with_all_events else tuple(in_order_of_time(done.result))
            yield Outcome(job.recording, events)
            return
        assert isinstance(done.task, Recognize)
        job.heard[done.task.part] = done.result
        if len(job.heard) < len(job.parts):
            return
        finals = tuple(joined([(part, job.heard[part]) for part in job.parts]))
        if processes_texts:
            pool.add_first(ProcessTexts(job.recording.path, finals))
        else:
            yield Outcome(job.recording, tuple(in_order_of_time(finals)))
