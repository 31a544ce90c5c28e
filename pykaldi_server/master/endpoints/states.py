"""Addresses by which kept adaptation states are listed, fetched and deleted.

States say something about people, so they are for administrators, or without tokens for programs of this
machine unless `states_remote` is set; see `master.access.access`.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError, RequestHandler

from pykaldi_server.errors import DatabaseError
from pykaldi_server.master.access.access import Part
from pykaldi_server.master.hub import Hub
from pykaldi_server.protocols.messages import Message

if TYPE_CHECKING:  # SQLAlchemy is loaded only by masters that keep states
    from pykaldi_server.master.states import StateKeeper

__all__ = ["StateHandler", "StatesHandler"]


class _Handler(RequestHandler):
    """The base of both addresses: answers are objects, errors have a ``message``."""

    PART = Part.STATES

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self._hub = hub

    def prepare(self) -> None:
        if self._hub.states is None:
            raise HTTPError(404, reason="this server keeps no states")

    @property
    def states(self) -> "StateKeeper":
        """The master's states."""
        assert self._hub.states is not None  # see `prepare`
        return self._hub.states

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"message": self._reason})

    async def answer(self, working: Awaitable[Any]) -> Any:
        """Waits for the database."""
        try:
            return await working
        except DatabaseError as error:
            raise HTTPError(503, "%s", error, reason="the database cannot be used") from None

    def field(self, name: str) -> str | None:
        """A field of the query; None unless it says something."""
        return self.get_query_argument(name, "") or None


class StatesHandler(_Handler):
    """Serves `GET /states[?model=&user-id=]` and `DELETE /states?user-id=&model=`."""

    async def get(self) -> None:
        """Lists the states."""
        entries = await self.answer(self.states.entries(self.field("model"), self.field("user-id")))
        self.write({"states": [entry.message() for entry in entries]})

    async def delete(self) -> None:
        """Deletes all states of a user, or of a model."""
        model, user_id = self.field("model"), self.field("user-id")
        if model is None and user_id is None:
            raise HTTPError(400, reason="expected user-id or model, found neither")
        self.write({"deleted": await self.answer(self.states.delete(model, user_id))})


class StateHandler(_Handler):
    """Serves `GET` and `DELETE /states/MODEL/USER`."""

    async def get(self, model: str, user_id: str) -> None:
        """Sends a state as a client would send it to start a session with it."""
        state = await self.answer(self.states.state(model, user_id))
        if state is None:
            raise HTTPError(404, reason="there is no such state")
        message: Message = {"adaptation_state": state.properties()}
        self.write(message)

    async def delete(self, model: str, user_id: str) -> None:
        """Deletes a state."""
        count = await self.answer(self.states.delete(model, user_id))
        if not count:
            raise HTTPError(404, reason="there is no such state")
        self.write({"deleted": count})
