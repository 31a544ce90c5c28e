"""Live speech recognition by a pykaldi-server, over a connection that may break: copy this into your program.

    async for message in Recognition(url, AudioFormat(16000)).messages(audio):
        if "result" in message:
            print(message["result"]["hypotheses"][0]["transcript"])

Audio is kept in memory until it has been recognised. When the connection is lost within an utterance, what
was already final stays, and all audio after it is sent again over the next connection.

The messages are described in docs/protocol.md of pykaldi-server. Needs `pip install websockets`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

__all__ = ["AudioFormat", "ConnectionLostError", "Message", "Recognition", "RefusedError"]

Message = dict[str, Any]

PIECE_BYTES = 8192
MOST_MESSAGE_BYTES = 8 * 2**20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # between two attempts to connect again
PING_INTERVAL_S, PING_TIMEOUT_S = 4.0, 16.0  # a server that does not answer pings for so long is gone
WORD_DELAY_S = 2.0  # a word that was spoken earlier than this before the position is in a partial result
NORMAL_CLOSURE = 1000
NO_RECOGNISER = 9


class RefusedError(Exception):
    """The server has ended the request with an error.

    Attributes:
        status: the server's number of the error, see "Errors" in docs/protocol.md.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"status {status}: {message}")
        self.status = status


class ConnectionLostError(Exception):
    """There is no connection to the server; the text says why."""


@dataclass(frozen=True)
class AudioFormat:
    """Raw audio of signed 16-bit samples, little-endian, channels interleaved."""

    rate_hz: int
    channels: int = 1

    @property
    def content_type(self) -> str:
        return f"audio/x-raw,format=S16LE,rate={self.rate_hz},channels={self.channels}"

    @property
    def frame_bytes(self) -> int:
        """Size of one sample of every channel."""
        return 2 * self.channels

    def bytes_of(self, seconds: float) -> int:
        """How many bytes last so long; whole frames."""
        return round(seconds * self.rate_hz) * self.frame_bytes

    def seconds_of(self, num_bytes: int) -> float:
        return num_bytes / (self.rate_hz * self.frame_bytes)


class Backlog:
    """Audio that has been recorded and not yet been recognised; owned by one `Recognition`.

    Places in the audio are counted in bytes from its start.
    """

    def __init__(self) -> None:
        self.start = 0
        self._audio = bytearray()
        self._is_complete = False
        self._has_grown = asyncio.Event()

    @property
    def end(self) -> int:
        return self.start + len(self._audio)

    async def fill(self, audio: AsyncIterator[bytes]) -> None:
        """Takes in all audio as it comes, also while there is no connection."""
        try:
            async for piece in audio:
                self._audio += piece
                self._has_grown.set()
        finally:
            self._is_complete = True
            self._has_grown.set()

    async def read(self, place: int) -> bytes:
        """The audio from a place on, or a piece of it; waits until there is some. Empty at the end."""
        while place >= self.end and not self._is_complete:
            self._has_grown.clear()
            await self._has_grown.wait()
        return bytes(self._audio[place - self.start : place - self.start + PIECE_BYTES])

    def forget(self, place: int) -> None:
        """Drops the audio before a place: it has been recognised."""
        if place > self.start:
            del self._audio[: place - self.start]
            self.start = place


def _parse(text: str | bytes) -> Message:
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict) or "status" not in message:
        raise ConnectionLostError(f"connection lost: expected a JSON object with status, found {text[:80]!r}")
    return message


