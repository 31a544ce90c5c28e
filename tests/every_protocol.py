"""Clients of every protocol behind one face, for tests that all of them have to pass."""

import asyncio
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from phone import CALL, Asterisk, Twilio, listener, twilio
from realtime_events import COMMIT, append, check_event
from tornado.httpclient import HTTPClientError, HTTPRequest

from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.wyoming import Event, EventReader


@dataclass(frozen=True)
class Outcome:
    """What a client has been told in the end.

    Attributes:
        texts: the final results.
        error: what it was told of an error; None if it was told that all went well.
    """

    texts: list[str]
    error: str | None = None


class Client(ABC):
    """A client of one protocol.

    Args:
        harness, master: of the test.
        token: what the client says it may do; "" says nothing.

    Attributes:
        has_tokens: whether the protocol has a place for a token.
        leaving_is_an_end: whether a line that breaks is the ordinary end of the audio, as in telephony.
    """

    has_tokens: ClassVar[bool] = True
    leaving_is_an_end: ClassVar[bool] = False

    def __init__(self, harness: Any, master: Any, token: str = "") -> None:
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.token = token
        self.harness = harness
        self.master = master
        self.address = master.url.replace("http", "ws")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()

    @abstractmethod
    async def start(self) -> None:
        """Connects, up to where audio may come."""

    @abstractmethod
    async def speak(self, audio: bytes) -> None:
        """Sends mono S16LE audio of 8 kHz, or mu-law where the protocol takes nothing else."""

    @abstractmethod
    async def stop(self) -> None:
        """Says that this was all."""

    @abstractmethod
    async def outcome(self) -> Outcome:
        """Reads until the server has ended the request."""

    @abstractmethod
    def vanish(self) -> None:
        """Breaks the connection."""

    async def is_refused(self) -> bool:
        """Connects, and finds out whether the server refuses the client for lack of the right token."""
        try:
            async with self:
                return False
        except HTTPClientError as error:
            return error.code == 401


def final_texts(messages: list[Message]) -> list[str]:
    return [
        message["result"]["hypotheses"][0]["transcript"]
        for message in messages
        if message.get("result", {}).get("final")
    ]


def first_error(messages: list[Message]) -> str | None:
    return next((message["message"] for message in messages if message.get("status", 0) != 0), None)


class _Socket(Client):
    """A client on a WebSocket."""

    path: ClassVar[str]

    async def start(self) -> None:
        self.socket = await self.harness.connect(HTTPRequest(self.address + self.path, headers=self.headers))

    async def speak(self, audio: bytes) -> None:
        await self.socket.send(audio)

    def vanish(self) -> None:
        self.socket.vanish()

    def close_error(self) -> str | None:
        """Why the server has closed, if not in good order."""
        connection = self.socket.connection
        return None if connection.close_code == 1000 else f"{connection.close_code} {connection.close_reason}"


class Native(_Socket):
    """The WebSocket of the original server."""

    path = "/client/ws/speech?content-type=audio/x-raw,rate=8000"

    async def stop(self) -> None:
        await self.socket.send("EOS")

    async def outcome(self) -> Outcome:
        messages = await self.socket.read_all()
        return Outcome(final_texts(messages), first_error(messages) or self.close_error())


class Vosk(_Socket):
    """A client of vosk-server."""

    path = "/"

    async def stop(self) -> None:
        await self.socket.send('{"eof" : 1}')

    async def outcome(self) -> Outcome:
        replies = await self.socket.read_all()
        return Outcome([reply["text"] for reply in replies if reply.get("text")], self.close_error())


class Realtime(_Socket):
    """A client of OpenAI's realtime API: what it says last is a commit, and the connection stays."""

    path = "/v1/realtime?intent=transcription"

    async def start(self) -> None:
        await super().start()
        assert (await self.socket.read_json())["type"] == "session.created"

    async def speak(self, audio: bytes) -> None:
        await self.socket.send(append(audio))

    async def stop(self) -> None:
        await self.socket.send(COMMIT)

    async def outcome(self) -> Outcome:
        texts: dict[str, str] = {}
        turns = set()  # items that the server has found by itself
        error = None
        while (message := await self.socket.read()) is not None:
            event = json.loads(message)
            check_event(event)
            item_id = event.get("item_id", "")
            if event["type"].endswith(".delta"):
                texts[item_id] = texts.get(item_id, "") + event["delta"]
            elif event["type"].endswith(".speech_stopped"):
                turns.add(item_id)
            elif event["type"].endswith(".completed") and item_id not in turns:
                return Outcome([*texts.values()])
            elif event["type"] == "error":
                error = event["error"]["message"]
        return Outcome([*texts.values()], error or self.close_error())


class Upload(Client):
    """An upload by HTTP whose length is not known beforehand."""

    head: ClassVar[str] = "PUT /client/dynamic/recognize HTTP/1.1\r\nContent-Type: audio/x-raw; rate=8000"
    before: ClassVar[str] = ""
    after: ClassVar[str] = ""

    async def start(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.master.port)
        own = [f"{name}: {value}" for name, value in self.headers.items()]
        lines = ("Host: x", "Connection: close", "Transfer-Encoding: chunked", *own)
        self.writer.write("\r\n".join([self.head, *lines, "", ""]).encode())
        await self.speak(self.before.encode())

    async def speak(self, audio: bytes) -> None:
        if audio:
            self.writer.write(b"%x\r\n%s\r\n" % (len(audio), audio))
            await self.writer.drain()

    async def stop(self) -> None:
        await self.speak(self.after.encode())
        self.writer.write(b"0\r\n\r\n")

    async def outcome(self) -> Outcome:
        answer = await self.reader.read()
        head, _, body = answer.partition(b"\r\n\r\n")
        return self.read_answer(int(head.split()[1]), body.decode())

    async def is_refused(self) -> bool:
        async with self:
            await self.stop()
            return "expected the token of a client" in ((await self.outcome()).error or "")

    def read_answer(self, code: int, body: str) -> Outcome:
        if code != 200:
            return Outcome([], f"{code} {body}")
        answer = json.loads(body)
        return Outcome([each["utterance"] for each in answer.get("hypotheses", ())], answer.get("message"))

    def vanish(self) -> None:
        self.writer.transport.abort()


