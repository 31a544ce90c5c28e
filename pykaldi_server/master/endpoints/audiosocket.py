"""Calls of Asterisk: see `protocols.audiosocket`."""

import asyncio
import logging
from dataclasses import replace

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.calls import Call
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.tcp import TcpConnection
from pykaldi_server.protocols import audiosocket
from pykaldi_server.protocols.audiosocket import Audio, CallId, Digit, Hangup, MessageReader, PeerError
from pykaldi_server.protocols.calls import INBOUND
from pykaldi_server.protocols.gstreamer import RequestInfo, raw_audio_caps
from pykaldi_server.protocols.messages import Status

__all__ = ["AudioSocketConnection"]

logger = logging.getLogger(__name__)


class AudioSocketConnection(TcpConnection):
    """One call, of which Asterisk sends what the caller says. Asterisk hears of its end, and of errors."""

    def __init__(self, hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(hub, reader, writer)
        self._messages = MessageReader()
        self._id = "(unknown)"
        self._rate_hz = 0
        self._call: Call | None = None
        self._watch: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"call {self._id} of Asterisk at {self.caller}"

    async def receive(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            await self.hold_back()
            if self.is_finished:
                return
            match message:
                case CallId(call_id):
                    self._begin(call_id)
                case Audio(rate_hz, samples):
                    await self._send(rate_hz, samples)
                case Digit(digit) if self._call is not None:
                    self._call.press(INBOUND, digit)
                case PeerError(code):
                    logger.warning("%s: Asterisk reports error %s", self, code)
                case Hangup():
                    await self._complete()
                    self.finish(audiosocket.hangup())

    async def left(self, is_lost: bool) -> None:
        """The usual end of a call, mid-word as it may be: the rest of it is recognised."""
        await self._complete()

    def ended(self, reason: str) -> None:
        if self._call is not None:
            self._call.cancel(reason)

    def farewell(self, status: Status, text: str) -> bytes:
        return audiosocket.error(status) if status is not Status.SUCCESS else audiosocket.hangup()

    async def _complete(self) -> None:
        if self._call is not None:
            await self._call.complete()

    def _begin(self, call_id: str) -> None:
        if self._call is not None:
            raise ProtocolError(f"the id of a call: expected it once, found {call_id} after {self._id}")
        self._id = call_id
        logger.info("%s: connected", self)
        # The address is that of the telephone system, and says nothing of who is calling.
        self._call = Call(self.hub, call_id, {}, replace(self.caller, address=""), "audiosocket")
        self._watch = asyncio.create_task(self._hang_up_after(self._call))

    async def _send(self, rate_hz: int, samples: bytes) -> None:
        self._rate_hz = self._rate_hz or rate_hz
        if rate_hz != self._rate_hz:
            raise ProtocolError(f"audio: expected {self._rate_hz} Hz as before, found {rate_hz} Hz")
        info = RequestInfo(
            content_type=raw_audio_caps("S16LE", rate_hz),
            content_id=self._id,
            model=self.hub.options.audiosocket_model,
        )
        if self._call is not None:
            await self._call.send(INBOUND, info, samples)

    async def _hang_up_after(self, call: Call) -> None:
        await call.over.wait()
        self.finish(self.farewell(call.failure.status if call.failure else Status.SUCCESS, ""))
