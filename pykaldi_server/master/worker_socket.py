"""The master's end of a worker's connection: it serves one request, then it is closed."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from functools import partial
from http import HTTPStatus

from pykaldi_server.master.access.access import Part
from pykaldi_server.master.end import SHUTTING_DOWN
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.messages import (
    GOING_AWAY,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    excerpt,
    message_bytes,
)
from pykaldi_server.protocols.worker import Position, WorkerInfo, init_message
from pykaldi_server.sockets import finish

__all__ = ["WorkerSocket"]

logger = logging.getLogger(__name__)

MOST_WAITING = 8
"""The worker is not read on while this many of its messages wait to be delivered."""


class WorkerSocket(LiveSocket):
    """Serves `/worker/ws/speech`: a worker that is free until a relay begins a request with it.

    A worker that reports no positions counts as having processed what has been written to it.
    """

    kind = "worker"
    PART = Part.WORKERS

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self.info = WorkerInfo.from_query(self.request.query)
        self._is_serving = False
        self._is_released = False
        self._written_bytes = 0
        self._messages: deque[str | bytes | None] = deque()
        self._coming: asyncio.Future[None] | None = None  # the relay waits for a message
        self._room: asyncio.Future[None] | None = None  # the worker waits for room

    def __str__(self) -> str:
        return f"worker {self.info.model or '(unnamed)'} at {self.caller}"

    def hold_back(self) -> None:
        """Workers are ours, and a busy one reports often."""

    def prepare(self) -> None:
        """Tornado's: refuses workers of a master that is shutting down, so that they serve another one."""
        if self.hub.is_ending:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, reason=SHUTTING_DOWN)

    async def opened(self) -> None:
        if self.ws_connection is not None:
            self.hub.connections.leave(self.ws_connection.stream)
        logger.debug("%s: ready", self)
        if self.info.model:
            self.hub.models[self.info.model] = self.info
        self.hub.metrics.worker_connects(self.info.model)
        self.hub.pool.add(self, self.info.model)

    def begin(self, request: RequestInfo, position_bytes: int) -> bool:
        """Starts a request; False when this worker turns out to be gone."""
        self._is_serving = self.write_soon(init_message(request, self.info, position_bytes)) is not None
        return self._is_serving

    def send(self, message: str | bytes) -> None:
        """Sends a message; it is dropped when the worker is gone."""
        written = self.write_soon(message)
        if written is not None and not self.info.reports_positions:
            written.add_done_callback(partial(self._written, message_bytes(message)))

    async def read(self) -> str | bytes | None:
        """The next event or position; None when the worker has closed or is lost."""
        while not self._messages:
            self._coming = asyncio.get_running_loop().create_future()
            await self._coming
        finish(self._room)
        return self._messages.popleft()

    @property
    def is_closed_properly(self) -> bool:
        """Whether the worker has sent a close frame with no code or with that of a normal end."""
        return self.peer_has_closed and self.close_code in (None, NORMAL_CLOSURE)

    @property
    def is_going_away(self) -> bool:
        """Whether the worker has closed because it is shutting down."""
        return self.close_code == GOING_AWAY

    def release(self) -> None:
        """The request needs this worker no more; if the worker is still at it, closing tells it to stop."""
        self._is_serving, self._is_released = False, True
        finish(self._room)
        self.hub.pool.remove(self)
        self.close(NORMAL_CLOSURE)

    def dismiss(self) -> None:
        """Lets a worker that is free serve another master, as this one is shutting down."""
        if self.hub.pool.is_free(self):
            self._is_released = True
            self.hub.pool.remove(self)
            self.close(GOING_AWAY, SHUTTING_DOWN)

    def receive(self, message: str | bytes) -> Awaitable[None] | None:
        if self._is_serving:
            self._put(message)
            return None if len(self._messages) < MOST_WAITING else self._wait_for_room()
        if not self._is_released:
            self._refuse(message)
        return None

    async def _wait_for_room(self) -> None:
        while self._is_serving and len(self._messages) >= MOST_WAITING:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _put(self, message: str | bytes | None) -> None:
        self._messages.append(message)
        finish(self._coming)

    def ended(self) -> None:
        if not self.peer_has_closed and not self._is_released:
            self.hub.metrics.worker_lost(self.info.model)
        self.hub.pool.remove(self)
        self._put(None)

    def _written(self, num_bytes: int, _: "asyncio.Future[None]") -> None:
        """The connection to a worker that reports no positions has taken a message."""
        self._written_bytes += num_bytes
        if self._is_serving:
            self._put(Position(self._written_bytes, 0.0).text())

    def _refuse(self, message: str | bytes) -> None:
        """A worker speaks only when it has a request: this is somebody else."""
        self._is_released = True
        self.hub.pool.remove(self)
        logger.warning("%s: closed, because it spoke out of turn: %s", self, excerpt(message))
        self.close(POLICY_VIOLATION, "This address is for workers; clients use /client/ws/speech")
