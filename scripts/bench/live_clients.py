"""Clients of WebSockets, uploads and Wyoming behind one face: audio in, what is shown out.

Whatever the protocol, a client learns that it is refused (`Refused`: 9, 503 or 429), is told of an error
(`Told`), or is left without a word (`Lost`).
"""

import asyncio
import base64
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from recordings import Form
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from pykaldi_server.protocols.wyoming import Event, EventReader

__all__ = [
    "Address",
    "Client",
    "Failure",
    "Json",
    "KaldiClient",
    "Lost",
    "OpenAIClient",
    "RealtimeClient",
    "Refused",
    "SocketClient",
    "StreamClient",
    "Told",
    "UploadClient",
    "VoskClient",
    "WyomingClient",
    "connect",
    "native_result",
]

Json = dict[str, Any]
CONNECT_TIMEOUT_S = 20.0
HTTP_REFUSALS = {503: "503", 429: "429"}
TRY_AGAIN_LATER = 1013  # the close code that says what status 9 says
NORMAL_CLOSURE = 1000
NOT_AVAILABLE = 9
MAX_EVENT_BYTES = 10**6
WINDOW_BYTES = 1024


class Failure(Exception):
    """Why a stream has not got all of its words."""


class Refused(Failure):
    """The server has no room. `str` gives the kind: 9, 503 or 429."""


class Told(Failure):
    """The server has reported an error."""


class Lost(Failure):
    """The server has ended the stream without results and without an error."""


@dataclass(frozen=True)
class Address:
    """Where a server listens; ports that it does not have are None."""

    host: str
    port: int
    vosk_port: int | None = None
    wyoming_port: int | None = None
    audiosocket_port: int | None = None


class Display:
    """What a person sees: segments that are final, and the current partial result."""

    def __init__(self) -> None:
        self._finals: list[str] = []
        self._partial = ""

    def show(self, text: str, is_final: bool) -> str:
        """Takes the next result; returns all that is shown now."""
        if is_final:
            self._finals.append(text)
        self._partial = "" if is_final else text
        return " ".join(filter(None, (*self._finals, self._partial)))


class Client(ABC):
    """A client of one protocol, for one stream.

    Args:
        address: of the server.
        rate_hz: rate of the audio that it is going to send.

    Attributes:
        form: how it sends audio.
        shows_partials: whether words are shown as soon as they are recognised. Elsewhere they come when they
            are certain, or with the end of a segment or of the stream.
    """

    form: ClassVar[Form] = Form()
    shows_partials: ClassVar[bool] = True

    def __init__(self, address: Address, rate_hz: int) -> None:
        self.address = address
        self.rate_hz = rate_hz
        self.request_id = ""
        self.display = Display()

    @abstractmethod
    async def open(self) -> None:
        """Connects, up to where audio may come."""

    @abstractmethod
    async def send(self, piece: bytes) -> None:
        """Sends audio in the client's form."""

    @abstractmethod
    async def finish(self) -> None:
        """Says that this was all."""

    @abstractmethod
    def results(self) -> AsyncIterator[str]:
        """All that is shown, whenever it changes, until the server has ended the stream in good order."""

    @abstractmethod
    def vanish(self) -> None:
        """Breaks the connection without a word."""


def native_result(client: Client, message: Json) -> str | None:
    """What is shown after a message in the form of the original server; None if it has no result."""
    client.request_id = message.get("id", client.request_id)
    status = message.get("status", 0)
    if status:
        text = f"{status}: {message.get('message')}"
        raise Refused("9") if status == NOT_AVAILABLE else Told(text)
    if (result := message.get("result")) is None:
        return None
    transcript = result["hypotheses"][0]["transcript"]
    return client.display.show(transcript, bool(result.get("final")))


async def connect(url: str) -> WebSocketClientConnection:
    """Opens a WebSocket; one that nobody waits for any more is closed when it has been opened."""
    request = HTTPRequest(url, connect_timeout=CONNECT_TIMEOUT_S)
    connecting = asyncio.ensure_future(websocket_connect(request))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(close_connected)
        raise
    except HTTPClientError as error:
        if error.code in HTTP_REFUSALS:
            raise Refused(HTTP_REFUSALS[error.code]) from None
        raise Told(f"HTTP {error.code} {error.message}") from None
    except OSError as error:
        raise Told(f"cannot connect: {error}") from None


