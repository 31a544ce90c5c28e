"""Bounds the bodies of requests that are held in memory, whatever they are packed with.

Tornado has one limit for all handlers of a server, and that of unpacked content is taken from it before the
handler is known. Uploads are streamed and may be long; all other bodies are small. So the server itself has
no limit, and `SmallBodies` counts what handlers get that take their body whole.

Tornado looks at the length that a client states only after the handler has begun. A request whose length is
not a number does not get to its handler here; Tornado then answers with 400.
"""

import re
import sys
from collections.abc import Awaitable
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

__all__ = ["MAX_SMALL_BODY_BYTES", "NO_LIMIT", "SmallBodies"]

MAX_SMALL_BODY_BYTES = 1024 * 1024
NO_LIMIT = sys.maxsize
"""The limit of a server that serves `SmallBodies`."""
_LENGTH = re.compile(r"[0-9]{1,18}")


class SmallBodies(Application):
    """An application that refuses long bodies, unless a handler takes its body piece by piece."""

    def get_handler_delegate(self, request: HTTPServerRequest, *args: Any, **kwargs: Any) -> Any:
        delegate = super().get_handler_delegate(request, *args, **kwargs)
        limit_bytes = NO_LIMIT if delegate.stream_request_body else MAX_SMALL_BODY_BYTES
        cast(HTTP1Connection, request.connection).set_max_body_size(limit_bytes)
        return _CountedBody(delegate, limit_bytes)


class _CountedBody(HTTPMessageDelegate):
    """Passes a request on, up to a length of its body.

    Args:
        delegate: takes the request.
        limit_bytes: the longest body, unpacked.
    """

    def __init__(self, delegate: HTTPMessageDelegate, limit_bytes: int) -> None:
        self._delegate = delegate
        self._limit_bytes = limit_bytes
        self._num_bytes = 0
        self._has_begun = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if not _LENGTH.fullmatch(headers.get("Content-Length", "0")):
            return None
        self._has_begun = True
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._num_bytes += len(chunk)
        if self._num_bytes > self._limit_bytes or not self._has_begun:
            raise HTTPInputError(
                f"body: expected at most {self._limit_bytes} bytes, found {self._num_bytes} or more"
            )
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        if not self._has_begun:
            raise HTTPInputError("Content-Length: expected one number")
        self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._has_begun:
            self._delegate.on_connection_close()
