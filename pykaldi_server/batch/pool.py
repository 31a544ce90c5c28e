"""Processes that each load the model once and then do one task after another.

A process that dies, of a damaged file or for want of memory, fails the task that it was doing, and no other:
another process takes its place. Files that are mapped into memory, such as graphs, are there once for all.
"""

import os
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Self

from pykaldi_server.batch.locations import Location
from pykaldi_server.batch.parts import Heard
from pykaldi_server.batch.tasks import RecognizerOptions, Task
from pykaldi_server.errors import AudioError, ConfigError, PykaldiServerError, error_text
from pykaldi_server.session.events import Event

if TYPE_CHECKING:
    from pykaldi_server.batch.recognizer import Recognizer

__all__ = ["Done", "Failed", "Progress", "Ready", "RecognizerPool", "serve"]

# Not `multiprocessing`: it would run the main module of whoever uses the library once more, and refuses to
# start processes within the workers of Dask.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pykaldi_server.batch.pool import serve; serve(int(sys.argv[1]))"
)
_END_S = 5.0
_LONGEST_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Ready:
    """A process has loaded the model; see `Recognizer` for what it says about it."""

    can_cut: bool
    learns_all: bool
    processes_texts: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """So many seconds of a task's audio have been recognised."""

    task: Task
    done_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """A task is done; see `Recognizer.run` for its result."""

    task: Task
    result: tuple[Event, ...] | Heard


@dataclass(frozen=True, slots=True)
class Failed:
    """A task cannot be done.

    Attributes:
        task: the task.
        text: names the file and says why.
        is_final: another attempt would fail as well: the audio is damaged.
    """

    task: Task
    text: str
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class _CannotStart:
    text: str


class _Worker:
    """A process as the pool sees it: the connection, and the task that it is doing."""

    def __init__(self, options: RecognizerOptions) -> None:
        self.connection, theirs = Pipe()
        self.task: Task | None = None
        self.is_ready = False
        # Ctrl-C reaches all processes, from their first moment on; the pool's decides what becomes of them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(  # this very package  # nosec B603
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), *sys.path],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._send(options)

    def give(self, task: Task) -> None:
        """Hands a task over; a process that has died is noticed when it is asked for its answer."""
        self.task = task
        self._send(task)

    def dismiss(self) -> None:
        """Lets the process end once it has nothing to do."""
        self._send(None)

    def end(self) -> None:
        """Waits for a process that has been dismissed."""
        self.connection.poll(_END_S)  # until its end is closed; `Popen.wait` would only look now and then
        self.kill()

    def kill(self) -> None:
        """Ends the process now."""
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def _send(self, message: RecognizerOptions | Task | None) -> None:
        with suppress(OSError):
            self.connection.send(message)