def close_connected(connecting: "asyncio.Future[WebSocketClientConnection]") -> None:
    """Closes a connection that has been opened; one that has failed needs nothing."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


class SocketClient(Client):
    """A client on a WebSocket."""

    path: ClassVar[str]
    socket: WebSocketClientConnection | None = None

    def url(self) -> str:
        return f"ws://{self.address.host}:{self.address.port}{self.path}"

    async def open(self) -> None:
        self.socket = await connect(self.url())

    async def write(self, message: str | bytes | Json) -> None:
        assert self.socket is not None
        text = json.dumps(message) if isinstance(message, dict) else message
        # What the server has to say to one whose stream it has ended comes with the results.
        with suppress(WebSocketClosedError):
            await self.socket.write_message(text, binary=isinstance(text, bytes))

    async def send(self, piece: bytes) -> None:
        await self.write(piece)

    async def messages(self) -> AsyncIterator[Json]:
        """What the server sends, up to a close in good order."""
        assert self.socket is not None
        while (message := await self.socket.read_message()) is not None:
            yield json.loads(message)
        code, reason = self.socket.close_code, self.socket.close_reason
        if code == TRY_AGAIN_LATER:
            raise Refused("9")
        if code is None:
            raise Lost("the connection broke")
        if code != NORMAL_CLOSURE:
            raise Told(f"closed with {code}: {reason}")

    def vanish(self) -> None:
        if self.socket is not None and self.socket.protocol is not None:
            stream = self.socket.protocol.stream
            if stream is not None:
                stream.close()

    def read_nothing(self) -> None:
        """Takes next to nothing from the network from now on, if nobody awaits `results`."""
        assert self.socket is not None
        assert self.socket.protocol is not None
        assert self.socket.protocol.stream is not None
        self.socket.protocol.stream.socket.setsockopt(socket.SOL_TCP, socket.TCP_WINDOW_CLAMP, WINDOW_BYTES)


class KaldiClient(SocketClient):
    """The WebSocket of kaldi-gstreamer-server."""

    path = "/client/ws/speech"

    def url(self) -> str:
        return f"{super().url()}?{urlencode({'content-type': self.form.caps(self.rate_hz)})}"

    async def finish(self) -> None:
        await self.write("EOS")

    async def results(self) -> AsyncIterator[str]:
        async for message in self.messages():
            if (text := native_result(self, message)) is not None:
                yield text


class VoskClient(SocketClient):
    """A client of vosk-server, or of this server as one."""

    path = ""

    def url(self) -> str:
        port = self.address.vosk_port or self.address.port
        return f"ws://{self.address.host}:{port}/"

    async def open(self) -> None:
        await super().open()
        config = {"sample_rate": self.rate_hz, "words": False, "max_segment_words": 0}
        await self.write({"config": config})

    async def finish(self) -> None:
        await self.write('{"eof" : 1}')

    async def results(self) -> AsyncIterator[str]:
        async for reply in self.messages():
            text = str(reply.get("text", reply.get("partial", "")))
            yield self.display.show(text, is_final="text" in reply)


class RealtimeClient(SocketClient):
    """OpenAI's realtime API: one item per stream, which the client commits."""

    path = "/v1/realtime?intent=transcription"
    form = Form(24000)
    shows_partials = False

    async def open(self) -> None:
        await super().open()
        settings = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        await self.write({"type": "session.update", "session": settings})

    async def send(self, piece: bytes) -> None:
        audio = base64.b64encode(piece).decode()
        await self.write({"type": "input_audio_buffer.append", "audio": audio})

    async def finish(self) -> None:
        await self.write({"type": "input_audio_buffer.commit"})

    async def results(self) -> AsyncIterator[str]:
        text = error = ""
        try:
            async for event in self.messages():
                kind = event["type"]
                if kind.endswith(".delta"):
                    text += event["delta"]
                    yield text
                elif kind.endswith(".completed"):
                    yield event["transcript"]
                    return
                elif kind.endswith(".failed") or kind == "error":
                    error = str(event["error"]["message"])
        except Lost:
            raise Told(error) if error else Lost("the connection broke") from None
        raise Told(error) if error else Lost("closed before the item was complete")


