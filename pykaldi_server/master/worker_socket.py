"""The master's end of a worker's connection: it serves one request, then it is closed."""

import logging
from typing import Protocol

from tornado.websocket import WebSocketClosedError

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.protocols.gstreamer import (
    GOING_AWAY,
    NORMAL_CLOSURE,
    Message,
    RequestInfo,
    WorkerInfo,
    parse_event,
    split_audio,
)

logger = logging.getLogger(__name__)


class Client(Protocol):
    """A client that wants a worker or has one: a WebSocket or an HTTP upload."""

    info: RequestInfo
    worker: "WorkerSocket | None"

    async def deliver(self, event: Message) -> None:
        """Passes an event on, and returns when the client has taken it."""

    def worker_gone(self, *, orderly: bool) -> None:
        """The worker has closed its connection: because it is done (`orderly`) or because it died."""


class WorkerSocket(LiveSocket):
    """Carries one request to a worker and the worker's events back, owned by the client that it serves."""

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self.worker_info = WorkerInfo.from_query(self.request.query)
        self._client: Client | None = None
        self._has_forwarded = False

    def __str__(self) -> str:
        return f"worker {self.worker_info.model or '(unnamed)'} at {self.request.remote_ip}"

    async def opened(self) -> None:
        logger.debug("%s: ready", self)
        self.hub.pool.add(self, self.worker_info.model)

    def begin(self, client: Client) -> bool:
        """Starts a client's request; False when this worker turns out to be gone."""
        if not self.tell(client.info.init_message()):
            self.hub.pool.remove(self)
            return False
        self._client = client
        return True

    async def forward(self, message: str | bytes) -> None:
        """Passes a client's message on, and returns when the worker's socket has taken it: back-pressure."""
        self._has_forwarded = True
        try:
            if isinstance(message, str):
                await self.write_message(message)
                return
            for piece in split_audio(message):
                await self.write_message(piece, binary=True)
        except WebSocketClosedError:
            logger.debug("%s: gone while a message was forwarded", self)  # the client learns it from ended()

    def release(self) -> None:
        """The client needs this worker no more; if the worker is still at it, closing tells it to stop."""
        self._client = None
        self.hub.pool.remove(self)
        self.close(NORMAL_CLOSURE)

    async def receive(self, message: str | bytes) -> None:
        if self._client is None:
            return
        try:
            event = parse_event(message)
        except ProtocolError as error:
            logger.warning("%s: %s ignored: %s", self._client.info.id, self, error)
            return
        event["id"] = self._client.info.id
        await self._client.deliver(event)

    def ended(self) -> None:
        self.hub.pool.remove(self)
        client, self._client = self._client, None
        if client is None:
            return
        if self.close_code == GOING_AWAY and not self._has_forwarded:
            client.worker = find_worker(self.hub, client)  # it was shut down just as the client came
            if client.worker is not None:
                return
        client.worker_gone(orderly=self.close_code == NORMAL_CLOSURE)


def find_worker(hub: Hub, client: Client) -> WorkerSocket | None:
    """Finds a free worker for the client's request and starts the request; None when there is none."""
    while (worker := hub.pool.acquire(client.info.model)) is not None:
        if worker.begin(client):
            logger.info("%s: served by %s", client.info.id, worker)
            return worker
    logger.warning("%s: no worker available for model %s", client.info.id, client.info.model or "(default)")
    return None
