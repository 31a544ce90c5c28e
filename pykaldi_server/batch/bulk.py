"""Any number of recordings, recognised by the workers of a Dask cluster, each exactly once.

    recordings --which are still to do?--> tasks in flight --answers--> transcripts --> ledger
                                                 ^   |
                                  parts, texts, other attempts

No more tasks are in flight than keep all workers busy, however long the list of recordings is. The order is
that in which answers come. Only this process writes: a task that a dying worker leaves behind is done again
by another, and whatever comes twice is used once.

A long recording is only measured at first and then held back, so that the last ones can be cut as finely as
there are workers without anything to do.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from distributed import Client

from pykaldi_server.batch.bulk_options import BulkOptions
from pykaldi_server.batch.dask_worker import Answer, Long, NoModel
from pykaldi_server.batch.flight import Flight, Lost
from pykaldi_server.batch.ledger import Entry, Ledger, State
from pykaldi_server.batch.locations import absolute
from pykaldi_server.batch.outputs import Outputs, segments_of
from pykaldi_server.batch.parts import WHOLE, Heard, Part, joined, plan_parts
from pykaldi_server.batch.pool import Done, Failed
from pykaldi_server.batch.sources import Recording
from pykaldi_server.batch.tasks import ProcessTexts, Recognize, RecognizerOptions, Task
from pykaldi_server.errors import BatchError
from pykaldi_server.session.events import Event, in_order_of_time

__all__ = ["Bulk", "Result"]

_logger = logging.getLogger(__name__)

_LOOKED_UP = 200  # recordings that are looked up in the ledger at once
_INNOCENT_LOSSES = 10  # workers that may die with a recording which, as far as is known, they had not begun


@dataclass(frozen=True, slots=True)
class Result:
    """What has become of a recording.

    Attributes:
        entry: as the ledger has it.
        is_new: this run has found it out, not an earlier one.
    """

    entry: Entry
    is_new: bool


@dataclass(eq=False)
class Job:
    """A recording on its way.

    Attributes:
        recording: the recording.
        length_s: its length, if it is long.
        parts: what is recognised of it, one after the other or side by side.
        heard: what has been heard of parts so far.
        num_failures: attempts that have failed.
        num_losses: workers that have died before they had begun it.
        is_over: there is a result; nothing that still comes is used.
    """

    recording: Recording
    length_s: float = 0.0
    parts: list[Part] = field(default_factory=lambda: [WHOLE])
    heard: dict[Part, Heard] = field(default_factory=dict)
    num_failures: int = 0
    num_losses: int = 0
    is_over: bool = False


class Bulk:
    """Recognises recordings on a Dask cluster.

    Args:
        client: the client of the cluster; its workers need this package, and find models and recordings where
            the options and the recordings say. Those that have no such package or model are left out.
        recognizer: how recordings are recognised.
        outputs: where transcripts are written.
        ledger: the ledger of the same directory.
        options: what happens with failures, and with what is done.
        say: is given lines about workers that are waited for or left out; a logger if not set.
    """

    def __init__(
        self,
        client: Client,
        recognizer: RecognizerOptions,
        outputs: Outputs,
        ledger: Ledger,
        options: BulkOptions | None = None,
        say: Callable[[str], None] = _logger.warning,
    ) -> None:
        self._client = client
        self._recognizer = replace(recognizer, model=_absolute_model(recognizer.model))
        self._outputs = outputs
        self._ledger = ledger
        self._options = options or BulkOptions()
        self._say = say
        self._jobs: dict[str, Job] = {}  # those without a result, by name
        self._held: list[Job] = []  # long ones, of which nothing is in flight
        self._finished: dict[str, Entry] = {}  # results since the ledger was last asked, by name
        self._begun_s = 0.0
        self._learns_all = False

    def run(self, recordings: Iterable[Recording]) -> Iterator[Result]:
        """Recognises recordings; yields what has become of each as soon as it is known.

        Args:
            recordings: the recordings, which are taken from it only as fast as they are recognised. One that
                comes twice is recognised once.

        Raises:
            ConfigError: no worker can load the model, or run this package.
            DatabaseError: the ledger cannot be written.
            OSError: a transcript cannot be written.
            BatchError: the cluster is gone, or cannot do the tasks.
        """
        self._begun_s = time.time()
        with Flight[Job](self._client, self._recognizer, self._say) as flight:
            todo = self._to_do(recordings)
            is_exhausted = False
            while True:
                while not is_exhausted and flight.has_room():
                    match next(todo, None):
                        case None:
                            is_exhausted = True
                        case Result() as result:
                            yield result
                        case Recording() as recording:
                            self._begin(recording, flight)
                if is_exhausted:
                    self._cut_held(flight)
                if not flight:
                    return
                for job, task, answer in flight.landed():
                    yield from self._take(job, task, answer, flight)

    def _to_do(self, recordings: Iterable[Recording]) -> Iterator[Recording | Result]:
        """Yields the recordings that are to be recognised, and the results of those that are not."""
        remaining = iter(recordings)
        while some := list(islice(remaining, _LOOKED_UP)):
            known = self._ledger.find([_name(each) for each in some])
            self._finished.clear()
            for recording in some:
                name, source = _name(recording), _source(recording)
                entry = self._finished.get(name) or known.get(name)
                running = self._jobs.get(name)
                is_of_this_run = running is not None or (entry is not None and entry.ended_s >= self._begun_s)
                owner = _source(running.recording) if running else entry.source if entry else source
                if owner != source and (is_of_this_run or not self._options.overwrite):
                    text = f"{source}: expected transcripts of its own, found those of {owner}: {name}"
                    yield Result(_set_aside(recording, text), is_new=True)
                elif not is_of_this_run:  # else it is there twice
                    yield self._known(recording, entry) or recording

    def _known(self, recording: Recording, entry: Entry | None) -> Result | None:
        """What earlier runs have found out about a recording, if it is not to be recognised again."""
        if self._options.overwrite:
            return None
        if entry is not None and entry.state is State.SET_ASIDE:
            return None if self._options.retry_failed else Result(entry, is_new=False)
        if not self._outputs.is_complete(recording):
            return None
        if entry is None:  # an interrupted run has not come to write it down
            entry = Entry(name=_name(recording), source=_source(recording), state=State.RECOGNISED)
            self._note(entry)
        return Result(entry, is_new=False)

    def _begin(self, recording: Recording, flight: Flight[Job]) -> None:
        job = Job(recording)
        self._jobs[_name(recording)] = job
        flight.add(job, Recognize(recording.path), may_be_long=True)

    def _take(
        self, job: Job, task: Task, answer: Answer | Lost | Exception, flight: Flight[Job]
    ) -> Iterator[Result]:
        """Takes what has become of a task; yields the result of its recording, if that is known now."""
        if job.is_over:
            return
        if isinstance(answer, Lost):
            job.num_losses += not answer.has_begun
            if not answer.has_begun and job.num_losses % _INNOCENT_LOSSES:
                flight.add(job, task, may_be_long=_may_be_long(job, task))
            else:
                text = f"{job.recording.path}: the worker of Dask that recognised it died"
                yield from self._failed(job, task, text, False, flight)
            return
        if isinstance(answer, ImportError) and (flight.has_worked or job.num_losses < _INNOCENT_LOSSES):
            job.num_losses += 1  # to a worker without this package, which is known as such soon
            flight.add(job, task, may_be_long=_may_be_long(job, task))
            return
        if isinstance(answer, Exception):
            reason = (str(answer).strip() or type(answer).__name__).splitlines()[0]
            if not flight.has_worked:  # it is no recording that is at fault
                raise BatchError(f"the cluster cannot recognise: {reason}") from answer
            text = f"{job.recording.path}: {type(answer).__name__}: {reason}"
            yield from self._failed(job, task, text, False, flight)
            return
        if answer.ready is not None:
            flight.note_able(answer.worker)
            self._learns_all = answer.ready.learns_all
        match answer.outcome:
            case NoModel(text=text):
                if flight.note_unable(answer.worker, text):
                    flight.add(job, task, may_be_long=_may_be_long(job, task))
                else:
                    yield from self._failed(job, task, text, False, flight)
                return
            case Failed(text=text, is_final=is_final):
                yield from self._failed(job, task, text, is_final, flight)
            case Long(length_s=length_s):
                job.length_s = length_s
                self._hold(job, flight)
            case Done(result=Heard() as heard):
                assert isinstance(task, Recognize)
                job.heard[task.part] = heard
                if len(job.heard) == len(job.parts):
                    finals = tuple(joined([(part, job.heard[part]) for part in job.parts]))
                    if answer.ready is not None and answer.ready.processes_texts:
                        flight.add(job, ProcessTexts(job.recording.path, finals), is_urgent=True)
                    else:
                        yield self._recognised(job, finals, 0.0)
            case Done(result=tuple() as events):
                yield self._recognised(job, events, answer.audio_s)

    def _recognised(self, job: Job, events: Iterable[Event], audio_s: float) -> Result:
        recording = job.recording
        segments = segments_of(in_order_of_time(events), str(recording.path))
        self._outputs.write(recording, segments)
        entry = Entry(
            name=_name(recording),
            source=_source(recording),
            state=State.RECOGNISED,
            attempts=job.num_failures + 1,
            audio_s=job.length_s or audio_s,
            num_words=sum(len(segment.text.split()) for segment in segments),
            ended_s=time.time(),
        )
        return self._end(job, entry)

    def _failed(
        self, job: Job, task: Task, text: str, is_final: bool, flight: Flight[Job]
    ) -> Iterator[Result]:
        job.num_failures += 1
        if not is_final and job.num_failures <= self._options.retries:
            flight.add(job, task, may_be_long=_may_be_long(job, task))
            return
        yield self._end(job, replace(_set_aside(job.recording, text), attempts=job.num_failures))

    def _end(self, job: Job, entry: Entry) -> Result:
        job.is_over = True
        del self._jobs[entry.name]
        self._note(entry)
        return Result(entry, is_new=True)

    def _note(self, entry: Entry) -> None:
        self._ledger.note(entry)
        self._finished[entry.name] = entry

    def _hold(self, job: Job, flight: Flight[Job]) -> None:
        """Holds a long recording back; of too many the longest is begun, whole."""
        self._held.append(job)
        if len(self._held) > 2 * flight.num_threads:
            longest = max(self._held, key=lambda each: each.length_s)
            self._held.remove(longest)
            flight.add(longest, Recognize(longest.recording.path))

    def _cut_held(self, flight: Flight[Job]) -> None:
        """Begins the recordings that are held back, in parts that keep all workers busy."""
        share_s = sum(job.length_s for job in self._held) / flight.num_threads
        tasks = []
        for job in self._held:
            num_parts = min(flight.num_threads, math.ceil(job.length_s / share_s - 1e-6))
            job.parts = plan_parts(job.length_s, num_parts, self._learns_all)
            for part in job.parts:
                tasks.append((min(part.end_s, job.length_s) - part.start_s, job, part))
        for _, job, part in sorted(tasks, key=lambda each: -each[0]):
            flight.add(job, Recognize(job.recording.path, part), is_urgent=True)
        self._held = []


def _name(recording: Recording) -> str:
    return _in_utf8(str(recording.name))


def _source(recording: Recording) -> str:
    return _in_utf8(str(absolute(recording.path)))


def _in_utf8(text: str) -> str:
    """A text as the ledger can have it: names of files need not be in UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _set_aside(recording: Recording, text: str) -> Entry:
    return Entry(
        name=_name(recording),
        source=_source(recording),
        state=State.SET_ASIDE,
        error=_in_utf8(text),
        ended_s=time.time(),
    )


def _may_be_long(job: Job, task: Task) -> bool:
    """Whether the length of a recording is still to be found out."""
    return task == Recognize(job.recording.path) and not job.length_s


def _absolute_model(model: str) -> str:
    """A model that is a folder or file, named so that processes with other working directories find it."""
    return str(Path(model).absolute()) if Path(model).exists() else model