class RecognizerPool:
    """Keeps processes and gives them tasks; a context manager, which ends the processes.

    Args:
        options: what each process loads.
        num_processes: how many there are at most; more start when there are tasks for them.
    """

    def __init__(self, options: RecognizerOptions, num_processes: int) -> None:
        self._options = options
        self._num_processes = num_processes
        self._workers: list[_Worker] = []
        self._tasks: deque[Task] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *exception: object) -> None:
        ending = [each for each in self._workers if exception_type is None and each.is_ready]
        for worker in self._workers:
            if worker in ending:
                worker.dismiss()
            else:  # one that still loads the model would not listen before it has
                worker.kill()
        for worker in ending:
            worker.end()
        self._workers = []

    def kill(self) -> None:
        """Kills the processes, which fails what they are at; any thread may do so."""
        for worker in self._workers.copy():
            worker.process.kill()

    def add(self, tasks: Iterable[Task]) -> None:
        """Adds tasks, which are begun in this order."""
        self._tasks.extend(tasks)
        self._hand_out()

    def add_first(self, task: Task) -> None:
        """Adds a task that is begun before all that wait."""
        self._tasks.appendleft(task)
        self._hand_out()

    def drop(self, path: Location) -> None:
        """Drops the tasks of a recording that have not been begun."""
        self._tasks = deque(task for task in self._tasks if task.path != path)

    def start(self, num_processes: int) -> Ready:
        """Starts processes and waits until one has loaded the model.

        Args:
            num_processes: how many, at least one; no more start than the pool may have.

        Raises:
            ConfigError: the model cannot be loaded; the text says why.
        """
        self._workers += [_Worker(self._options) for _ in range(min(num_processes, self._num_processes))]
        while True:  # until none is left, which is an error
            for message in self._messages():
                if isinstance(message, Ready):
                    return message

    def outcomes(self) -> Iterator[Progress | Done | Failed]:
        """Yields what becomes of the tasks, until all are done; more may be added meanwhile.

        Raises:
            ConfigError: the model cannot be loaded; the text says why.
        """
        while self._tasks or any(worker.task is not None for worker in self._workers):
            self._hand_out()
            yield from (each for each in self._messages() if not isinstance(each, Ready))

    def _hand_out(self) -> None:
        """Gives tasks to all processes that are idle, and starts more if they are too few."""
        for worker in self._workers:
            if self._tasks and worker.is_ready and worker.task is None:
                worker.give(self._tasks.popleft())
        num_starting = sum(not worker.is_ready for worker in self._workers)
        num_more = min(len(self._tasks) - num_starting, self._num_processes - len(self._workers))
        self._workers += [_Worker(self._options) for _ in range(num_more)]

    def _messages(self) -> Iterator[Ready | Progress | Done | Failed]:
        """Waits for processes to say something, or to die, and yields what they said.

        It does not wait for long: a Ctrl-C that comes just before a wait does not end that.
        """
        workers = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(workers), _LONGEST_WAIT_S):
            assert isinstance(connection, Connection)
            worker = workers[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                yield from self._bury(worker)
                continue
            if isinstance(message, _CannotStart):
                raise ConfigError(message.text)
            worker.is_ready |= isinstance(message, Ready)
            if isinstance(message, Done | Failed):
                worker.task = None
            # No process waits for what is done with a result, unless that says what is to be done next: texts
            # of a recording whose parts are done, or nothing more of one that has failed.
            if isinstance(message, Done) and not isinstance(message.result, Heard):
                self._hand_out()
            yield message
            self._hand_out()

    def _bury(self, worker: _Worker) -> Iterator[Failed]:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(_END_S)
        how = _how_it_ended(worker.process.returncode)
        self._workers.remove(worker)
        worker.kill()
        if not worker.is_ready:
            if self._workers:  # there may be too little memory for so many
                self._num_processes = len(self._workers)
                return
            raise ConfigError(f"{self._options.model}: the process that loaded the model {how}")
        if worker.task is not None:
            yield Failed(worker.task, f"{worker.task.path}: the process that recognised it {how}")


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended unexpectedly with exit code {code}"


def serve(descriptor: int) -> None:
    """The main function of a process, whose connection to the pool is a descriptor."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with Connection(descriptor) as connection:
        threading.Thread(target=_end_with_pool, args=(descriptor,), daemon=True).start()
        from pykaldi_server.batch.recognizer import Recognizer  # which the pool's own process does not need

        try:
            with Recognizer(connection.recv()) as recognizer:
                connection.send(Ready(recognizer.can_cut, recognizer.learns_all, recognizer.processes_texts))
                while (task := connection.recv()) is not None:
                    connection.send(_outcome(recognizer, task, connection))
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(0)  # the pool waits for this process, but not for Python to take the model apart
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the pool's process is gone
        except (PykaldiServerError, OSError) as error:
            with suppress(OSError):  # the pool may not wait for this
                connection.send(_CannotStart(error_text(error)))


def _end_with_pool(descriptor: int) -> None:
    """Ends this process once that of the pool is gone: it may wait for a file that never comes."""
    gone = select.poll()
    gone.register(descriptor, 0)  # which is to say, nothing but the end of the connection
    gone.poll()
    os._exit(0)


def _outcome(recognizer: "Recognizer", task: Task, connection: Connection) -> Done | Failed:
    def report(done_s: float) -> None:
        connection.send(Progress(task, done_s))

    try:
        return Done(task, recognizer.run(task, report))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except (PykaldiServerError, OSError) as error:
        return Failed(task, error_text(error), is_final=isinstance(error, AudioError))
