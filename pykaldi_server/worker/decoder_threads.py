"""Threads that recognise for all requests of a worker: as many as there are cores, however many requests.

Each request has a `Share`. What it wants done is a generator; between two of its steps other requests may
have their turn. The next turn goes to the request that has had the least of the threads (start-time fair
queueing; Goyal, Vin, Cheng 1996): each has a clock, which CPU time that it uses moves on, and which is never
behind that of the request whose turn began last. A live stream, which uses less than its part, therefore
never waits behind the backlogs of others, however many there are; and nobody saves up turns while silent.

More threads than cores would gain nothing and cost a lot: they would take the interpreter's lock from each
other hundreds of times per packet, and each would have an arena and workspaces of its own.
"""

import asyncio
import contextvars
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from heapq import heappop, heappush, heappushpop
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from pykaldi_server.sockets import finish

__all__ = ["DecoderThreads", "Share"]

T = TypeVar("T")
R = TypeVar("R")

SLICE_S = 0.05
"""CPU time after which a request's turn ends, at the end of the step: a live packet takes much less."""


class Share:
    """What one request has of the threads; made by `DecoderThreads.share`. It belongs to the event loop.

    Attributes:
        cpu_s: CPU seconds that it has used in all turns that are over.
    """

    def __init__(self, threads: "DecoderThreads") -> None:
        self.cpu_s = 0.0
        self.clock_s = 0.0  # changed by the thread whose turn it is, and by `put`, when there is no job
        self._threads = threads

    async def run(self, steps: Generator[T, None, R], on_step: Callable[[T], None]) -> R:
        """Does some work, of which there is one piece at a time per share.

        Even when cancelled, it returns only after the step that runs: no thread may still be using a session
        that somebody is about to close.

        Args:
            steps: the work, in the context of the caller (log lines have the request's id).
            on_step: called in the event loop with what each step yields, unless that is empty.

        Returns:
            What the generator returns. This and the end of the work wake the event loop once, a step that
            yields something wakes it by itself.

        Raises:
            Exception: what a step has raised.
            asyncio.CancelledError: the threads have stopped before the work was done.
        """
        job = _Job(self, steps, on_step)
        self._threads.put(job)
        try:
            return await job.done
        except asyncio.CancelledError:
            job.is_cancelled = True
            if not job.is_over:
                job.ending = asyncio.get_running_loop().create_future()
                await job.ending
            raise


class _Job(Generic[T, R]):
    """A piece of work of one share.

    Attributes:
        done: its result, unless whoever waits for that has been cancelled.
        is_cancelled: the result is not wanted any more.
        is_over: no thread is at it, nor will be.
        ending: done when it is over; None if nobody waits for that.
    """

    def __init__(self, share: Share, steps: Generator[T, None, R], on_step: Callable[[T], None]) -> None:
        self.share = share
        self.steps = steps
        self.on_step = on_step
        self.is_cancelled = self.is_over = False
        self.ending: asyncio.Future[None] | None = None
        self.context = contextvars.copy_context()
        self.done: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    def end(self, result: R) -> None:
        """Called in the event loop."""
        if not self.done.done():
            self.done.set_result(result)
        self._note_end()

    def fail(self, error: BaseException) -> None:
        """Called in the event loop."""
        if isinstance(error, asyncio.CancelledError):
            self.done.cancel()
        elif not self.done.done():
            self.done.set_exception(error)
        self._note_end()

    def _note_end(self) -> None:
        self.is_over = True
        finish(self.ending)


