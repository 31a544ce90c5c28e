"""The WebSocket on which programs follow a telephone call: see `protocols.calls`."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pykaldi_server.master.access.access import Part
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.protocols.calls import Backlog
from pykaldi_server.protocols.gstreamer import error_message, parse_query
from pykaldi_server.protocols.messages import NORMAL_CLOSURE, POLICY_VIOLATION, Message, Status, dumps

__all__ = ["ListenSocket"]

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
"""A listener for whom more messages wait is disconnected."""


class ListenSocket(LiveSocket):
    """Serves `/client/ws/listen?id=CALL`: waits for the call, passes its messages on, closes at its end."""

    PART = Part.CALLS

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self._call = ""
        self._backlog = Backlog(MOST_WAITING)
        self._is_writing = False
        self._is_call_over = False
        self._leave: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return f"listener of call {self._call} at {self.caller}"

    async def opened(self) -> None:
        self._call = parse_query(self.request.query).get("id", "")
        if not self._call:
            text = "id in the address: expected the id of a call, found none"
            self.write_soon(dumps(error_message(Status.NOT_ALLOWED, text, "none")))
            self.close(POLICY_VIOLATION, text)
            return
        logger.info("%s: opened", self)
        self._leave = self.hub.listeners.follow(self._call, self)

    def hear(self, message: Message) -> None:
        """See `master.listeners.Listener`."""
        if self._backlog.put(message):
            self._write_next()
            return
        logger.warning("%s: closed: it reads too slowly", self)
        self._leave()
        self.close(POLICY_VIOLATION, f"more than {MOST_WAITING} messages wait to be read")

    def call_over(self) -> None:
        """See `master.listeners.Listener`."""
        self._is_call_over = True
        self._leave()
        self._write_next()

    def ended(self) -> None:
        self._leave()

    def _write_next(self) -> None:
        """Writes one message at a time, so that what waits is in the backlog and not in the connection."""
        if self._is_writing:
            return
        if not self._backlog:
            if self._is_call_over:
                self.close(NORMAL_CLOSURE)
            return
        written = self.write_soon(dumps(self._backlog.take()))
        if written is not None:
            self._is_writing = True
            written.add_done_callback(self._written)

    def _written(self, written: "asyncio.Future[Any]") -> None:
        self._is_writing = False
        if not written.cancelled() and written.exception() is None:
            self._write_next()