class StreamClient(Client):
    """A client on a TCP connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter | None = None

    async def connect(self, port: int | None) -> None:
        assert port is not None
        try:
            self.reader, self.writer = await asyncio.open_connection(self.address.host, port)
        except OSError as error:
            raise Told(f"cannot connect: {error}") from None

    async def write(self, data: bytes) -> None:
        assert self.writer is not None
        with suppress(ConnectionError):  # why comes with the results
            self.writer.write(data)
            await self.writer.drain()

    def vanish(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()


class UploadClient(StreamClient):
    """An upload by HTTP that is as slow as speech; one answer."""

    shows_partials = False

    def head(self) -> str:
        caps = self.form.caps(self.rate_hz)
        return f"PUT /client/dynamic/recognize HTTP/1.1\r\nContent-Type: {caps}"

    async def open(self) -> None:
        await self.connect(self.address.port)
        lines = (self.head(), "Host: bench", "Connection: close", "Transfer-Encoding: chunked", "", "")
        await self.write("\r\n".join(lines).encode())

    async def send(self, piece: bytes) -> None:
        await self.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def finish(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def results(self) -> AsyncIterator[str]:
        try:
            answer = await self.reader.read()
        except ConnectionError as error:
            raise Lost(f"no answer: {error}") from None
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head:
            raise Lost("no answer")
        code = int(head.split()[1])
        if code in HTTP_REFUSALS:
            raise Refused(HTTP_REFUSALS[code])
        if code != 200:
            raise Told(f"HTTP {code} {body.decode(errors='replace')[:200]}")
        yield self.read_answer(body)

    def read_answer(self, body: bytes) -> str:
        answer = json.loads(body)
        self.request_id = answer.get("id", "")
        if answer["status"]:
            raise Refused("9") if answer["status"] == NOT_AVAILABLE else Told(str(answer.get("message")))
        return " ".join(each["utterance"] for each in answer.get("hypotheses", ()))


class OpenAIClient(UploadClient):
    """OpenAI's transcriptions."""

    BOUNDARY = "b7f1"

    def head(self) -> str:
        kind = f"multipart/form-data; boundary={self.BOUNDARY}"
        return f"POST /v1/audio/transcriptions HTTP/1.1\r\nContent-Type: {kind}"

    async def open(self) -> None:
        await super().open()
        part = f"--{self.BOUNDARY}\r\nContent-Disposition: form-data; name="
        model = f'{part}"model"\r\n\r\nwhisper-1\r\n'
        file = f'{part}"file"; filename="speech.raw"\r\nContent-Type: {self.form.caps(self.rate_hz)}\r\n\r\n'
        await self.send((model + file).encode())

    async def finish(self) -> None:
        await self.send(f"\r\n--{self.BOUNDARY}--\r\n".encode())
        await super().finish()

    def read_answer(self, body: bytes) -> str:
        return str(json.loads(body)["text"])


class WyomingClient(StreamClient):
    """A client of Home Assistant's protocol."""

    shows_partials = False

    async def send_event(self, kind: str, payload: bytes = b"") -> None:
        data = {"rate": self.rate_hz, "width": 2, "channels": 1}
        await self.write(Event(kind, data if kind != "audio-stop" else {}, payload).encode())

    async def open(self) -> None:
        await self.connect(self.address.wyoming_port)
        await self.send_event("audio-start")

    async def send(self, piece: bytes) -> None:
        await self.send_event("audio-chunk", piece)

    async def finish(self) -> None:
        await self.send_event("audio-stop")

    async def results(self) -> AsyncIterator[str]:
        events = EventReader(MAX_EVENT_BYTES)
        with suppress(ConnectionError):
            while data := await self.reader.read(1 << 16):
                for event in events.feed(data):
                    if event.type == "transcript-chunk":
                        yield self.display.show(event.data["text"].strip(), is_final=True)
                    elif event.type == "transcript-stop":
                        self.vanish()
                        return
                    elif event.type == "error":
                        is_full = event.data.get("code") == "not-available"
                        raise Refused("9") if is_full else Told(str(event.data["text"]))
        raise Lost("closed before the transcript")
