"""The table of adaptation states: one for each model and user."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Double, Table, Text, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

from pykaldi_server.database.addresses import SQLITE
from pykaldi_server.database.database import METADATA
from pykaldi_server.protocols.gstreamer import decode_adaptation_state, decode_cmvn_state
from pykaldi_server.protocols.messages import Message

__all__ = ["StateEntry", "StoredState", "delete_states", "list_states", "load_state", "save_state"]

FUTURE_S = 86_400.0
"""Clocks of masters, and what a session lasts, differ by less than this."""

_TABLE = Table(
    "adaptation_states",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("ended_s", Double, nullable=False, index=True),
    Column("type", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("cmvn_state", Text),
)


@dataclass(frozen=True, slots=True)
class StateEntry:
    """What a list says of a state.

    Attributes:
        model: name of the model.
        user_id: who spoke.
        ended_s: end of the session that the state comes from, in seconds since 1970.
        num_bytes: size of the state.
    """

    model: str
    user_id: str
    ended_s: float
    num_bytes: int

    def message(self) -> Message:
        """As an object for JSON."""
        return {
            "model": self.model,
            "user_id": self.user_id,
            "time": _time_text(self.ended_s),
            "bytes": self.num_bytes,
        }


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a user's last session with a model has learned.

    Attributes:
        model: name of the model.
        user_id: who spoke.
        ended_s: end of that session, in seconds since 1970.
        type: how the values are packed, as in the wire format.
        value: the state, packed.
        cmvn_state: the state of the CMVN of the network's input, packed; None if the model has none.
    """

    model: str
    user_id: str
    ended_s: float
    type: str
    value: str
    cmvn_state: str | None = None

    def check(self) -> None:
        """Checks that a worker can unpack the state.

        Raises:
            AdaptationStateError: the type is unknown, or a value is damaged.
        """
        decode_adaptation_state(self.properties())
        decode_cmvn_state(self.properties())

    def properties(self) -> Message:
        """The state as the wire format has it."""
        properties = {"type": self.type, "value": self.value, "time": _time_text(self.ended_s)}
        return properties if self.cmvn_state is None else {**properties, "cmvn_state": self.cmvn_state}


def load_state(connection: Connection, model: str, user_id: str, since_s: float) -> StoredState | None:
    """Returns the state of a user, unless there is none or its session ended before ``since_s``."""
    found = connection.execute(
        select(_TABLE).where(*_matches(model, user_id), _TABLE.c.ended_s >= since_s)
    ).one_or_none()
    return None if found is None else StoredState(**found._asdict())


def save_state(connection: Connection, state: StoredState) -> bool:
    """Keeps a state, unless that of a session is there which ended later; returns whether it is kept.

    One that is far in the future was saved while a clock was wrong: it does not count as later.
    """
    insert = sqlite.insert if connection.dialect.name == SQLITE else postgresql.insert
    values = {name: getattr(state, name) for name in _TABLE.columns.keys()}  # noqa: SIM118
    inserting: Any = insert(_TABLE).values(values)
    statement = inserting.on_conflict_do_update(
        index_elements=["model", "user_id"],
        set_={name: inserting.excluded[name] for name in ("ended_s", "type", "value", "cmvn_state")},
        where=or_(
            inserting.excluded.ended_s >= _TABLE.c.ended_s,
            inserting.excluded.ended_s < _TABLE.c.ended_s - FUTURE_S,
        ),
    )
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount > 0


def list_states(
    connection: Connection, model: str | None, user_id: str | None, since_s: float
) -> list[StateEntry]:
    """Lists the states of a model or a user, or all, whose sessions ended at ``since_s`` or later."""
    size = func.length(_TABLE.c.value) + func.length(func.coalesce(_TABLE.c.cmvn_state, ""))
    rows = connection.execute(
        select(_TABLE.c.model, _TABLE.c.user_id, _TABLE.c.ended_s, size)
        .where(*_matches(model, user_id), _TABLE.c.ended_s >= since_s)
        .order_by(_TABLE.c.model, _TABLE.c.user_id)
    )
    return [StateEntry(*row) for row in rows]


def delete_states(
    connection: Connection,
    model: str | None = None,
    user_id: str | None = None,
    before_s: float | None = None,
) -> int:
    """Deletes the states of a model or a user or both, or those that ended before a time.

    Returns:
        Number of states that have been deleted.
    """
    conditions = _matches(model, user_id)
    if before_s is not None:
        conditions.append(_TABLE.c.ended_s < before_s)
    return int(connection.execute(delete(_TABLE).where(*conditions)).rowcount)


def _matches(model: str | None, user_id: str | None) -> list[ColumnElement[bool]]:
    wanted = ((_TABLE.c.model, model), (_TABLE.c.user_id, user_id))
    return [column == value for column, value in wanted if value is not None]


def _time_text(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
