"""The request log: a row in a database for each request that has ended.

    request ends --add--> rows that wait --some at a time--> DatabaseThread --> SQLite or PostgreSQL

No request waits for it or fails because of it. While the database is gone, rows wait in memory, up to a
bound; further ones are dropped and counted, and the log says so once.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Connection

from pykaldi_server.database.requests import LoggedRequest, add_requests, delete_requests
from pykaldi_server.database.retention import Retention, steady_s
from pykaldi_server.database.thread import DatabaseThread
from pykaldi_server.errors import DatabaseError
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.records import RequestRecord

__all__ = ["RequestLog"]

logger = logging.getLogger(__name__)

GATHER_S = 0.2
"""Rows wait this long for others, with which they are written in one transaction."""
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0
"""Between attempts to write to a database that cannot be used."""
ROWS_AT_ONCE = 500
MOST_ROWS = 10_000
MOST_BYTES = 64 * 1024**2
"""Bounds of what waits in memory."""
ROW_BYTES = 1000
"""What a row takes without its transcripts, roughly."""


class RequestLog:
    """Writes requests down. It belongs to the master's event loop.

    Args:
        options: returns the settings as they are now: what is kept, and for how long.
        thread: the database, for this log alone.
        now, steady: clocks, see `Retention`.

    Attributes:
        num_written: rows that are in the database.
        num_dropped: rows that have been given up.
    """

    def __init__(
        self,
        options: Callable[[], MasterOptions],
        thread: DatabaseThread,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_s,
    ) -> None:
        self._options = options
        self.num_written = 0
        self.num_dropped = 0
        self._thread = thread
        self._rows: deque[LoggedRequest] = deque()
        self._num_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._has_rows = asyncio.Event()
        self._is_closing = asyncio.Event()
        self._dropped_before = 0  # this outage
        self._is_dropping = False
        self._retention = Retention(lambda: options().request_log_days, now, steady)

    def __str__(self) -> str:
        return str(self._thread)

    @property
    def failure(self) -> str:
        """Why the database cannot be used at the moment; empty when it can."""
        return self._thread.failure

    @property
    def num_waiting(self) -> int:
        """Number of rows that wait to be written."""
        return len(self._rows)

    def start(self) -> None:
        """Deletes what is too old; a database that is down is reported now, not by the first request."""
        self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="request log")

    def add(self, record: RequestRecord) -> None:
        """Writes a request down, once the database gets to it. Returns at once."""
        row = self._row(record)
        num_bytes = _size(row)
        if len(self._rows) >= MOST_ROWS or self._num_bytes + num_bytes > MOST_BYTES:
            self._drop()
            return
        self._rows.append(row)
        self._num_bytes += num_bytes
        self._has_rows.set()

    async def close(self) -> None:
        """Writes what waits, but does not wait for long."""
        self._is_closing.set()
        self._has_rows.set()
        if self._writing is not None:
            try:
                async with asyncio.timeout(self._thread.timeout_s):
                    await asyncio.shield(self._writing)
            except TimeoutError:
                self._writing.cancel()
                await asyncio.wait([self._writing])
        if self._rows:
            self.num_dropped += len(self._rows)
            logger.warning("%s: %d rows of the request log are lost", self, len(self._rows))
        await self._thread.close()

    async def _write_all(self) -> None:
        """Writes rows as they come, until `close`."""
        pause_s = FIRST_PAUSE_S
        while True:
            if await self._write_some():
                pause_s = FIRST_PAUSE_S
                if not self._rows:
                    if self._is_closing.is_set():
                        return
                    self._has_rows.clear()
                    await self._has_rows.wait()
                    await self._pause(GATHER_S)
            elif self._is_closing.is_set():
                return
            else:
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_closing.wait()

    async def _write_some(self) -> bool:
        """Writes some rows; False when the database cannot be used."""
        rows = [self._rows[number] for number in range(min(ROWS_AT_ONCE, len(self._rows)))]
        before_s = self._retention.due_s()

        def work(connection: Connection) -> None:
            if before_s is not None:
                count = delete_requests(connection, before_s)
                if count:
                    logger.info("deleted %d rows of the request log that were too old", count)
            add_requests(connection, rows)

        try:
            # However long it takes, it is waited for: a second transaction would not be faster.
            await asyncio.wrap_future(self._thread.submit(work))
        except DatabaseError:
            if before_s is not None:
                self._retention.try_again()
            return False
        except Exception:  # the thread has logged it; these rows would fail again and hold up all others
            self.num_dropped += len(rows)
        else:
            self.num_written += len(rows)
        for row in rows:
            self._rows.popleft()
            self._num_bytes -= _size(row)
        if self._is_dropping:
            self._is_dropping = False
            count = self.num_dropped - self._dropped_before
            logger.warning("%s: the request log goes on; %d requests are missing", self, count)
        return True

    def _drop(self) -> None:
        if not self._is_dropping:
            self._is_dropping, self._dropped_before = True, self.num_dropped
            logger.warning(
                "%s: %d rows of the request log wait for the database; further ones are dropped",
                self,
                len(self._rows),
            )
        self.num_dropped += 1

    def _row(self, record: RequestRecord) -> LoggedRequest:
        options = self._options()
        keeps_users = options.request_log_users
        info, caller = record.info, record.caller
        partials, finals = record.partials, record.finals
        return LoggedRequest(
            id=_clean(info.id),
            begun_s=record.begun_s,
            ended_s=record.begun_s if record.ended_s is None else record.ended_s,
            protocol=record.protocol,
            caller=_clean(caller.name),
            address=_clean(caller.address) if keeps_users else None,
            user_id=_clean(info.user_id) if keeps_users and info.has_user else None,
            model=_clean(record.model),
            worker=_clean(record.worker),
            outcome=record.outcome,
            message=_clean(record.message),
            received_bytes=record.received_bytes,
            sent_bytes=record.sent_bytes,
            audio_s=_finite(record.audio_s),
            cpu_s=_finite(record.cpu_s),
            queue_wait_s=record.queue_wait_s,
            partial_delay_s=partials.mean_s,
            longest_partial_delay_s=partials.longest_s if partials.count else None,
            final_delay_s=finals.mean_s,
            longest_final_delay_s=finals.longest_s if finals.count else None,
            num_words=record.num_words,
            text=_clean("\n".join(record.transcripts)) if options.request_log_text else None,
        )


def _size(row: LoggedRequest) -> int:
    """What a row takes in memory, roughly."""
    return ROW_BYTES + len(row.message) + len(row.text or "")


def _clean(text: str) -> str:
    """The text as every database takes it: without NUL, and without halves of surrogate pairs."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _finite(value: float) -> float:
    """A number that a worker has sent; 0 for one that is none."""
    return value if math.isfinite(value) else 0.0
