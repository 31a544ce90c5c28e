"""A thread that works with a database, so that no event loop waits for one.

    event loop --submit--> queue --one after the other--> Database

One thread, in the order of submission: what has been submitted to be saved is found by what is submitted
later. A database that fails or does not answer is reported once per outage, not once per request; while the
thread has been at one transaction for too long, nothing waits for it.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection

from pykaldi_server.database.database import Database
from pykaldi_server.errors import DatabaseError

__all__ = ["DatabaseThread"]

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Further work is refused while this much waits; a state has a few kilobytes."""

_T = TypeVar("_T")
_Job = tuple["Future[Any]", Callable[[Connection], Any]]


class DatabaseThread:
    """Runs transactions on a thread of its own, from construction until `close`.

    Args:
        database: used by the thread alone from now on.
        timeout_s: how long `call` waits.

    Attributes:
        timeout_s: as above; it may change.
        num_failures: transactions that have failed or have not been attempted.
    """

    def __init__(self, database: Database, timeout_s: float) -> None:
        self.num_failures = 0
        self._database = database
        self.timeout_s = timeout_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._busy_since_s: float | None = None  # of the thread's current transaction
        self._lock = threading.Lock()  # guards the failures
        self._failure = ""
        self._failures_before = 0
        # A daemon: a database that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="database", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why the database cannot be used at the moment; empty when it can."""
        return self._failure

    @property
    def is_stuck(self) -> bool:
        """Whether the current transaction has been taking longer than anyone waits."""
        since_s = self._busy_since_s
        return since_s is not None and time.monotonic() - since_s > self.timeout_s

    def submit(self, work: Callable[[Connection], _T]) -> "Future[_T]":
        """Queues a transaction; see `Database.run`."""
        future: Future[_T] = Future()
        if self._jobs.qsize() >= MOST_WAITING:
            future.set_exception(self._note_failure(f"{self._database}: {MOST_WAITING} transactions wait"))
        else:
            self._jobs.put((future, work))
        return future

    async def call(self, work: Callable[[Connection], _T]) -> _T:
        """Runs a transaction and waits for it, but not for long.

        Raises:
            DatabaseError: the database cannot be used, or has not answered in time.
        """
        text = f"{self._database}: no answer within {self.timeout_s:g} s"
        if self.is_stuck:
            raise self._note_failure(text)
        waiting = asyncio.wrap_future(self.submit(work))
        try:
            async with asyncio.timeout(self.timeout_s):
                return await waiting
        except TimeoutError:
            raise self._note_failure(text) from None

    async def close(self) -> None:
        """Finishes what has been submitted, but does not wait for long."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, self.timeout_s)
        if self._thread.is_alive():
            logger.warning("%s: no answer at the end: %d transactions are lost", self, self._jobs.qsize())

    def __str__(self) -> str:
        return str(self._database)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            self._busy_since_s = time.monotonic()
            try:
                result = self._database.run(work)
            except DatabaseError as error:
                self._note_failure(str(error))
                future.set_exception(error)
            except Exception as error:  # the thread must live on; who waits gets the error
                logger.exception("%s: a transaction failed", self)
                future.set_exception(error)
            else:
                self._note_success()
                future.set_result(result)
            finally:
                self._busy_since_s = None
        self._database.close()

    def _note_failure(self, text: str) -> DatabaseError:
        with self._lock:
            is_new = not self._failure
            if is_new:
                self._failure, self._failures_before = text, self.num_failures
            self.num_failures += 1
        if is_new:
            logger.warning("the database cannot be used; requests go on without it: %s", text)
        return DatabaseError(text)

    def _note_success(self) -> None:
        with self._lock:
            was_failing, self._failure = self._failure, ""
            num_lost = self.num_failures - self._failures_before
        if was_failing:
            logger.warning("the database can be used again; %d transactions have failed", num_lost)
