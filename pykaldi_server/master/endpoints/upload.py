"""The base of addresses that take whole recordings over HTTP: the body is streamed to a worker as it comes.

The body is the audio, or a form whose first file is the audio.
"""

import asyncio
import logging
from abc import ABC, abstractmethod

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.access import Part
from pykaldi_server.master.access.visitors import caller_of
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.limits import message_rate
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.gstreamer import EOS, RequestInfo, audio_messages
from pykaldi_server.protocols.liveness import Liveness
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.multipart import FormReader, is_form
from pykaldi_server.protocols.request_options import HEADER as OPTIONS_HEADER
from pykaldi_server.protocols.worker import Position

__all__ = ["CorsHandler", "UploadHandler"]

logger = logging.getLogger(__name__)

REFUSED_BODY_S = 5.0
"""How long the rest of a body may take to arrive before the answer to a request that has failed goes out."""


class CorsHandler(RequestHandler):
    """Answers the question of browsers whether a page of another origin may make a request.

    `master.gate` decides which pages may, and says so in every answer.
    """

    PART = Part.RECOGNITION

    METHODS = "POST, OPTIONS"
    HEADERS = (
        "origin, x-csrftoken, content-type, accept, authorization, User-Id, Content-Id, device-id, "
        f"{OPTIONS_HEADER}"
    )

    def options(self) -> None:
        """Answers a browser's preflight request."""
        self.set_header("Access-Control-Allow-Methods", self.METHODS)
        self.set_header("Access-Control-Max-Age", "1000")
        self.set_header("Access-Control-Allow-Headers", self.HEADERS)