class DecoderThreads:
    """Runs the steps of all requests. It belongs to the running event loop.

    Args:
        num_threads: number of threads.
    """

    def __init__(self, num_threads: int) -> None:
        self._mailbox = _Mailbox(asyncio.get_running_loop())
        self._lock = threading.Lock()  # guards the next four
        self._waiting: list[tuple[float, int, _Job[Any, Any]]] = []  # a heap: by the share's clock
        self._clock_s = 0.0  # that of the share whose turn began last
        self._numbers = itertools.count()
        self._is_stopped = False
        self._turns: SimpleQueue[bool] = SimpleQueue()  # one True per job that waits; False ends a thread
        self._begun_s = [math.inf] * num_threads  # when the step began that each thread is at
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), name=f"decoder {index}")
            for index in range(num_threads)
        ]

    def start(self) -> None:
        """Starts the threads: later there may not be the memory for one.

        Raises:
            RuntimeError: they cannot be started.
        """
        started = 0
        try:
            for thread in self._threads:
                thread.start()
                started += 1
        except RuntimeError:
            self._end_threads(started)
            raise

    def stop(self) -> None:
        """Lets the threads end after the steps that they are at; all work that is not done is cancelled."""
        with self._lock:
            self._is_stopped = True
            dropped = [job for _, _, job in self._waiting]
            self._waiting.clear()
        for job in dropped:
            job.fail(asyncio.CancelledError())
        self._end_threads(len(self._threads))

    def share(self) -> Share:
        """Returns the share of a new request."""
        return Share(self)

    def longest_step_s(self) -> float:
        """How long ago the oldest of the steps that run has begun; 0 if none runs."""
        return max(0.0, time.monotonic() - min(self._begun_s))

    def put(self, job: _Job[Any, Any]) -> None:
        """Lets a job wait for its turn; cancels it if the threads have stopped. Called in the event loop."""
        with self._lock:
            if not self._is_stopped:
                job.share.clock_s = max(job.share.clock_s, self._clock_s)
                heappush(self._waiting, (job.share.clock_s, next(self._numbers), job))
                self._turns.put(True)
                return
        job.fail(asyncio.CancelledError())

    def _end_threads(self, number: int) -> None:
        for _ in range(number):
            self._turns.put(False)

    def _serve(self, index: int) -> None:
        """What a thread does."""
        while self._turns.get():
            job = self._first()
            while job is not None:
                job = self._after(job) if self._take_turn(index, job) else None

    def _first(self) -> _Job[Any, Any] | None:
        with self._lock:
            return self._begin(heappop(self._waiting)) if self._waiting else None

    def _after(self, job: _Job[Any, Any]) -> _Job[Any, Any] | None:
        """Lets a job that is not complete wait again; returns the one whose turn it is, perhaps the same."""
        with self._lock:
            if not self._is_stopped:
                return self._begin(heappushpop(self._waiting, (job.share.clock_s, next(self._numbers), job)))
        self._drop(job)
        return None

    def _begin(self, entry: tuple[float, int, _Job[Any, Any]]) -> _Job[Any, Any]:
        self._clock_s = max(self._clock_s, entry[0])
        return entry[2]

    def _take_turn(self, index: int, job: _Job[Any, Any]) -> bool:
        """Does steps of a job for the length of a slice; returns whether there may be more."""
        turn_s = time.thread_time()
        ending: tuple[Callable[[Any], None], object] | None = None
        try:
            while not self._is_stopped and time.thread_time() - turn_s < SLICE_S:
                if job.is_cancelled:
                    job.steps.close()
                    ending = job.end, None  # which nobody waits for
                    break
                self._begun_s[index] = time.monotonic()
                if found := job.context.run(next, job.steps):
                    self._mailbox.put(job.on_step, found)
        except StopIteration as end:
            ending = job.end, end.value
        except BaseException as error:  # whoever waits for the work gets it
            ending = job.fail, error
        self._begun_s[index] = math.inf
        used_s = time.thread_time() - turn_s
        job.share.cpu_s += used_s
        job.share.clock_s += used_s
        if ending is not None:  # only now: the share's next job may begin at once
            self._mailbox.put(*ending)
        return ending is None

    def _drop(self, job: _Job[Any, Any]) -> None:
        """Ends a job that gets no more turns."""
        failure: BaseException = asyncio.CancelledError()
        try:
            job.steps.close()
        except BaseException as error:  # whoever waits for the work gets it
            failure = error
        self._mailbox.put(job.fail, failure)


class _Mailbox:
    """Calls functions in an event loop, in order; wakes it once for all calls that it has not come to yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._lock = threading.Lock()
        self._is_waking = False

    def put(self, function: Callable[[Any], None], argument: object) -> None:
        """Called in any thread."""
        with self._lock:
            self._calls.append((function, argument))
            if self._is_waking:
                return
            self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop has been closed: nobody waits any more
            return

    def _deliver(self) -> None:
        with self._lock:
            self._is_waking = False
            calls, self._calls = self._calls, deque()
        for function, argument in calls:
            try:
                function(argument)
            except Exception as error:  # the others are called in any case
                self._loop.call_exception_handler({"message": f"{function} failed", "exception": error})
