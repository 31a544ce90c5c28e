"""Clients of the Wyoming protocol, such as Home Assistant: see `protocols.wyoming`."""

import asyncio
import logging

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.master.tcp import TcpConnection
from pykaldi_server.protocols import wyoming
from pykaldi_server.protocols.gstreamer import EOS, RequestInfo, audio_messages, parse_event
from pykaldi_server.protocols.languages import model_for_language
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.store import Holding
from pykaldi_server.protocols.transcript import Segment, Transcript
from pykaldi_server.protocols.worker import Position
from pykaldi_server.protocols.wyoming import (
    AudioChunk,
    AudioFormat,
    AudioStart,
    AudioStop,
    Describe,
    EventReader,
    Ping,
    Transcribe,
)

__all__ = ["WyomingConnection"]

logger = logging.getLogger(__name__)

LARGE_BYTES = 1024**2
"""Events below this size never wait for the memory that all share."""


class WyomingConnection(TcpConnection):
    """A client, whose utterances come one after the other.

    After an error the connection ends: Home Assistant reads until there is a transcript or no connection.
    """

    def __init__(self, hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(hub, reader, writer)
        self._events = EventReader(hub.options.max_message_bytes)
        self._held = Holding(hub.arriving)
        self._request = Transcribe()
        self._utterance: _Utterance | None = None

    def __str__(self) -> str:
        return f"Wyoming client at {self.caller}"

    async def receive(self, data: bytes) -> None:
        events = self._events.feed(data)
        self._held.set(len(self._events))
        if self._held.num_bytes > LARGE_BYTES and self._held.is_full:
            raise ProtocolError("too many large events arrive at the same time; try again later")
        for event in events:
            await self.hold_back()
            if self.is_finished:
                return
            match wyoming.parse_client_message(event):
                case Describe():
                    await self.write(wyoming.info(self.hub.models.values()).encode())
                case Ping(text):
                    await self.write(wyoming.pong(text).encode())
                case Transcribe() as request:
                    self._request = request
                    if self._utterance is not None and not self._utterance.has_begun:
                        self._utterance = self._begin(self._utterance.format)
                case AudioStart(audio_format):
                    if self._utterance is not None and self._utterance.has_begun:
                        await self._end_utterance()
                    self._utterance = self._begin(audio_format)
                case AudioChunk(audio_format, samples):
                    if self._utterance is None or self._utterance.is_complete:
                        await self._end_utterance()
                        self._utterance = self._begin(audio_format)
                    await self._utterance.send(audio_format, samples)
                case AudioStop():
                    if self._utterance is not None:
                        await self._utterance.complete()
                case None:
                    logger.debug("%s: ignored an event of type %r", self, event.type)

    async def left(self, is_lost: bool) -> None:
        if not is_lost and self._utterance is not None and self._utterance.is_complete:
            await self._utterance.over.wait()

    def ended(self, reason: str) -> None:
        self._held.set(0)
        if self._utterance is not None and not self._utterance.over.is_set():
            logger.info("%s: left", self)
            self._utterance.cancel()

    def farewell(self, status: Status, text: str) -> bytes:
        return wyoming.error(text, status.name.lower().replace("_", "-")).encode()

    def fail(self, end: End) -> None:
        """Tells the client what went wrong, and ends the connection."""
        self.finish(self.farewell(end.status, end.message))

    async def _end_utterance(self) -> None:
        """Waits for the transcript of the utterance before, and ends that if the client has not done so."""
        if self._utterance is not None:
            await self._utterance.complete()
            await self._utterance.over.wait()

    def _begin(self, audio_format: AudioFormat) -> "_Utterance":
        """Chooses the model.

        Raises:
            ProtocolError: there is none of the language that the client asks for.
        """
        model, language = self._request.model, self._request.language
        models = self.hub.models
        if model is None and language is not None:
            default = self.hub.pool.default_model
            model = model_for_language(language, models.values(), default)
        info = models.get(model or self.hub.pool.default_model or "")
        request = RequestInfo(
            content_type=audio_format.caps(),
            model=model,
            user_id=self._request.user_id,
            adaptation=self._request.adaptation,
        )
        return _Utterance(self, audio_format, request, info.language if info is not None else "")


class _Utterance:
    """One utterance; the sink of its relay, which starts with the first audio.

    Attributes:
        format: how its audio is encoded.
        is_complete: the client has sent everything.
        over: set when the transcript or an error has been sent.
    """

    def __init__(
        self, client: WyomingConnection, audio_format: AudioFormat, info: RequestInfo, language: str
    ) -> None:
        self.is_complete = False
        self.over = asyncio.Event()
        self._client = client
        self.format = audio_format
        self._language = language
        self._transcript = Transcript()
        self._info = info
        self._relay: Relay | None = None

    @property
    def has_begun(self) -> bool:
        """Whether audio has come, or the word that there is none."""
        return self._relay is not None or self.is_complete

    async def send(self, audio_format: AudioFormat, samples: bytes) -> None:
        """Takes the next audio.

        Raises:
            ProtocolError: its format is not that of the audio before.
        """
        if audio_format != self.format:
            raise ProtocolError(f"an audio-chunk: expected {self.format} as before, found {audio_format}")
        for message in audio_messages(samples):
            await self._started_relay().send(message)

    async def complete(self) -> None:
        """No more audio comes."""
        if self.is_complete:
            return
        self.is_complete = True
        if self._relay is None:
            await self.end(End(Status.SUCCESS))
        else:
            await self._relay.send(EOS)

    def cancel(self) -> None:
        """The client is gone."""
        if self._relay is not None:
            self._relay.cancel()
        self.over.set()

    async def deliver(self, event: str) -> None:
        parsed = parse_event(event)
        self._transcript.add(parsed)
        segment = Segment.from_event(parsed)
        if segment is None:
            return
        is_first = len(self._transcript.segments) == 1
        if is_first:
            await self._client.write(wyoming.transcript_start(self._language).encode())
        text = segment.text if is_first else f" {segment.text}"
        await self._client.write(wyoming.transcript_chunk(text).encode())

    async def consumed(self, position: Position) -> None:
        """Clients of this protocol hear nothing of positions."""

    async def end(self, end: End) -> None:
        try:
            if end.status is Status.SUCCESS:
                start = [] if self._transcript.segments else [wyoming.transcript_start(self._language)]
                text = wyoming.transcript(self._transcript.text, self._language)
                events = [*start, text, wyoming.transcript_stop()]
                await self._client.write(b"".join(event.encode() for event in events))
            else:
                self._client.fail(end)
        finally:
            self.over.set()

    def _started_relay(self) -> Relay:
        if self._relay is None:
            logger.info("%s: opened by a %s, %s", self._info.id, self._client, self.format)
            self._relay = Relay(self._client.hub, self._info, self, self._client.caller, protocol="wyoming")
            self._relay.start()
        return self._relay