def form_part(name: str, value: str = "", more: str = "") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}'


AUDIO_PART = form_part("file", more='; filename="x.raw"\r\nContent-Type: audio/x-raw; rate=8000')


class OpenAI(Upload):
    """OpenAI's transcriptions."""

    head = "POST /v1/audio/transcriptions HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b"
    before = form_part("model", "whisper-1\r\n") + AUDIO_PART
    after = "\r\n--b--\r\n"

    def read_answer(self, code: int, body: str) -> Outcome:
        answer = json.loads(body)
        if code != 200:
            return Outcome([answer["error"].get("text", "")], answer["error"]["message"])
        return Outcome([answer["text"]])


class OpenAIStream(OpenAI):
    """The same as a stream of events."""

    before = form_part("stream", "true\r\n") + OpenAI.before

    def read_answer(self, code: int, body: str) -> Outcome:
        if code != 200:
            return super().read_answer(code, body)
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        text = "".join(event.get("delta", "") for event in events)
        error = next((event["error"]["message"] for event in events if "error" in event), None)
        is_whole = events[-1].get("type") == "transcript.text.done"
        return Outcome([text], error or (None if is_whole else "cut off"))


class Wyoming(Client):
    """A client of Home Assistant's protocol."""

    has_tokens = False
    FORMAT: ClassVar[Message] = {"rate": 8000, "width": 2, "channels": 1}

    async def start(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.master.wyoming_port)
        await self.send("audio-start", **self.FORMAT)

    async def send(self, event: str, payload: bytes = b"", **data: Any) -> None:
        self.writer.write(Event(event, data, payload).encode())
        await self.writer.drain()

    async def speak(self, audio: bytes) -> None:
        await self.send("audio-chunk", audio, **self.FORMAT)

    async def stop(self) -> None:
        await self.send("audio-stop")

    async def is_refused(self) -> bool:
        async with self:
            await self.send("ping")
            events = EventReader(10**6).feed(await self.reader.read(1000))
            return [event.type for event in events] != ["pong"]

    async def outcome(self) -> Outcome:
        reader = EventReader(10**6)
        texts: list[str] = []
        while data := await self.reader.read(1000):
            for event in reader.feed(data):
                if event.type == "error":
                    return Outcome(texts, event.data["text"])
                if event.type == "transcript-chunk":
                    texts.append(event.data["text"].strip())
                if event.type == "transcript-stop":
                    return Outcome(texts)
        return Outcome(texts, "closed")

    def vanish(self) -> None:
        self.writer.transport.abort()


class _Call(Client):
    """A call, whose words go to a program that follows it."""

    leaving_is_an_end = True
    follower: Any

    async def outcome(self) -> Outcome:
        messages = await self.follower.read_all()
        is_whole = messages[-1].get("event") == "end"
        return Outcome(final_texts(messages), first_error(messages) or (None if is_whole else "cut off"))


class AsteriskCall(_Call):
    """A call by AudioSocket."""

    has_tokens = False

    async def start(self) -> None:
        self.follower = await listener(self.harness, self.master, CALL, self.headers)
        self.call = await Asterisk(self.master).__aenter__()

    async def speak(self, audio: bytes) -> None:
        await self.call.send(0x10, audio)

    async def stop(self) -> None:
        await self.call.send(0x00)

    async def is_refused(self) -> bool:
        """The call itself; who follows it needs a token."""
        async with Asterisk(self.master) as call:
            await call.send(0x00)
            return (await call.read_all())[:1] == b"\xff"

    def vanish(self) -> None:
        self.call.writer.transport.abort()


class TwilioCall(_Call):
    """A call by Twilio's Media Streams."""

    async def start(self) -> None:
        self.follower = await listener(self.harness, self.master, "CA1", self.headers)
        await self.connect()

    async def connect(self) -> None:
        self.stream: Twilio = await twilio(self.harness, self.master)
        await self.stream.start(token=self.token)

    async def speak(self, audio: bytes) -> None:
        await self.stream.speak(audio)

    async def stop(self) -> None:
        await self.stream.stop()

    async def is_refused(self) -> bool:
        """Twilio's token comes after the handshake."""
        await self.connect()
        await self.stream.stop()
        while await self.stream.socket.read() is not None:
            continue
        return bool(self.stream.socket.connection.close_code == 1008)

    def vanish(self) -> None:
        self.stream.socket.vanish()


PROTOCOLS: list[type[Client]] = [
    Native,
    Upload,
    Vosk,
    OpenAI,
    OpenAIStream,
    Realtime,
    Wyoming,
    AsteriskCall,
    TwilioCall,
]
PORTS = {"wyoming_port": 0, "audiosocket_port": 0}
"""Options of a master that serves all of them."""
