"""What has become of each recording of a bulk run: a table in a file of the output directory.

    transcript complete --> its files renamed into place --> a row

A row is written after the transcript is in place, in groups. A run that is killed in between finds the
transcript, and adds the row; so nothing is recognised again, and no row is without its transcript. Only one
run at a time may have the ledger.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Column, Connection, Double, Integer, MetaData, Table, Text, func, select
from sqlalchemy.dialects import sqlite

from pykaldi_server.database.database import Database
from pykaldi_server.errors import ConfigError

__all__ = ["LEDGER_FILE", "Entry", "Ledger", "State"]

LEDGER_FILE = "ledger.sqlite"
_LOCK_FILE = ".ledger.lock"  # of its own: locks of two kinds on one file get into each other's way on NFS
_METADATA = MetaData()
_TABLE = Table(
    "recordings",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("audio_s", Double, nullable=False),
    Column("num_words", Integer, nullable=False),
    Column("ended_s", Double, nullable=False),
)
_MOST_UNWRITTEN = 1000
_LONGEST_UNWRITTEN_S = 1.0


class State(StrEnum):
    """What has become of a recording."""

    RECOGNISED = "recognised"
    """Its transcripts are written."""
    SET_ASIDE = "set aside"
    """It failed as often as it may, or cannot be recognised at all; later runs leave it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the ledger.

    Attributes:
        name: path of its transcripts below the output directory, without their endings.
        source: the recording's absolute path, or its URL.
        state: what has become of it.
        error: why it was set aside; the text names the file.
        attempts: how often it was tried; 0 if an interrupted run wrote the transcripts, but no row.
        audio_s: its length, 0 if that is not known.
        num_words: how many words were recognised.
        ended_s: when that was, in seconds since 1970.
    """

    name: str
    source: str
    state: State
    error: str = ""
    attempts: int = 0
    audio_s: float = 0.0
    num_words: int = 0
    ended_s: float = 0.0


class Ledger:
    """The ledger of an output directory; a context manager, which holds its lock.

    Args:
        directory: the directory, which is made if it is missing.

    Raises:
        ConfigError: another run has the ledger.
        OSError: the directory cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(directory)
        self._database = Database(str(directory / LEDGER_FILE), "ledger", _METADATA)
        self._unwritten: dict[str, Entry] = {}
        self._unwritten_since_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.flush()
        finally:
            self._database.close()
            os.close(self._lock)

    @property
    def path(self) -> Path:
        """The file."""
        return self._directory / LEDGER_FILE

    def find(self, names: Sequence[str]) -> dict[str, Entry]:
        """Returns the entries of these names, as far as there are any, by name.

        Args:
            names: some hundreds at most.

        Raises:
            DatabaseError: the file cannot be used; so do all other methods.
        """

        def work(connection: Connection) -> dict[str, Entry]:
            rows = connection.execute(select(_TABLE).where(_TABLE.c.name.in_(names)))
            return {row.name: _entry(row) for row in rows}

        return self._database.run(work) | {
            name: self._unwritten[name] for name in names if name in self._unwritten
        }

    def note(self, entry: Entry) -> None:
        """Notes what has become of a recording; written at once with others, after a second at the latest."""
        now_s = time.monotonic()
        if not self._unwritten:
            self._unwritten_since_s = now_s
        self._unwritten[entry.name] = entry
        if len(self._unwritten) >= _MOST_UNWRITTEN or now_s - self._unwritten_since_s >= _LONGEST_UNWRITTEN_S:
            self.flush()

    def flush(self) -> None:
        """Writes what has been noted."""
        if not self._unwritten:
            return
        rows = [asdict(entry) for entry in self._unwritten.values()]
        insert = sqlite.insert(_TABLE)
        changes = {column.name: insert.excluded[column.name] for column in _TABLE.columns}
        statement = insert.on_conflict_do_update(index_elements=["name"], set_=changes)
        self._database.run(lambda connection: connection.execute(statement, rows))
        self._unwritten = {}

    def count(self) -> dict[State, int]:
        """How many recordings have each state, in this run and those before it."""
        self.flush()
        statement = select(_TABLE.c.state, func.count()).group_by(_TABLE.c.state)
        rows = self._database.run(lambda connection: connection.execute(statement).all())
        return {State(state): number for state, number in rows}

    def set_aside(self, limit: int | None = None) -> list[Entry]:
        """The recordings that are set aside, by name.

        Args:
            limit: how many at most; all if None.
        """
        self.flush()
        statement = select(_TABLE).where(_TABLE.c.state == State.SET_ASIDE).order_by(_TABLE.c.name)
        rows = self._database.run(lambda connection: connection.execute(statement.limit(limit)).all())
        return [_entry(row) for row in rows]


def _entry(row: Any) -> Entry:
    values = {field.name: getattr(row, field.name) for field in fields(Entry)}
    return Entry(**{**values, "state": State(row.state)})


def _locked(directory: Path) -> int:
    """Opens the lock file; the lock ends with the process, however that ends."""
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigError(
            f"{directory}: expected to be the only run, found another that writes here"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
