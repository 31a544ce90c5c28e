"""The gate that every request to a master passes before a handler sees it.

    request --> token taken out --> proxy's headers --> path prefix --> route --> may it? --yes--> handler
                                                                                    |
                                                                                    no --> a refusal

A handler says with its attribute ``PART`` what it is part of; one that says nothing is for clients. So no
address is open because somebody forgot about it.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import (
    ErrorHandler,
    HTTPError,
    OutputTransform,
    RedirectHandler,
    RequestHandler,
    StaticFileHandler,
    stream_request_body,
)

from pykaldi_server.master.access.access import Part, Refusal, Visitor
from pykaldi_server.master.access.credentials import take_token
from pykaldi_server.master.access.origins import ANY_ORIGIN
from pykaldi_server.master.access.visitors import note_visitor, visitor_of
from pykaldi_server.master.bodies import SmallBodies
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.protocols.client_secrets import KEY_PROTOCOL
from pykaldi_server.protocols.messages import POLICY_VIOLATION, Status, clean_text, close_reason, dumps
from pykaldi_server.protocols.openai import error_object

__all__ = ["GuardedApplication", "PageHandler", "StatusPageHandler"]

logger = logging.getLogger(__name__)

REFUSED_BODY_S = 5.0
"""How long the body of a refused request may take to arrive before the answer goes out."""
OPENAI_PATHS = "/v1/"
PAGE_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'"
)
MAX_PATH_BYTES = 1000
"""The longest path of a file of the page; a file system may have files whose paths are longer."""
CHALLENGE = 'Bearer realm="pykaldi-server"'


class GuardedApplication(SmallBodies):
    """The addresses of one port.

    Args:
        hub: what the master's handlers share.
        handlers: the addresses; see `tornado.web.Application`.
        log_function: logs requests that have been answered.
    """

    def __init__(self, hub: Hub, handlers: Any, log_function: Any) -> None:
        super().__init__(
            handlers,
            transforms=[_CommonHeaders],
            log_function=log_function,
            default_handler_class=_UnknownPathHandler,
            default_handler_args={"status_code": 404},
        )
        self.hub = hub

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Tornado's: finds out who makes the request before a route is looked for."""
        visitor = self.hub.access.identify(request, take_token(request))
        note_visitor(request, visitor)
        request.remote_ip = visitor.caller.address
        prefix = self.hub.options.path_prefix.rstrip("/")
        if prefix and request.path == prefix:
            return self.get_handler_delegate(request, _PrefixHandler, {"url": f"{prefix}/"})
        if prefix and request.path.startswith(f"{prefix}/"):
            request.path = request.path.removeprefix(prefix)
        return super().find_handler(request, **kwargs)

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        """Tornado's: puts a refusal in the handler's place if it is not for the visitor."""
        visitor = visitor_of(request)
        refusal = self._refusal(request, visitor, target_class)
        if refusal is None:
            return super().get_handler_delegate(request, target_class, target_kwargs, path_args, path_kwargs)
        self.hub.metrics.errors["access_refused"] += 1
        path = quote(clean_text(request.path), safe="/")
        text = "%s %s by %s: refused with code %d: %s"
        logger.info(text, request.method, path, visitor.caller, refusal.code, refusal.text)
        if issubclass(target_class, LiveSocket) and _is_page_to_be_told(request, visitor):
            refused = {"hub": self.hub, "refusal": refusal, "target": target_class}
            return super().get_handler_delegate(request, _RefusalSocket, refused)
        return super().get_handler_delegate(request, _RefusalHandler, {"refusal": refusal})

    def _refusal(
        self, request: HTTPServerRequest, visitor: Visitor, target: type[RequestHandler]
    ) -> Refusal | None:
        # A browser's question before a request, which never has a token.
        if request.method == "OPTIONS" and visitor.is_welcome_page:
            return None
        return self.hub.access.refusal(visitor, getattr(target, "PART", Part.RECOGNITION))


def _is_page_to_be_told(request: HTTPServerRequest, visitor: Visitor) -> bool:
    """Whether this is a WebSocket of a page that may use the server.

    Pages never see why a handshake was refused, so that they are told once the WebSocket is open.
    """
    return visitor.is_welcome_page and request.headers.get("Upgrade", "").lower() == "websocket"