class Recognition:
    """Audio that goes to a server, over as many connections as it takes.

    Args:
        url: address of the server, such as ws://localhost:8888/client/ws/speech.
        audio_format: of the audio.
        fields: more fields of the address, such as `model`, `user-id` and options of the request.
        token: shown to the server; "" for none.
        adaptation_state: what an earlier request of the same speaker had in this field of its last message.
        patience_s: how long to try to connect again before giving up.
    """

    def __init__(
        self,
        url: str,
        audio_format: AudioFormat,
        *,
        fields: dict[str, str] | None = None,
        token: str = "",
        adaptation_state: Message | None = None,
        patience_s: float = 60.0,
    ) -> None:
        asked = {"content-type": audio_format.content_type, "queue": "true", "positions": "true"}
        self._url = f"{url}{'&' if '?' in url else '?'}{urlencode({**asked, **(fields or {})})}"
        self._format = audio_format
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._adaptation_state = adaptation_state
        self._patience_s = patience_s
        self._backlog = Backlog()

    @property
    def recognised_s(self) -> float:
        """Up to where the audio has been recognised, in seconds; all results for it have been yielded."""
        return self._format.seconds_of(self._backlog.start)

    async def messages(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
        """Sends audio as it comes and yields the server's messages as they come; may be called once.

        Where the connection is lost, it also yields `{"interrupted": REASON, "resend-s": SECONDS}`, and
        `{"resumed": True}` when the server answers again. Times of results count from the start of the audio
        all along.

        Args:
            audio: raw audio in pieces, at the pace at which it shall be sent. What it raises is raised here,
                after the results of what it had yielded.

        Raises:
            RefusedError: the server has sent an error.
            ConnectionLostError: the server could not be reached, at the start or for `patience_s`.
        """
        filling = asyncio.create_task(self._backlog.fill(audio))
        pauses: AsyncIterator[None] | None = None  # between attempts to connect again
        try:
            connection = await self._connect()
            while True:
                try:
                    async for message in self._exchange(connection):
                        if pauses is not None:
                            pauses = None
                            yield {"resumed": True}
                        yield message
                    break
                except RefusedError as error:
                    if pauses is None or error.status != NO_RECOGNISER:  # workers come after their server
                        raise
                    reason = str(error)
                except ConnectionLostError as error:
                    reason = str(error)
                if pauses is None:
                    pauses = self._pauses()
                    resend_s = self._format.seconds_of(self._backlog.end - self._backlog.start)
                    yield {"interrupted": reason, "resend-s": resend_s}
                connection = await self._connect_again(pauses, reason)
            await filling
        finally:
            filling.cancel()
            await asyncio.wait([filling])

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self._url,
                additional_headers=self._headers,
                compression=None,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                max_size=MOST_MESSAGE_BYTES,
            )
        except InvalidStatus as error:
            is_refused = error.response.status_code in (401, 403)
            reason = f"{error}; is the token right?" if is_refused else str(error)
        except (OSError, InvalidHandshake, InvalidURI) as error:
            reason = str(error)
        raise ConnectionLostError(f"cannot connect: {reason}")

    async def _pauses(self) -> AsyncGenerator[None, None]:
        """Yields after each pause in which the server may come back, until patience is at an end."""
        now_s = asyncio.get_running_loop().time
        give_up_at_s = now_s() + self._patience_s
        wait_s = FIRST_WAIT_S
        while now_s() + wait_s <= give_up_at_s:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            yield

    async def _connect_again(self, pauses: AsyncIterator[None], reason: str) -> ClientConnection:
        async for _ in pauses:
            try:
                return await self._connect()
            except ConnectionLostError as error:
                reason = str(error)
        raise ConnectionLostError(f"{reason}; given up after {self._patience_s:g} s")

    async def _exchange(self, connection: ClientConnection) -> AsyncGenerator[Message, None]:
        """Sends the backlog over one connection and yields what comes, until all has been recognised."""
        first = self._backlog.start
        sending = asyncio.create_task(self._send(connection, first))
        is_speaking = False  # a partial result has come since the last final one
        try:
            while True:
                message = _parse(await connection.recv())
                if message["status"] != 0:
                    raise RefusedError(message["status"], message.get("message", ""))
                if "result" in message:
                    is_speaking = not message["result"]["final"]
                    if not is_speaking:
                        self._backlog.forget(first + self._format.bytes_of(message["total-length"]))
                    for time in {"segment-start", "total-length"} & message.keys():
                        message[time] += self._format.seconds_of(first)
                elif "position" in message and not is_speaking:  # silence, so far
                    silent_s = max(0.0, message["position"]["seconds"] - WORD_DELAY_S)
                    self._backlog.forget(first + self._format.bytes_of(silent_s))
                yield message
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else None
            if code != NORMAL_CLOSURE or not sending.done():
                raise ConnectionLostError(f"connection lost: {error}") from error
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            await connection.close()

    async def _send(self, connection: ClientConnection, place: int) -> None:
        with suppress(ConnectionClosed):  # which the receiver deals with
            if self._adaptation_state is not None:
                await connection.send(json.dumps({"adaptation_state": self._adaptation_state}))
            while piece := await self._backlog.read(place):
                await connection.send(piece)
                place += len(piece)
            await connection.send("EOS")
