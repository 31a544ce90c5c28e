"""Recognition over HTTP: the audio is streamed to a worker as it is uploaded, the answer comes at the end."""

import asyncio
import logging
import sys
from dataclasses import replace
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.answers import Answer, AnswerRequest
from pykaldi_server.protocols.gstreamer import EOS, RequestInfo, parse_event
from pykaldi_server.protocols.liveness import Liveness
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.worker import Position

__all__ = ["CorsHandler", "RecognizeHandler"]

logger = logging.getLogger(__name__)

NO_WORKERS = "No workers available"
REFUSED_BODY_S = 5.0
"""How long the rest of a body may take to arrive before the answer to a request that has failed goes out."""


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
        self.info = RequestInfo()
        self._relay: Relay | None = None
        self._result = Answer(self.info.id, AnswerRequest())
        self._num_bytes = 0
        self._early_end: End | None = None  # why the server itself has ended the upload
        self._is_answered = asyncio.Event()
        self._body_has_come = asyncio.Event()
        self._liveness: Liveness | None = None
        self._answering: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        if self.request.method == "OPTIONS":
            return
        # Tornado would break a connection off in the middle of a body that is too large, without an answer.
        cast(HTTP1Connection, self.request.connection).set_max_body_size(sys.maxsize)
        if int(self.request.headers.get("Content-Length") or 0) > self.hub.options.max_upload_bytes:
            self._refuse_size()
            return
        encoding = self.request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":  # Tornado has undone gzip and removed the header
            self._refuse(415, f"Content-Encoding: expected gzip or none, found {encoding!r}")
            return
        try:
            wanted = AnswerRequest.from_query(self.request.query)
            self.info = RequestInfo.from_http(self.request.headers, self.request.query)
        except ProtocolError as error:
            self._refuse(400, str(error))
            return
        if wanted.num_nbest is not None:
            self.info = replace(self.info, options={"num_nbest": wanted.num_nbest, **self.info.options})
        self._result = Answer(self.info.id, wanted)
        logger.info(
            "%s: upload by %s, user %s, content %s, type %s",
            self.info.id,
            self.request.remote_ip,
            self.info.user_id,
            self.info.content_id,
            self.info.content_type,
        )
        self._relay = Relay(self.hub, self.info, self)
        self._relay.start()
        idle_s = self.hub.options.upload_idle_s
        self._liveness = Liveness(ping=None, lost=self._stands_still, interval_s=idle_s / 4, timeout_s=idle_s)

    async def data_received(self, chunk: bytes) -> None:
        """Passes a piece of the body on; the rest of the body of a request that has failed is dropped."""
        self._num_bytes += len(chunk)
        if self._num_bytes > self.hub.options.max_upload_bytes and self._relay is not None:
            self._relay.cancel()
            self._relay = None
            self._refuse_size()
        if self._relay is not None and self._liveness is not None:
            with self._liveness.not_reading():
                await self._relay.send(chunk)

    async def post(self) -> None:
        """The whole body has come."""
        self._body_has_come.set()
        self._stop_watching()
        if self._relay is not None:
            await self._relay.send(EOS)
        await self._is_answered.wait()

    async def put(self) -> None:
        """As POST."""
        await self.post()

    async def deliver(self, event: str) -> None:
        self._result.add(parse_event(event))

    async def consumed(self, position: Position) -> None:
        """The answer comes at the end, so positions are of no interest."""

    async def end(self, end: End) -> None:
        self._stop_watching()
        if end.is_unknown_model:
            await self._answer(404, end.message)
        elif end.status is Status.NOT_AVAILABLE:
            await self._answer(503, NO_WORKERS)
        else:
            end = self._early_end or end
            content_type, body = self._result.content(end.status, end.message)
            await self._answer(200, body, content_type)

    def on_connection_close(self) -> None:
        """The client has left before its answer."""
        super().on_connection_close()
        self._stop_watching()
        if self._relay is not None and not self._relay.is_over:
            logger.info("%s: left by the client", self.info.id)
            self._relay.cancel()
        self._is_answered.set()
        self._body_has_come.set()

    def _stands_still(self) -> None:
        """Nothing of the body has come for too long: answers with what has been recognised so far."""
        assert self._relay is not None
        idle_s = self.hub.options.upload_idle_s
        self._early_end = End(Status.ABORTED, f"the upload stood still for {idle_s:g} s")
        self._answering = asyncio.ensure_future(self._relay.send(EOS))

    def _refuse_size(self) -> None:
        self._refuse(413, f"expected at most {self.hub.options.max_upload_bytes} bytes of audio, found more")

    def _refuse(self, code: int, text: str) -> None:
        """Answers without a relay once the body has come."""
        logger.warning("%s: refused: %s", self.info.id, text)
        self._answering = asyncio.ensure_future(self._answer(code, text))

    async def _answer(self, code: int, body: str, content_type: str = "text/html; charset=UTF-8") -> None:
        """Sends the answer, after the body where that comes in time: many clients read only then."""
        try:
            async with asyncio.timeout(0 if self._early_end else REFUSED_BODY_S):
                await self._body_has_come.wait()
        except TimeoutError:
            self.set_header("Connection", "close")
        self.set_status(code)
        self.set_header("Content-Type", content_type)
        try:
            await self.finish(body)
        except StreamClosedError:
            logger.info("%s: left without its answer", self.info.id)
        else:
            logger.info("%s: answered with code %d", self.info.id, code)
            logger.debug("%s: answer %s", self.info.id, body)
        finally:
            self._is_answered.set()

    def _stop_watching(self) -> None:
        if self._liveness is not None:
            self._liveness.stop()
