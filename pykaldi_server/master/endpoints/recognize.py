"""Recognition over HTTP: the audio is streamed to a worker as it is uploaded, the answer comes at the end."""

import asyncio
import logging
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from pykaldi_server.master.endpoints.speech import WORKER_LOST
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.liveness import Liveness
from pykaldi_server.master.worker_socket import WorkerSocket, find_worker
from pykaldi_server.protocols.gstreamer import (
    EOS,
    HttpResult,
    Message,
    RequestInfo,
    Status,
    dumps,
    error_message,
)

logger = logging.getLogger(__name__)

NO_WORKERS = "No workers available"


class CorsHandler(RequestHandler):
    """Lets pages from anywhere use the HTTP interface, with the headers that the original sends."""

    METHODS = "POST, OPTIONS"

    def set_default_headers(self) -> None:
        self.set_header("Access-Control-Allow-Origin", "*")

    def options(self) -> None:
        """Answers a browser's preflight request."""
        self.set_header("Access-Control-Allow-Methods", self.METHODS)
        self.set_header("Access-Control-Max-Age", "1000")
        self.set_header(
            "Access-Control-Allow-Headers",
            "origin, x-csrftoken, content-type, accept, User-Id, Content-Id, device-id",
        )


@stream_request_body
class RecognizeHandler(CorsHandler):
    """Serves `PUT|POST /client/dynamic/recognize`."""

    METHODS = "POST, PUT, OPTIONS"
    SUPPORTED_METHODS = ("POST", "PUT", "OPTIONS")

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub
        self.info = RequestInfo.from_http(self.request.headers, self.request.query)
        self.worker: WorkerSocket | None = None
        self._result = HttpResult(self.info.id)
        self._worker_done = asyncio.Event()
        self._liveness: Liveness | None = None

    def prepare(self) -> None:
        if self.request.method == "OPTIONS":
            return
        logger.info(
            "%s: upload by %s, user %s, content %s, type %s",
            self.info.id,
            self.request.remote_ip,
            self.info.user_id,
            self.info.content_id,
            self.info.content_type,
        )
        connection = cast(HTTP1Connection, self.request.connection)
        connection.set_max_body_size(self.hub.options.max_upload_bytes)
        self.worker = find_worker(self.hub, self)
        if self.worker is None:
            self.set_status(503)
            self.finish(NO_WORKERS)
            return
        idle_s = self.hub.options.upload_idle_s
        self._liveness = Liveness(ping=None, lost=connection.close, interval_s=idle_s / 4, timeout_s=idle_s)

    async def data_received(self, chunk: bytes) -> None:
        """Passes a piece of the body on; the rest of the body of a request that has failed is dropped."""
        if self.worker is not None and self._liveness is not None:
            with self._liveness.not_reading():
                await self.worker.forward(chunk)

    async def post(self) -> None:
        """The whole body has come."""
        self._stop_watching()
        if self.worker is not None:
            await self.worker.forward(EOS)
        await self._worker_done.wait()
        response = self._result.response()
        try:
            await self.finish(response)
        except StreamClosedError:
            logger.info("%s: left without its answer", self.info.id)
        else:
            logger.info("%s: answered with status %d", self.info.id, response["status"])
            logger.debug("%s: answer %s", self.info.id, dumps(response))

    async def put(self) -> None:
        """As POST."""
        await self.post()

    async def deliver(self, event: Message) -> None:
        self._result.add(event)

    def worker_gone(self, *, orderly: bool) -> None:
        self.worker = None
        if not orderly:
            self._result.add(error_message(Status.ABORTED, WORKER_LOST, self.info.id))
        self._worker_done.set()

    def on_connection_close(self) -> None:
        """The client has left before its answer."""
        super().on_connection_close()
        self._stop_watching()
        worker, self.worker = self.worker, None
        if worker is not None:
            logger.info("%s: closed by the client", self.info.id)
            worker.release()
            self._worker_done.set()

    def _stop_watching(self) -> None:
        if self._liveness is not None:
            self._liveness.stop()
