"""Clients that are telephone calls: Asterisk's and Twilio's, with a program that follows each call."""

import base64
import json
import struct
import uuid
from collections.abc import AsyncIterator

from live_clients import Client, Json, Lost, SocketClient, StreamClient, connect, native_result
from recordings import Form
from tornado.websocket import WebSocketClientConnection

__all__ = ["AsteriskClient", "TwilioClient"]


class CallClient(Client):
    """A call, whose words go to a program that follows it. The end of the connection is an ordinary end."""

    follower: WebSocketClientConnection | None = None

    async def follow(self, call: str) -> None:
        self.follower = await connect(
            f"ws://{self.address.host}:{self.address.port}/client/ws/listen?id={call}"
        )

    async def results(self) -> AsyncIterator[str]:
        assert self.follower is not None
        while (message := await self.follower.read_message()) is not None:
            event = json.loads(message)
            if event.get("event") == "end":
                self.close_follower()
                return
            if (text := native_result(self, event)) is not None:
                yield text
        raise Lost(f"the call's listener was closed with {self.follower.close_code}")

    def close_follower(self) -> None:
        if self.follower is not None:
            self.follower.close()


class AsteriskClient(CallClient, StreamClient):
    """A call of Asterisk, by AudioSocket."""

    form = Form(8000)

    async def open(self) -> None:
        call = uuid.uuid4()
        await self.follow(str(call))
        await self.connect(self.address.audiosocket_port)
        await self.send_message(0x01, call.bytes)

    async def send_message(self, kind: int, payload: bytes = b"") -> None:
        await self.write(struct.pack(">BH", kind, len(payload)) + payload)

    async def send(self, piece: bytes) -> None:
        await self.send_message(0x10, piece)

    async def finish(self) -> None:
        await self.send_message(0x00)

    def vanish(self) -> None:
        self.close_follower()
        super().vanish()


class TwilioClient(CallClient, SocketClient):
    """A call of Twilio's Media Streams."""

    path = "/twilio"
    form = Form(8000, is_mu_law=True)

    async def open(self) -> None:
        call = f"CA{uuid.uuid4().hex}"
        self.stream_sid = f"MZ{uuid.uuid4().hex}"
        await self.follow(call)
        await super().open()
        audio = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start: Json = {
            "streamSid": self.stream_sid,
            "callSid": call,
            "accountSid": "AC0",
            "tracks": ["inbound"],
        }
        start |= {"mediaFormat": audio, "customParameters": {}}
        await self.write({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        await self.write({"event": "start", "start": start, "streamSid": self.stream_sid})

    async def send(self, piece: bytes) -> None:
        media = {"track": "inbound", "payload": base64.b64encode(piece).decode()}
        await self.write({"event": "media", "media": media, "streamSid": self.stream_sid})

    async def finish(self) -> None:
        await self.write({"event": "stop", "streamSid": self.stream_sid})

    def vanish(self) -> None:
        self.close_follower()
        super().vanish()
