"""The base of the master's WebSockets: pings, end of life, and writes that never pile up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.websocket import (
    WebSocketClosedError,
    WebSocketHandler,
    WebSocketProtocol,
    WebSocketProtocol13,
)

from pykaldi_server.master.access.access import Part
from pykaldi_server.master.access.visitors import caller_of
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.limits import message_rate
from pykaldi_server.master.socket_protocol import SocketProtocol
from pykaldi_server.protocols.gstreamer import NO_ID, error_message
from pykaldi_server.protocols.liveness import Liveness, watch_close_frame
from pykaldi_server.protocols.messages import GOING_AWAY, MESSAGE_TOO_BIG, Status, dumps, message_bytes
from pykaldi_server.sockets import Backlog

__all__ = ["LiveSocket"]

logger = logging.getLogger(__name__)

MAX_TEXT_BYTES = 8 * 1024**2
"""Text messages are passed on whole, to workers that take at most 10 MiB at once; audio may be longer."""


class LiveSocket(WebSocketHandler):
    """A WebSocket whose peer is pinged, and that ends exactly once.

    Subclasses implement `opened`, `receive` and `ended`. The event `closed` is set when all is over.

    Attributes:
        caller: the peer.
    """

    PART = Part.RECOGNITION
    MAX_TEXT_BYTES = MAX_TEXT_BYTES
    kind = "client"

    @staticmethod
    def refusal_message(text: str) -> str | None:
        """What a page without the right token is told in the form of the protocol; None only closes."""
        return dumps(error_message(Status.NOT_ALLOWED, text, NO_ID))

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub
        self.caller = caller_of(self.request)
        self._rate = message_rate(lambda: self.caller, lambda: hub.options)
        self._liveness: Liveness | None = None
        self._has_ended = False
        self._peer_has_closed: Callable[[], bool] = lambda: False
        self.closed = asyncio.Event()

    def hold_back(self) -> Awaitable[None] | None:
        """Is called before the next message is read; where there have been too many, that has to wait."""
        delay_s = self._rate.delay_s()
        return self._not_reading(asyncio.sleep(delay_s)) if delay_s else None

    async def opened(self) -> None:
        """The connection is open; messages are read once this has returned."""

    def receive(self, message: str | bytes) -> Awaitable[None] | None:
        """A message has come.

        Returns:
            The back-pressure: nothing more is read from the peer until it is done; None reads on.
        """
        return None

    def ended(self) -> None:
        """The peer has closed or is lost. Called once."""

    def write_soon(self, message: str | bytes) -> "asyncio.Future[None] | None":
        """Sends a message; the result is done when that has been written, None when the peer is gone."""
        try:
            written = self.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            return None
        if not written.done():
            written.add_done_callback(_retrieve_exception)
        return written

    def write_all(self, *messages: str | bytes) -> Awaitable[object] | None:
        """Sends messages.

        Their order is that of the calls. Cancelling what is returned leaves the messages on their way.

        Returns:
            What is done when they are written or the peer is gone (`ended` tells which); None if that is now.
        """
        waiting = []
        for message in messages:
            written = self.write_soon(message)
            if written is not None and not written.done():
                waiting.append(written)
        return asyncio.wait(waiting) if waiting else None

    @property
    def peer_has_closed(self) -> bool:
        """Whether the peer has sent a close frame; `close_code` is its code, if it has one."""
        return self._peer_has_closed()

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain = super().get_websocket_protocol()
        if not isinstance(plain, WebSocketProtocol13):
            return plain
        protocol = SocketProtocol(
            self,
            plain.params,
            heard=self._heard,
            refused=self._end,
            arriving=self.hub.arriving,
            hold_back=self.hold_back,
        )
        self._peer_has_closed = watch_close_frame(protocol)
        return protocol

    @property
    def max_message_size(self) -> int:
        return self.hub.options.max_message_bytes

    def check_origin(self, origin: str) -> bool:
        """Tornado's; `master.gate` has seen to it."""
        return True

    async def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        options = self.hub.options
        assert self.ws_connection is not None
        assert self.ws_connection.stream is not None
        self._liveness = Liveness(
            ping=self._ping_peer,
            lost=self._peer_lost,
            interval_s=options.ping_interval_s,
            timeout_s=options.silence_timeout_s,
            is_late=Backlog(self.ws_connection.stream).is_moving,
        )
        self.hub.sockets.add(self)
        with self._liveness.not_reading():
            await self.opened()

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        self._heard()
        limit = self.MAX_TEXT_BYTES
        if isinstance(message, str) and message_bytes(message) > limit and not self._has_ended:
            self.close(MESSAGE_TOO_BIG, f"expected at most {limit} bytes in a text message")
            self._end()
        if self._has_ended:
            return None
        receiving = self.receive(message)
        return None if receiving is None else self._not_reading(receiving)

    def on_ping(self, data: bytes) -> None:
        self.on_pong(data)

    def on_pong(self, data: bytes) -> None:
        self._heard()

    def on_close(self) -> None:
        if self._liveness is not None:
            self._liveness.stop()
        self.hub.sockets.discard(self)
        self._end()
        self.closed.set()

    async def _not_reading(self, waiting: Awaitable[None]) -> None:
        """Waits; meanwhile the silence of the peer proves nothing."""
        assert self._liveness is not None
        with self._liveness.not_reading():
            await waiting

    def _heard(self) -> None:
        if self._liveness is not None:
            self._liveness.heard()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self.ended()

    def _ping_peer(self) -> None:
        try:
            self.ping()
        except WebSocketClosedError:
            logger.debug("%s: no ping: the connection is closing", self)

    def _peer_lost(self) -> None:
        self.hub.metrics.errors["silent_peer"] += 1
        logger.warning("%s: no sign of life for %g s", self, self.hub.options.silence_timeout_s)
        self._end()
        self.close(GOING_AWAY, "no sign of life")


def _retrieve_exception(written: "asyncio.Future[Any]") -> None:
    """Looks at the outcome, so that asyncio does not complain that nobody did."""
    if not written.cancelled() and written.exception() is not None:
        logger.debug("a message found its peer gone")
