"""Tornado's WebSocket protocol, made fit for whole recordings in one message, and for floods of tiny ones.

* Each piece of a long message is a sign of life. Without that, a client on a slow line would count as lost:
  it cannot answer pings in the middle of a message.
* A message that is too long is answered by a close frame with the code 1009 and the limit. Tornado breaks
  the connection off at once, so that the peer would see a broken connection and no reason.
* After each frame, control frames and fragments included, the peer may be held back.
"""

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from pykaldi_server.protocols.messages import MESSAGE_TOO_BIG

__all__ = ["SocketProtocol"]

logger = logging.getLogger(__name__)

PIECE_BYTES = 1024**2
HEADER_BYTES = 8
"""The largest field of a frame's header."""


class SocketProtocol(WebSocketProtocol13):
    """The protocol of one connection.

    Args:
        handler: whom messages are given to.
        params: Tornado's settings of the protocol.
        heard: called whenever a piece of a message has come.
        too_long: called once, when a message is too long and the connection is being closed.
        hold_back: awaited after each frame, before the next one is read.
    """

    def __init__(
        self,
        handler: WebSocketHandler,
        params: Any,
        *,
        heard: Callable[[], None],
        too_long: Callable[[], None],
        hold_back: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(handler, mask_outgoing=False, params=params)
        self._limit_bytes: int = params.max_message_size
        params.max_message_size = sys.maxsize  # it is seen to here
        self._heard = heard
        self._too_long = too_long
        self._hold_back = hold_back

    async def _receive_frame(self) -> None:
        await super()._receive_frame()
        if not self.server_terminated:
            await self._hold_back()

    async def _read_bytes(self, n: int) -> bytes:
        """Reads a field of a frame's header, or the frame's content."""
        num_bytes = n + len(self._fragmented_message_buffer or b"")
        if num_bytes > self._limit_bytes + HEADER_BYTES:
            if not self.server_terminated:
                logger.warning("%s: a message of %d bytes refused", self.handler, num_bytes)
                self.close(MESSAGE_TOO_BIG, f"expected at most {self._limit_bytes} bytes in a message")
                self._too_long()
            await self._drop(n)
            return b""
        if n <= PIECE_BYTES:
            return await super()._read_bytes(n)
        content = bytearray(n)  # many small objects would stay in memory for longer
        for start in range(0, n, PIECE_BYTES):
            piece = await super()._read_bytes(min(PIECE_BYTES, n - start))
            content[start : start + len(piece)] = piece
            self._heard()
        return bytes(content)

    async def _drop(self, num_bytes: int) -> None:
        """Reads on, or the peer would not get to see the close frame; Tornado ends it after 5 seconds."""
        for start in range(0, num_bytes, PIECE_BYTES):
            await super()._read_bytes(min(PIECE_BYTES, num_bytes - start))
