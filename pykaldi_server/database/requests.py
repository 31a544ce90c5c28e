"""The table of requests: one row for each that has ended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Double, Integer, Table, Text, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

from pykaldi_server.database.addresses import SQLITE
from pykaldi_server.database.database import METADATA
from pykaldi_server.protocols.messages import Message

__all__ = [
    "GROUPS",
    "LoggedRequest",
    "RequestFilter",
    "RequestSummary",
    "add_requests",
    "delete_requests",
    "list_requests",
    "load_request",
    "summarize_requests",
]

_TABLE = Table(
    "requests",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("begun_s", Double, nullable=False, index=True),
    Column("ended_s", Double, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("address", Text),
    Column("user_id", Text),
    Column("model", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("received_bytes", BigInteger, nullable=False),
    Column("sent_bytes", BigInteger, nullable=False),
    Column("audio_s", Double, nullable=False),
    Column("cpu_s", Double, nullable=False),
    Column("queue_wait_s", Double),
    Column("partial_delay_s", Double),
    Column("longest_partial_delay_s", Double),
    Column("final_delay_s", Double),
    Column("longest_final_delay_s", Double),
    Column("num_words", Integer, nullable=False),
    Column("text", Text),
)

_TIMES = {"begun_s": "begun", "ended_s": "ended"}
"""Fields with moments, and what they are called where these are text."""

GROUPS = ("model", "protocol", "caller", "outcome")
"""Columns by which requests can be summed up."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request that has ended.

    Attributes:
        id: the request's id, as in logs and messages.
        begun_s, ended_s: in seconds since 1970.
        protocol: short name of the client's protocol.
        caller: name of the caller's token; "" without one.
        address: the client's address; None if such are not kept.
        user_id: who spoke, as the client says; None if it does not, or if such are not kept.
        model: name of the model; "" if the request got no worker.
        worker: who served it.
        outcome: name of the status with which it ended, or ``cancelled``.
        message: describes what went wrong.
        received_bytes: bytes of the client's messages.
        sent_bytes: bytes of results for the client.
        audio_s: seconds of audio recognised.
        cpu_s: CPU seconds of the worker.
        queue_wait_s: seconds until it had a worker; None if it never had.
        partial_delay_s, longest_partial_delay_s: mean and longest delay of partial results; None without any.
        final_delay_s, longest_final_delay_s: the same for final results.
        num_words: words in the final results.
        text: the transcripts of the final results, one per line; None if they are not kept.
    """

    id: str
    begun_s: float
    ended_s: float
    protocol: str
    caller: str
    address: str | None
    user_id: str | None
    model: str
    worker: str
    outcome: str
    message: str
    received_bytes: int
    sent_bytes: int
    audio_s: float
    cpu_s: float
    queue_wait_s: float | None
    partial_delay_s: float | None
    longest_partial_delay_s: float | None
    final_delay_s: float | None
    longest_final_delay_s: float | None
    num_words: int
    text: str | None

    @classmethod
    def names(cls) -> list[str]:
        """The names in `properties`."""
        return [_TIMES.get(field.name, field.name) for field in fields(cls)]

    def properties(self) -> Message:
        """As an object for JSON: times as text in UTC, durations rounded to 0.1 ms."""
        shown: Message = {}
        for name, value in asdict(self).items():
            if name in _TIMES:
                shown[_TIMES[name]] = _time_text(value)
            else:
                shown[name] = round(value, 4) if isinstance(value, float) else value
        return shown


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are meant: those that fulfil all conditions. None is no condition.

    Attributes:
        since_s, until_s: begun at this time or later; begun before this time; in seconds since 1970.
        model, protocol, caller, outcome: equal to this.
    """

    since_s: float | None = None
    until_s: float | None = None
    model: str | None = None
    protocol: str | None = None
    caller: str | None = None
    outcome: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a statement."""
        conditions = [
            _TABLE.c[name] == value for name in GROUPS if (value := getattr(self, name)) is not None
        ]
        if self.since_s is not None:
            conditions.append(_TABLE.c.begun_s >= self.since_s)
        if self.until_s is not None:
            conditions.append(_TABLE.c.begun_s < self.until_s)
        return conditions


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """What requests of a group come to.

    Attributes:
        group: what they have in common.
        num_requests: number of requests.
        num_successes: number of those that ended with status 0.
        audio_s: seconds of audio recognised.
        cpu_s: CPU seconds of workers.
        num_words: words in the final results.
        queue_wait_s: mean time until they had a worker.
        partial_delay_s, final_delay_s: means over the requests of their mean delays.
    """

    group: str
    num_requests: int
    num_successes: int
    audio_s: float
    cpu_s: float
    num_words: int
    queue_wait_s: float | None
    partial_delay_s: float | None
    final_delay_s: float | None

    def properties(self) -> Message:
        """As an object for JSON."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def add_requests(connection: Connection, requests: Sequence[LoggedRequest]) -> None:
    """Adds requests. One that is there already, because its commit went unheard, stays as it is."""
    if requests:
        insert = sqlite.insert if connection.dialect.name == SQLITE else postgresql.insert
        inserting: Any = insert(_TABLE)
        connection.execute(inserting.on_conflict_do_nothing(), [_values(each) for each in requests])


def load_request(connection: Connection, request_id: str) -> LoggedRequest | None:
    """Returns a request; None if there is none of this id."""
    found = connection.execute(select(_TABLE).where(_TABLE.c.id == request_id)).one_or_none()
    return None if found is None else LoggedRequest(**found._asdict())


def list_requests(connection: Connection, wanted: RequestFilter, limit: int | None) -> list[LoggedRequest]:
    """Lists requests, the latest first.

    Args:
        connection: to the database.
        wanted: which ones.
        limit: how many at most; None is all.
    """
    rows = connection.execute(
        select(_TABLE).where(*wanted.conditions()).order_by(_TABLE.c.begun_s.desc(), _TABLE.c.id).limit(limit)
    )
    return [LoggedRequest(**row._asdict()) for row in rows]


def summarize_requests(connection: Connection, wanted: RequestFilter, by: str) -> list[RequestSummary]:
    """Sums requests up, by one of `GROUPS`."""
    group = _TABLE.c[by]
    rows = connection.execute(
        select(
            group,
            func.count(),
            func.count().filter(_TABLE.c.outcome == "success"),
            func.sum(_TABLE.c.audio_s),
            func.sum(_TABLE.c.cpu_s),
            func.sum(_TABLE.c.num_words),
            func.avg(_TABLE.c.queue_wait_s),
            func.avg(_TABLE.c.partial_delay_s),
            func.avg(_TABLE.c.final_delay_s),
        )
        .where(*wanted.conditions())
        .group_by(group)
        .order_by(group)
    )
    return [RequestSummary(*row) for row in rows]


def delete_requests(connection: Connection, before_s: float) -> int:
    """Deletes the requests that began before a time; returns how many there were."""
    return int(connection.execute(delete(_TABLE).where(_TABLE.c.begun_s < before_s)).rowcount)


def _values(request: LoggedRequest) -> dict[str, Any]:
    """The values of a row; `asdict` would copy each of them."""
    return {name: getattr(request, name) for name in _TABLE.columns.keys()}  # noqa: SIM118


def _time_text(time_s: float) -> str:
    text = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
