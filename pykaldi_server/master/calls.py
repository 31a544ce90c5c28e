"""A telephone call: its audio comes in by a telephony protocol, its results go to those who follow it.

    AudioSocket, Twilio --audio of tracks--> Call --a relay per track--> workers
    programs at /client/ws/listen <--messages of `protocols.calls`-- Call

A call that ends is recognised to its end: the last final result reaches the listeners before the end does.
"""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace

from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols import calls
from pykaldi_server.protocols.gstreamer import EOS, NO_ID, RequestInfo, audio_messages, parse_event
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.worker import Position

__all__ = ["Call"]

logger = logging.getLogger(__name__)


class Call:
    """One call, from construction until `over` is set.

    Args:
        hub: what the master's handlers share.
        call_id: what the telephone system calls it.
        parameters: for those who follow the call.
        caller: who brings the call in.
        protocol: short name of the telephone system's protocol, for metrics.

    Attributes:
        over: set when all has been recognised, or when recognition has failed.
        failure: the first error of a track; None while there is none.
        caller: who brings the call in.
        protocol: short name of the telephone system's protocol.
    """

    def __init__(
        self, hub: Hub, call_id: str, parameters: Mapping[str, str], caller: Caller, protocol: str
    ) -> None:
        self.over = asyncio.Event()
        self.failure: End | None = None
        self.caller = caller
        self.protocol = protocol
        self._hub = hub
        self._id = call_id
        self._tracks: dict[str, _Track] = {}
        self._is_complete = False
        self._topic = hub.listeners.begin(call_id)
        self._topic.publish(calls.start(call_id, parameters))
        logger.info("call %s: begins", call_id)

    async def send(self, track: str, info: RequestInfo, samples: bytes) -> None:
        """Takes the next audio of a track.

        Args:
            track: the direction.
            info: the request to the recogniser; that with the first audio of the track counts.
            samples: any number of bytes.
        """
        if self._is_complete or self.over.is_set() or not samples:
            return
        if track not in self._tracks:
            own_info = replace(info, id=str(uuid.uuid4()))
            if track != calls.INBOUND:  # the user is who calls, not who is called
                own_info = replace(own_info, user_id=NO_ID)
            logger.info("%s: %s of call %s, %s", own_info.id, track, self._id, info.content_type)
            self._tracks[track] = _Track(self._hub, self, track, own_info)
        await self._tracks[track].send(samples)

    def press(self, track: str, digit: str) -> None:
        """A key has been pressed."""
        if not self.over.is_set():
            self._topic.publish(calls.digit(self._id, track, digit))

    async def complete(self) -> None:
        """No more audio comes. Returns when all has been recognised."""
        if not self._is_complete:
            self._is_complete = True
            for track in self._tracks.values():
                await track.complete()
            self._note_ends()
        await self.over.wait()

    def cancel(self, reason: str) -> None:
        """Ends the call at once, without recognising the rest."""
        if self.over.is_set():
            return
        self._is_complete = True
        for track in self._tracks.values():
            track.cancel(reason)
        self._note_ends()

    def publish_event(self, track: str, event: str) -> None:
        """A result of a track has come."""
        message = calls.call_message(self._id, track, parse_event(event))
        if message is not None:
            self._topic.publish(message)

    def track_over(self, track: str, request_id: str, end: End) -> None:
        """The recognition of a track has ended."""
        if end.status is not Status.SUCCESS:
            self.failure = self.failure or end
            self._topic.publish(calls.error(self._id, track, end.status, end.message, request_id))
        self._note_ends()

    def _note_ends(self) -> None:
        """Ends the call when no track is recognised any more and no other may come."""
        if self.over.is_set() or not all(track.is_over for track in self._tracks.values()):
            return
        if self._is_complete or self.failure is not None:
            self._topic.publish(calls.end(self._id))
            self._topic.end()
            logger.info("call %s: ended", self._id)
            self.over.set()


class _Track:
    """One direction of a call; the sink of its relay.

    Attributes:
        is_over: nothing more comes of it.
    """

    def __init__(self, hub: Hub, call: Call, name: str, info: RequestInfo) -> None:
        self.is_over = False
        self._call = call
        self._name = name
        self._info = info
        self._relay = Relay(hub, info, self, call.caller, protocol=call.protocol)
        self._relay.start()

    async def send(self, samples: bytes) -> None:
        for message in audio_messages(samples):
            await self._relay.send(message)

    async def complete(self) -> None:
        await self._relay.send(EOS)

    def cancel(self, reason: str) -> None:
        if not self.is_over:
            self._relay.cancel()
            self._finish(End(Status.ABORTED, reason))

    async def deliver(self, event: str) -> None:
        self._call.publish_event(self._name, event)

    async def consumed(self, position: Position) -> None:
        """Those who follow calls hear nothing of positions."""

    async def end(self, end: End) -> None:
        self._finish(end)

    def _finish(self, end: End) -> None:
        if not self.is_over:
            self.is_over = True
            self._call.track_over(self._name, self._info.id, end)