@stream_request_body
class UploadHandler(CorsHandler, ABC):
    """One upload; it is also the sink of its relay.

    Subclasses implement `read_request`, `deliver` and `respond`, and may change how refusals look.
    """

    PROTOCOL = "upload"
    """What metrics call the protocol."""

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub
        self.caller = caller_of(self.request)
        self.info = RequestInfo()
        self._rate = message_rate(lambda: self.caller, lambda: hub.options)
        self.form: FormReader | None = None
        self._relay: Relay | None = None
        self._num_bytes = 0
        self._is_refused = False
        self._early_end: End | None = None  # why the server itself has ended the upload
        self._is_answered = asyncio.Event()
        self._body_has_come = asyncio.Event()
        self._liveness: Liveness | None = None
        self._answering: asyncio.Task[None] | None = None

    @abstractmethod
    def read_request(self) -> RequestInfo:
        """Understands the request. Called before the audio is passed on, when `may_read_request` says so.

        Raises:
            ProtocolError: the request is invalid.
        """

    def may_read_request(self, form: FormReader) -> bool:
        """Whether what has come of a form is enough to understand the request; at its end it has to be."""
        return True

    @abstractmethod
    async def deliver(self, event: str) -> None:
        """See `Sink`."""

    @abstractmethod
    async def respond(self, end: End) -> None:
        """Answers the request, by `answer`."""

    async def body_has_come(self) -> None:
        """The whole body has come, and the request has been understood.

        Raises:
            ProtocolError: something that only the whole form says is invalid.
        """

    def refusal(self, code: int, text: str, error: ProtocolError | None = None) -> tuple[str, str]:
        """The content type and the body of an answer that refuses the request, because of an error if any."""
        return "text/html; charset=UTF-8", text

    async def consumed(self, position: Position) -> None:
        """The answer comes at the end, so positions are of no interest."""

    async def end(self, end: End) -> None:
        self._stop_watching()
        await self.respond(self._early_end or end)

    def prepare(self) -> None:
        if self.request.method != "POST" and self.request.method != "PUT":
            return
        if int(self.request.headers.get("Content-Length") or 0) > self.hub.options.max_upload_bytes:
            self._refuse_size()
            return
        encoding = self.request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":  # Tornado has undone gzip and removed the header
            self.refuse(415, f"Content-Encoding: expected gzip or none, found {encoding!r}")
            return
        idle_s = self.hub.options.upload_idle_s
        self._liveness = Liveness(ping=None, lost=self._stands_still, interval_s=idle_s / 4, timeout_s=idle_s)
        content_type = self.request.headers.get("Content-Type", "")
        try:
            if is_form(content_type):
                self.form = FormReader(content_type)
            else:
                self._start()
        except ProtocolError as error:
            self.refuse(400, str(error), error)

    async def data_received(self, chunk: bytes) -> None:
        """Passes a piece of the body on; the rest of the body of a request that has failed is dropped."""
        if self._is_refused or self._liveness is None:
            return
        self._num_bytes += len(chunk)
        if self._num_bytes > self.hub.options.max_upload_bytes:
            self._refuse_size()
            return
        audio = chunk
        if self.form is not None:
            try:
                audio = self.form.feed(chunk)
                if (
                    self._relay is None
                    and self.form.file_name is not None
                    and self.may_read_request(self.form)
                ):
                    self._start()
            except ProtocolError as error:
                self.refuse(400, str(error), error)
                return
        with self._liveness.not_reading():
            await self._pass_on(audio)
            delay_s = self._rate.delay_s()
            if delay_s:  # pieces of a byte are as much work as pieces of a second
                await asyncio.sleep(delay_s)

    async def post(self) -> None:
        """The whole body has come."""
        self._body_has_come.set()
        self._stop_watching()
        if not self._is_refused:
            try:
                if self.form is not None:
                    self.form.finish()
                if self._relay is None or not self._relay.is_started:
                    self._start()
                await self.body_has_come()
            except ProtocolError as error:
                self.refuse(400, str(error), error)
        if self._relay is not None:
            await self._relay.send(EOS)
        await self._is_answered.wait()

    async def put(self) -> None:
        """As POST."""
        await self.post()

    def on_connection_close(self) -> None:
        """The client has left before its answer."""
        super().on_connection_close()
        self._stop_watching()
        if self._relay is not None and not self._relay.is_over and not self._is_refused:
            logger.info("%s: left by the client", self.info.id)
            self._relay.cancel()
        self._is_answered.set()
        self._body_has_come.set()

    def refuse(self, code: int, text: str, error: ProtocolError | None = None) -> None:
        """Gives the request up and has it answered with an error."""
        if self._is_refused:
            return
        if self._relay is not None and not self._relay.is_over:
            self._relay.cancel()
        self._relay = None
        self._is_refused = True
        self._answering = asyncio.ensure_future(self.answer_refusal(code, text, error))

    async def answer_refusal(self, code: int, text: str, error: ProtocolError | None = None) -> None:
        """Answers with an error once the body has come, and drops the rest of it."""
        self._is_refused = True
        self.hub.metrics.errors["invalid_request"] += 1
        logger.warning("%s: refused: %s", self.info.id, text)
        content_type, body = self.refusal(code, text, error)
        await self.answer(code, body, content_type)

    def set_retry_after(self, end: End) -> None:
        """Says in the header when it is worth trying again, also to programs in pages."""
        if end.retry_after_s:
            self.set_header("Retry-After", str(end.retry_after_s))
            self.set_header("Access-Control-Expose-Headers", "Retry-After")

    async def answer(self, code: int, body: str, content_type: str) -> None:
        """Sends the answer, after the body where that comes in time: many clients read only then."""
        try:
            async with asyncio.timeout(0 if self._early_end else REFUSED_BODY_S):
                await self._body_has_come.wait()
        except TimeoutError:
            self.set_header("Connection", "close")
        self.set_status(code)
        self.set_header("Content-Type", content_type)
        await self.finish_with(body)

    async def finish_with(self, body: str) -> None:
        """Sends the last part of the answer."""
        try:
            await self.finish(body)
        except StreamClosedError:
            logger.info("%s: left without its answer", self.info.id)
        else:
            logger.info("%s: answered with code %d", self.info.id, self.get_status())
            logger.debug("%s: answer %s", self.info.id, body)
        finally:
            self._is_answered.set()

    def _start(self) -> None:
        """Understands the request and begins to look for a worker."""
        self.info = self.read_request()
        if self._relay is None:
            self._relay = Relay(self.hub, self.info, self, self.caller, protocol=self.PROTOCOL)
        logger.info(
            "%s: upload by %s, user %s, content %s, type %s",
            self.info.id,
            self.caller,
            self.info.user_id,
            self.info.content_id,
            self.info.content_type,
        )
        self._relay.start(self.info)

    async def _pass_on(self, audio: bytes) -> None:
        if not audio:
            return
        if self._relay is None:  # what is known of the request is not enough yet: the relay keeps the audio
            self._relay = Relay(self.hub, self.info, self, self.caller, protocol=self.PROTOCOL)
        for message in audio_messages(audio):
            await self._relay.send(message)

    def _stands_still(self) -> None:
        """Nothing of the body has come for too long: answers with what has been recognised so far."""
        text = f"the upload stood still for {self.hub.options.upload_idle_s:g} s"
        if self._relay is None or not self._relay.is_started:
            self.refuse(408, text)
            return
        self._early_end = End(Status.ABORTED, text)
        self._answering = asyncio.ensure_future(self._relay.send(EOS))

    def _refuse_size(self) -> None:
        self.refuse(413, f"expected at most {self.hub.options.max_upload_bytes} bytes of audio, found more")

    def _stop_watching(self) -> None:
        if self._liveness is not None:
            self._liveness.stop()
