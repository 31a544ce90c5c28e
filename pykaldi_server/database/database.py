"""A database and the tables in it, through SQLAlchemy."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pykaldi_server.database.addresses import DEFAULT, SQLITE, database_url
from pykaldi_server.errors import ConfigError, DatabaseError

__all__ = ["METADATA", "Database"]

logger = logging.getLogger(__name__)

METADATA = MetaData()
"""The tables of a master's database; the module of each table adds it."""

_T = TypeVar("_T")

# Another process may hold the lock of an SQLite file, or a server may be slow to answer, for this long.
_SQLITE_LOCK_S = 2.0
_POSTGRESQL = {
    "connect_timeout": 5,
    "options": "-c statement_timeout=5000 -c lock_timeout=2000",
    # A server whose machine is gone counts as lost after this, not after the system's quarter of an hour.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "application_name": "pykaldi-server",
}

# Two masters that start at once would both find no table, and both create it: one of them would fail.
_CREATING_ALONE = {SQLITE: "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7966616)"}


class Database:
    """Runs transactions. Missing tables are created when they are first needed.

    Making one opens no connection: a server that is down is found by the first transaction. Not for several
    threads at once.

    Args:
        name: see `database_url`.
        option: which option names it, for errors.
        metadata: the tables that it has.
        must_exist: no SQLite file is created, unless it is the default one: a transaction fails without it.

    Raises:
        ConfigError: the name is invalid, or the driver of the database is not installed.
    """

    def __init__(
        self,
        name: str,
        option: str = "states",
        metadata: MetaData = METADATA,
        *,
        must_exist: bool = False,
    ) -> None:
        self._metadata = metadata
        self._engine = _make_engine(database_url(name, option), option)
        self._own_folder = name == DEFAULT
        self._must_exist = must_exist and not self._own_folder
        self._is_prepared = False

    def __str__(self) -> str:
        """The URL, without a password."""
        return self._engine.url.render_as_string(hide_password=True)

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        return self._engine

    def run(self, work: Callable[[Connection], _T]) -> _T:
        """Returns what a function returns that is called with a connection, within one transaction.

        It is called twice if it fails at first: a connection may be stale, a table may have gone.

        Raises:
            DatabaseError: the database cannot be used; the text names it.
        """
        try:
            return self._run_once(work)
        except SQLAlchemyError as error:
            logger.debug("%s: %s; a second attempt follows", self, _reason(error))
            self._is_prepared = False
        try:
            return self._run_once(work)
        except SQLAlchemyError as error:
            self._is_prepared = False
            raise DatabaseError(f"{self}: {_reason(error)}") from error

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _run_once(self, work: Callable[[Connection], _T]) -> _T:
        if not self._is_prepared:
            self._prepare()
            self._is_prepared = True
        with self._engine.begin() as connection:
            return work(connection)

    def _prepare(self) -> None:
        """Creates what is missing.

        Raises:
            DatabaseError: a table has other columns than this version's, or the file cannot be created.
        """
        if self._engine.dialect.name == SQLITE:
            self._create_file()
        inspector = inspect(self._engine)
        if not all(inspector.has_table(table.name) for table in self._metadata.sorted_tables):
            self._create_tables()
            inspector = inspect(self._engine)
        for table in self._metadata.sorted_tables:
            expected = {column.name for column in table.columns}
            found = {column["name"] for column in inspector.get_columns(table.name)}
            if not expected <= found:
                raise DatabaseError(
                    f"{self}: table {table.name}: expected the columns {', '.join(sorted(expected))}, "
                    f"found {', '.join(sorted(found))}"
                )

    def _create_tables(self) -> None:
        """Creates the tables that are missing when no other process does."""
        with self._engine.begin() as connection:
            connection.exec_driver_sql(_CREATING_ALONE[self._engine.dialect.name])
            self._metadata.create_all(connection)

    def _create_file(self) -> None:
        """Creates the file for the user alone: what is in it belongs to people."""
        path = self._engine.url.database or ""
        if path.startswith("file:"):  # a URI, by which SQLite opens it in its own ways
            return
        try:
            if self._own_folder:
                Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDONLY | (0 if self._must_exist else os.O_CREAT), 0o600))
        except OSError as error:
            raise DatabaseError(f"{self}: {error.strerror}") from error


def _make_engine(url: str, option: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == SQLITE:
            # Opening a file costs little, and a connection that is not kept never holds a file that is gone.
            engine = create_engine(parsed, poolclass=NullPool, connect_args={"timeout": _SQLITE_LOCK_S})
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        given = {**_POSTGRESQL, **{key: value for key, value in parsed.query.items() if key in _POSTGRESQL}}
        return create_engine(parsed, pool_pre_ping=True, pool_size=1, connect_args=given)
    except (ArgumentError, ValueError):  # whose texts may repeat a password
        kind = url.partition("://")[0]
        raise ConfigError(
            f"{option}: expected the URL of a database, found an invalid one, {kind}://..."
        ) from None
    except ImportError:
        raise ConfigError(
            f"{option}: a PostgreSQL database needs psycopg: pip install 'pykaldi-server[postgresql]'"
        ) from None


def _set_up_sqlite(connection: Any, record: object) -> None:
    """What is deleted is overwritten in the file as well."""
    connection.execute("PRAGMA secure_delete = ON")


def _reason(error: SQLAlchemyError) -> str:
    """What the database says, in one line, without the statement and its values."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
