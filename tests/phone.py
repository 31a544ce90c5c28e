"""What telephone systems send: calls in 20 ms frames of 8 kHz, by AudioSocket and by Twilio Media Streams."""

import asyncio
import base64
import struct
import uuid
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from tornado.httpclient import HTTPRequest

FRAME_SAMPLES = 160
CALL = "40325ec2-5efd-4bd3-805f-53576e581d13"
SIDS = {"streamSid": "MZ1", "callSid": "CA1", "accountSid": "AC1"}


def mu_law(samples: npt.NDArray[np.int16]) -> bytes:
    """G.711: a sign, the position of the highest bit, the four bits after it, all inverted."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return bytes((~(sign | exponent << 4 | mantissa) & 0xFF).astype(np.uint8))


class Asterisk:
    """Asterisk's end of an AudioSocket."""

    def __init__(self, master: Any, call: str = CALL) -> None:
        self._port = master.audiosocket_port
        self._call = call

    async def __aenter__(self) -> "Asterisk":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        if self._call:
            await self.send(0x01, uuid.UUID(self._call).bytes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    async def send(self, kind: int, payload: bytes = b"") -> None:
        self.writer.write(struct.pack(">BH", kind, len(payload)) + payload)
        await self.writer.drain()

    async def speak(self, samples: bytes, kind: int = 0x10) -> None:
        """Sends mono int16 samples frame by frame."""
        for begin in range(0, len(samples), 2 * FRAME_SAMPLES):
            await self.send(kind, samples[begin : begin + 2 * FRAME_SAMPLES])

    async def read_all(self) -> bytes:
        """Everything that the server says until it ends the connection."""
        return await self.reader.read()


class Twilio:
    """Twilio's end of a stream."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._number = 0

    async def send(self, event: str, **fields: Any) -> None:
        self._number += 1
        await self.socket.send({"event": event, "sequenceNumber": str(self._number), **fields})

    async def start(self, tracks: tuple[str, ...] = ("inbound",), **parameters: str) -> None:
        """What comes before the audio."""
        await self.socket.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        audio = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {**SIDS, "tracks": list(tracks), "mediaFormat": audio, "customParameters": parameters}
        await self.send("start", start=start, streamSid="MZ1")

    async def speak(self, mu_law: bytes, track: str = "inbound") -> None:
        """Sends samples frame by frame."""
        for number, begin in enumerate(range(0, len(mu_law), FRAME_SAMPLES)):
            payload = base64.b64encode(mu_law[begin : begin + FRAME_SAMPLES]).decode()
            media = {"track": track, "chunk": str(number), "timestamp": str(20 * number), "payload": payload}
            await self.send("media", media=media, streamSid="MZ1")

    async def stop(self) -> None:
        await self.send("stop", stop={"accountSid": "AC1", "callSid": "CA1"}, streamSid="MZ1")


async def twilio(harness: Any, master: Any) -> Twilio:
    return Twilio(await harness.connect(f"{master.url.replace('http', 'ws')}/twilio"))


async def listener(harness: Any, master: Any, call: str, headers: dict[str, str] | None = None) -> Any:
    """A program that follows a call."""
    url = f"{master.url.replace('http', 'ws')}/client/ws/listen?id={call}"
    return await harness.connect(HTTPRequest(url, headers=headers or {}))
