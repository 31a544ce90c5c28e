"""Bounds the bodies of requests that are held in memory, whatever they are packed with.

Tornado has one limit for all handlers of a server, and that of unpacked content is taken from it before the
handler is known. Uploads are streamed and may be long; all other bodies are small. So the server itself has
no limit, and `SmallBodies` counts what handlers get that take their body whole.
"""

import sys
from collections.abc import Awaitable
from typing import Any

from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

__all__ = ["MAX_SMALL_BODY_BYTES", "NO_LIMIT", "SmallBodies"]

MAX_SMALL_BODY_BYTES = 1024 * 1024
NO_LIMIT = sys.maxsize
"""The limit of a server that serves `SmallBodies`."""


class SmallBodies(Application):
    """An application that refuses long bodies, unless a handler takes its body piece by piece."""

    def get_handler_delegate(self, *args: Any, **kwargs: Any) -> Any:
        delegate = super().get_handler_delegate(*args, **kwargs)
        return delegate if delegate.stream_request_body else _SmallBody(delegate)


class _SmallBody(HTTPMessageDelegate):
    """Passes a request on, up to a length of its body.

    Args:
        delegate: takes the request.
    """

    def __init__(self, delegate: HTTPMessageDelegate) -> None:
        self._delegate = delegate
        self._num_bytes = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        length = headers.get("Content-Length", "")
        self._check(int(length) if length.isdecimal() else 0)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._num_bytes += len(chunk)
        self._check(self._num_bytes)
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()

    def _check(self, num_bytes: int) -> None:
        """Tornado answers the error with 400 and closes the connection."""
        if num_bytes > MAX_SMALL_BODY_BYTES:
            raise HTTPInputError(
                f"body: expected at most {MAX_SMALL_BODY_BYTES} bytes, found {num_bytes} or more"
            )