class PageHandler(StaticFileHandler):
    """Serves the files of the page, which load nothing from elsewhere; only allowed sites may frame them."""

    PART = Part.PAGE

    def initialize(self, hub: Hub, path: Path, default_filename: str | None = None) -> None:  # type: ignore[override]
        """Tornado's constructor for handlers."""
        super().initialize(str(path), default_filename)
        self._frames = " ".join(("'self'", *hub.options.allow_origins))

    def set_extra_headers(self, path: str) -> None:
        """Tornado's."""
        self.set_header("Content-Security-Policy", f"{PAGE_POLICY}; frame-ancestors {self._frames}")
        self.set_header("Referrer-Policy", "no-referrer")

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """Tornado's, which asks the file system, and that accepts neither of these."""
        if "\0" in absolute_path or len(absolute_path.encode(errors="replace")) > MAX_PATH_BYTES:
            raise HTTPError(404)
        return super().validate_absolute_path(root, absolute_path)


class StatusPageHandler(RequestHandler):
    """Leads from `/status` to the status page, by a relative address, which is right behind any proxy."""

    PART = Part.PAGE

    def get(self) -> None:
        """Says where the page is."""
        self.set_status(302)
        self.set_header("Location", "client/static/status.html")

    head = get


class _PrefixHandler(RedirectHandler):
    """Adds the slash without which the page's relative addresses would lead elsewhere."""

    PART = Part.PAGE


class _UnknownPathHandler(ErrorHandler):
    """Answers for paths that nothing serves."""

    PART = Part.PAGE


@stream_request_body
class _RefusalHandler(RequestHandler):
    """Answers in the place of a handler, once the body has come: many clients read only then."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    def initialize(self, refusal: Refusal) -> None:
        """Tornado's constructor for handlers."""
        self._refusal = refusal
        self._hurrying: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(REFUSED_BODY_S, self._hurry)

    def prepare(self) -> None:
        # Tornado would break a connection off in the middle of a body that is too large, without an answer.
        cast(HTTP1Connection, self.request.connection).set_max_body_size(sys.maxsize)

    def data_received(self, chunk: bytes) -> None:
        """Drops the body."""

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._timer.cancel()

    async def get(self) -> None:
        """Answers."""
        self._timer.cancel()
        if self._hurrying is None:
            await self._answer()
        else:
            await self._hurrying

    head = post = delete = patch = put = options = get

    def _hurry(self) -> None:
        """Answers before the end of the body, and reads no more of it."""
        self.set_header("Connection", "close")
        self._hurrying = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        refusal = self._refusal
        self.set_status(refusal.code)
        if refusal.code == 401:
            self.set_header("WWW-Authenticate", CHALLENGE)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        if self.request.path.startswith(OPENAI_PATHS):
            message = error_object(refusal.text, "invalid_request_error", None, "invalid_api_key")
        else:
            message = {"status": int(Status.NOT_ALLOWED), "message": refusal.text}
        try:
            await self.finish(dumps(message))
        except StreamClosedError:
            logger.debug("%s: left without its answer", visitor_of(self.request).caller)


class _RefusalSocket(LiveSocket):
    """Tells a page, in the form of the protocol that it wants to speak, and closes."""

    def initialize(self, hub: Hub, refusal: Refusal, target: type[LiveSocket]) -> None:  # type: ignore[override]
        super().initialize(hub)
        self._refusal = refusal
        self._target = target

    def __str__(self) -> str:
        return f"page at {self.caller}"

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Browsers break a WebSocket off that accepts none of what they offer."""
        return next((each for each in subprotocols if not each.startswith(KEY_PROTOCOL)), None)

    async def opened(self) -> None:
        message = self._target.refusal_message(self._refusal.text)
        if message:
            self.write_soon(message)
        self.close(POLICY_VIOLATION, close_reason(self._refusal.text))


class _CommonHeaders(OutputTransform):
    """Tells browsers which pages may read an answer (CORS), and nobody the version of a library."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._request = request

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers["Server"] = "pykaldi-server"
        headers["X-Content-Type-Options"] = "nosniff"
        allowed = visitor_of(self._request).cors_origin
        if allowed is not None:
            headers["Access-Control-Allow-Origin"] = allowed
            if allowed != ANY_ORIGIN:
                headers.add("Vary", "Origin")
        return status_code, headers, chunk
