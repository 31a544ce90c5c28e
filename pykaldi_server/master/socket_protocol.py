"""Tornado's WebSocket protocol, made fit for whole recordings in one message, and for floods of tiny ones.

* Each piece of a long message is a sign of life. Without that, a client on a slow line would count as lost:
  it cannot answer pings in the middle of a message.
* A message that is too long is answered by a close frame with the code 1009 and the limit. Tornado breaks
  the connection off at once, so that the peer would see a broken connection and no reason.
* A text message that is not UTF-8, such as audio in a message of the wrong type, is answered by a close frame
  with the code 1007. Tornado breaks the connection off.
* Messages that arrive at the same time have a bounded amount of memory. When it is used up, those that take
  more than their share of it are answered by a close frame with the code 1013.
* After each frame, control frames and fragments included, the peer may be held back.
* A peer on a slow line takes long to get what was sent before the close frame. Tornado breaks off 5 seconds
  after that; here a connection that moves has a minute.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.websocket import WebSocketHandler

from pykaldi_server.protocols.messages import INVALID_DATA, MESSAGE_TOO_BIG, TRY_AGAIN_LATER
from pykaldi_server.protocols.store import Holding, StoreBudget
from pykaldi_server.sockets import TEXT, Backlog, QuickProtocol

__all__ = ["SocketProtocol"]

logger = logging.getLogger(__name__)

CLOSING_S = 5.0
"""How long a peer may take to answer a close frame, once it can have got that."""
CLOSING_ROUNDS = 12
"""How often as long it may take to get it."""
PIECE_BYTES = 1024**2
NO_MEMORY = "too many large messages arrive at the same time; try again later, or send smaller ones"
NO_TEXT = "expected UTF-8 in a text message, found other bytes; audio belongs in binary messages"
HEADER_BYTES = 8
"""The largest field of a frame's header."""


class SocketProtocol(QuickProtocol):
    """The protocol of one connection.

    Args:
        handler: whom messages are given to.
        params: Tornado's settings of the protocol.
        heard: called whenever a piece of a message has come.
        refused: called once, when a message is not accepted and the connection is being closed.
        arriving: what messages may hold together while they arrive.
        hold_back: called after each frame; what it returns, if anything, is awaited before the next is read.
    """

    def __init__(
        self,
        handler: WebSocketHandler,
        params: Any,
        *,
        heard: Callable[[], None],
        refused: Callable[[], None],
        arriving: StoreBudget,
        hold_back: Callable[[], Awaitable[None] | None],
    ) -> None:
        super().__init__(handler, mask_outgoing=False, params=params)
        self._limit_bytes: int = params.max_message_size
        self.whole_bytes = min(self.whole_bytes, self._limit_bytes)
        params.max_message_size = sys.maxsize  # it is seen to here
        self._heard = heard
        self._refused = refused
        self._held = Holding(arriving)
        self._hold_back = hold_back

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Sends a close frame, and breaks the connection off if no answer comes in time."""
        is_first = self._waiting is None
        super().close(code, reason)
        if is_first and self._waiting is not None and self.stream is not None:
            self.stream.io_loop.remove_timeout(self._waiting)
            backlog = Backlog(self.stream)
            backlog.is_moving()  # compares from now on
            self._wait_for_close(backlog, CLOSING_ROUNDS)

    def _wait_for_close(self, backlog: Backlog, rounds: int) -> None:
        loop = asyncio.get_running_loop()

        def look() -> None:
            if rounds > 1 and backlog.is_moving():
                self._wait_for_close(backlog, rounds - 1)
            else:
                self._abort()

        self._waiting = loop.call_later(CLOSING_S, look)

    async def _receive_frame_loop(self) -> None:
        try:
            await super()._receive_frame_loop()
        finally:
            self._held.set(0)

    async def _receive_frame(self) -> None:
        await super()._receive_frame()
        if self._held.num_bytes != self._fragment_bytes:
            self._held.set(self._fragment_bytes)

    def _held_back(self) -> Awaitable[None] | None:
        return None if self.server_terminated else self._hold_back()

    def _handle_message(self, opcode: int, data: bytes) -> Any:
        if opcode != TEXT or self.client_terminated:
            return super()._handle_message(opcode, data)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            if not self.server_terminated:
                self._close_because(INVALID_DATA, NO_TEXT)
            return None
        return self._run_callback(self.handler.on_message, text)

    async def _read_bytes(self, n: int) -> bytes:
        """Reads a field of a frame's header, or the frame's content."""
        num_bytes = n + self._fragment_bytes
        if num_bytes > self._limit_bytes + HEADER_BYTES:
            reason = f"expected at most {self._limit_bytes} bytes in a message"
            return await self._refuse(MESSAGE_TOO_BIG, reason, n)
        if n <= HEADER_BYTES:
            return await super()._read_bytes(n)
        if n <= PIECE_BYTES:
            if self._fragment_bytes > PIECE_BYTES and self._held.is_full:
                return await self._refuse(TRY_AGAIN_LATER, NO_MEMORY, n)
            return await super()._read_bytes(n)
        content = bytearray(n)  # many small objects would stay in memory for longer
        for start in range(0, n, PIECE_BYTES):
            piece = await super()._read_bytes(min(PIECE_BYTES, n - start))
            content[start : start + len(piece)] = piece
            self._heard()
            self._held.set(self._fragment_bytes + start + len(piece))
            if self._held.is_full:
                content.clear()
                return await self._refuse(TRY_AGAIN_LATER, NO_MEMORY, n - start - len(piece))
        return bytes(content)

    @property
    def _fragment_bytes(self) -> int:
        """How much has come of a message in fragments."""
        return len(self._fragmented_message_buffer or b"")

    async def _refuse(self, code: int, reason: str, num_bytes: int) -> bytes:
        """Closes the connection because of a message of which so much is still to come."""
        if not self.server_terminated:
            self._close_because(code, reason)
        if self._fragmented_message_buffer is not None:
            self._fragmented_message_buffer.clear()
        self._held.set(0)
        await self._drop(num_bytes)
        return b""

    def _close_because(self, code: int, reason: str) -> None:
        logger.warning("%s: a message refused: %s", self.handler, reason)
        self.close(code, reason)
        self._refused()

    async def _drop(self, num_bytes: int) -> None:
        """Reads on, or the peer would not get to see the close frame; Tornado ends it after 5 seconds."""
        for start in range(0, num_bytes, PIECE_BYTES):
            await super()._read_bytes(min(PIECE_BYTES, num_bytes - start))
