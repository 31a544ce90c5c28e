"""The master's end of a client's WebSocket: audio goes in, results come out."""

import asyncio
import logging

from tornado.websocket import WebSocketClosedError

from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.worker_socket import WorkerSocket, find_worker
from pykaldi_server.protocols.gstreamer import (
    NORMAL_CLOSURE,
    Message,
    RequestInfo,
    Status,
    dumps,
    error_message,
    is_final,
    transcript_of,
)

logger = logging.getLogger(__name__)

NO_WORKER = "No decoder available, try again later"
WORKER_LOST = "The recogniser was lost before the recognition was complete"


class ClientSocket(LiveSocket):
    """Serves `/client/ws/speech`."""

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self.info = RequestInfo.from_query(self.request.query)
        self.worker: WorkerSocket | None = None

    def __str__(self) -> str:
        return self.info.id

    async def opened(self) -> None:
        logger.info(
            "%s: opened by %s, user %s, content %s, type %s",
            self,
            self.request.remote_ip,
            self.info.user_id,
            self.info.content_id,
            self.info.content_type,
        )
        self.worker = find_worker(self.hub, self)
        if self.worker is None:
            self._fail(Status.NOT_AVAILABLE, NO_WORKER)

    async def receive(self, message: str | bytes) -> None:
        if self.worker is not None:
            await self.worker.forward(message)

    async def deliver(self, event: Message) -> None:
        if is_final(event):
            logger.debug("%s: final: %s", self, transcript_of(event))
        try:
            async with asyncio.timeout(self.hub.options.write_timeout_s):
                await self.write_message(dumps(event))
        except WebSocketClosedError:
            self.ended()
        except TimeoutError:
            logger.warning("%s: does not read its results", self)
            self.ended()
            self.close()
        else:
            if event["status"] != Status.SUCCESS:
                logger.warning("%s: error %s: %s", self, event["status"], event.get("message", ""))
                self.ended()
                self.close(NORMAL_CLOSURE)

    def worker_gone(self, *, orderly: bool) -> None:
        self.worker = None
        if orderly:
            logger.info("%s: done", self)
            self.close(NORMAL_CLOSURE)
        else:
            self._fail(Status.ABORTED, WORKER_LOST)

    def ended(self) -> None:
        worker, self.worker = self.worker, None
        if worker is not None:
            logger.info("%s: closed", self)
            worker.release()

    def _fail(self, status: Status, text: str) -> None:
        logger.warning("%s: error %d: %s", self, status, text)
        self.tell(error_message(status, text, self.info.id))
        self.close(NORMAL_CLOSURE)
