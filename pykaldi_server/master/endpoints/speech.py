"""The speech WebSocket of kaldi-gstreamer-server: audio goes in, results come out."""

import logging
from collections.abc import Awaitable

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.relay import POSITION_BYTES, End, Relay
from pykaldi_server.protocols.gstreamer import RequestInfo, error_message, position_message
from pykaldi_server.protocols.messages import NORMAL_CLOSURE, Status, dumps
from pykaldi_server.protocols.worker import Position

__all__ = ["SpeechSocket"]

logger = logging.getLogger(__name__)

SHOWN_POSITION_BYTES = 8 * 1024
"""How often clients are told of positions that ask for them: of live audio, some times per second."""


class SpeechSocket(LiveSocket):
    """Serves `/client/ws/speech`."""

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self._relay: Relay | None = None
        self._id = "request"
        self._wants_positions = False

    def __str__(self) -> str:
        return self._id

    async def opened(self) -> None:
        try:
            info = RequestInfo.from_query(self.request.query, self.request.headers)
        except ProtocolError as error:
            info = RequestInfo()
            self.hub.metrics.errors["invalid_request"] += 1
            await self._fail(info.id, End(Status.NOT_ALLOWED, str(error)))
            return
        self._id = info.id
        self._wants_positions = info.wants_positions
        self._relay = Relay(
            self.hub,
            info,
            self,
            self.caller,
            position_bytes=SHOWN_POSITION_BYTES if info.wants_positions else POSITION_BYTES,
            protocol="kaldi",
        )
        logger.info(
            "%s: opened by %s, user %s, content %s, type %s",
            info.id,
            self.caller,
            info.user_id,
            info.content_id,
            info.content_type,
        )
        self._relay.start()

    def receive(self, message: str | bytes) -> Awaitable[None] | None:
        return self._relay.take(message) if self._relay is not None else None

    def deliver(self, event: str) -> Awaitable[object] | None:
        return self.write_all(event)

    def consumed(self, position: Position) -> Awaitable[object] | None:
        """Clients of this protocol hear of positions only if they ask for them."""
        if not self._wants_positions:
            return None
        return self.write_all(dumps(position_message(position.num_bytes, position.audio_s, self._id)))

    async def end(self, end: End) -> None:
        if end.status is Status.SUCCESS:
            self.close(NORMAL_CLOSURE)
        else:
            await self._fail(self._id, end)

    def ended(self) -> None:
        if self._relay is not None and not self._relay.is_over:
            logger.info("%s: left by the client", self)
            self._relay.cancel()

    async def _fail(self, request_id: str, end: End) -> None:
        self.write_soon(dumps(error_message(end.status, end.message, request_id, end.retry_after_s)))
        self.close(NORMAL_CLOSURE)
