"""Calls of Twilio: see `protocols.twilio`."""

import asyncio
import logging

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.access import Part
from pykaldi_server.master.access.visitors import visitor_of
from pykaldi_server.master.calls import Call
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.messages import INVALID_DATA, NORMAL_CLOSURE, POLICY_VIOLATION, close_reason
from pykaldi_server.protocols.twilio import Digit, Media, Start, Stop, parse_client_message

__all__ = ["TwilioSocket"]

logger = logging.getLogger(__name__)


class TwilioSocket(LiveSocket):
    """Serves `/twilio`: one stream of a call. Nothing is sent to Twilio; closing tells it of errors."""

    PART = Part.TWILIO

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self._call: Call | None = None
        self._info = RequestInfo()
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return f"stream of Twilio at {self.caller}"

    @staticmethod
    def refusal_message(text: str) -> str | None:
        """Nothing is sent to Twilio."""
        return None

    async def opened(self) -> None:
        idle_s = self.hub.options.idle_s
        text = f"expected start within {idle_s:g} s, found none"
        self._waiting = asyncio.get_running_loop().call_later(idle_s, self._refuse, text)

    async def receive(self, message: str | bytes) -> None:
        try:
            match parse_client_message(message):
                case Start() as start:
                    self._begin(start)
                case Media(track, samples):
                    await self._begun("media").send(track, self._info, samples)
                case Digit(track, digit):
                    self._begun("dtmf").press(track, digit)
                case Stop():
                    self._complete()
        except ProtocolError as error:
            self.hub.metrics.errors["invalid_request"] += 1
            logger.warning("%s: closed: %s", self, error)
            if self._call is not None:
                self._call.cancel(str(error))
            self.close(INVALID_DATA, close_reason(str(error)))

    def ended(self) -> None:
        """Also the usual end of a call, mid-word as it may be: the rest of it is recognised."""
        self._stop_waiting()
        self._complete()

    def _begin(self, start: Start) -> None:
        if self._call is not None:
            raise ProtocolError("start: expected it once per connection, found another")
        self._stop_waiting()
        access, visitor = self.hub.access, visitor_of(self.request)
        if start.token:
            visitor = access.with_token(visitor, start.token)
        refusal = access.refusal(visitor, Part.RECOGNITION)
        if refusal is not None:
            self._refuse(f"the parameter token: {refusal.text}")
            return
        self.caller = visitor.caller
        self._info = start.request_info()
        logger.info("%s: opened, stream %s of call %s", self, start.stream_id, start.call_id)
        self._call = Call(self.hub, start.call_id, start.parameters, self.caller, "twilio")
        self._tasks.append(asyncio.create_task(self._close_after(self._call)))

    def _refuse(self, reason: str) -> None:
        logger.warning("%s: refused: %s", self, reason)
        self.close(POLICY_VIOLATION, close_reason(reason))

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _begun(self, event: str) -> Call:
        if self._call is None:
            raise ProtocolError(f"the first message of a stream: expected start, found {event}")
        return self._call

    def _complete(self) -> None:
        """Has the rest recognised, without keeping the connection from being read."""
        if self._call is not None:
            self._tasks.append(asyncio.create_task(self._call.complete()))

    async def _close_after(self, call: Call) -> None:
        await call.over.wait()
        failure = call.failure
        self.close(
            NORMAL_CLOSURE if failure is None else failure.close_code,
            None if failure is None else close_reason(failure.message),
        )
