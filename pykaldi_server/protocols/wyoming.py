"""The Wyoming protocol of Home Assistant: what clients of a speech-to-text service say and hear.

An event is a JSON object on one line, then further data (JSON) and a payload (audio) of the lengths that the
line states. A conversation about one utterance:

    client --transcribe, audio-start, audio-chunk ..., audio-stop--> server
    client <--transcript-start, transcript-chunk ..., transcript, transcript-stop-- server

A chunk of a transcript is a segment's final text; the transcript is all of them, for clients that do not
read chunks. ``describe`` is answered with ``info``, ``ping`` with ``pong``; what goes wrong is an ``error``.
Events of unknown type are ignored, as the specification asks. No I/O here: bytes in, events out, and back.

Source: the description of the format and of the events in OHF-Voice/wyoming, release 1.10.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import NO_ID, Adaptation, raw_audio_caps
from pykaldi_server.protocols.messages import Message, clean_text, excerpt, parse_object
from pykaldi_server.protocols.worker import WorkerInfo
from pykaldi_server.version import __version__

__all__ = [
    "AudioChunk",
    "AudioFormat",
    "AudioStart",
    "AudioStop",
    "ClientMessage",
    "Describe",
    "Event",
    "EventReader",
    "Ping",
    "Transcribe",
    "error",
    "info",
    "parse_client_message",
    "pong",
    "transcript",
    "transcript_chunk",
    "transcript_start",
    "transcript_stop",
]

VERSION = "1.10.0"
PROGRAM = "pykaldi-server"
ATTRIBUTION = {"name": "Kaldi", "url": "https://kaldi-asr.org/"}
MAX_HEADER_BYTES = 64 * 1024
MAX_DATA_BYTES = 1024 * 1024
# Samples of one byte are unsigned, as in WAV files, from which many clients read them.
SAMPLE_FORMATS = {1: "U8", 2: "S16LE", 3: "S24LE", 4: "S32LE"}


# Events


@dataclass(frozen=True, slots=True)
class Event:
    """One event of either side.

    Attributes:
        type: what it is.
        data: its fields.
        payload: binary data, of audio the samples.
    """

    type: str
    data: Message = field(default_factory=dict)
    payload: bytes = b""

    def encode(self) -> bytes:
        """The event as it is sent."""
        header: Message = {"type": self.type, "version": VERSION}
        data = json.dumps(self.data).encode() if self.data else b""
        if data:
            header["data_length"] = len(data)
        if self.payload:
            header["payload_length"] = len(self.payload)
        return b"".join((json.dumps(header).encode(), b"\n", data, self.payload))


class EventReader:
    """Cuts a stream of bytes into events.

    Args:
        max_payload_bytes: the longest payload of an event that is accepted.
    """

    def __init__(self, max_payload_bytes: int) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._buffer = bytearray()
        self._header: Message | None = None
        self._data_bytes = self._payload_bytes = 0

    def __len__(self) -> int:
        """Number of bytes that have come of an event that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes, cut anywhere; returns the events that are complete with them.

        Raises:
            ProtocolError: the bytes are not events. The stream cannot be read any further.
        """
        self._buffer += data
        events = []
        while (event := self._next()) is not None:
            events.append(event)
        return events

    def _next(self) -> Event | None:
        if self._header is None and not self._read_header():
            return None
        header, num_bytes = self._header, self._data_bytes + self._payload_bytes
        if header is None or len(self._buffer) < num_bytes:
            return None
        fields = header.get("data") or {}
        if not isinstance(fields, dict):
            raise ProtocolError(f"data of an event: expected an object, found {excerpt(fields)}")
        if self._data_bytes:
            fields = {**fields, **parse_object(bytes(self._buffer[: self._data_bytes]), "data of an event")}
        payload = bytes(self._buffer[self._data_bytes : num_bytes])
        del self._buffer[:num_bytes]
        self._header = None
        return Event(header["type"], fields, payload)

    def _read_header(self) -> bool:
        end = self._buffer.find(b"\n", 0, MAX_HEADER_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_HEADER_BYTES:
                raise ProtocolError(
                    f"the line of an event: expected at most {MAX_HEADER_BYTES} bytes, found more"
                )
            return False
        header = parse_object(bytes(self._buffer[:end]), "the line of an event")
        del self._buffer[: end + 1]
        if not isinstance(header.get("type"), str):
            raise ProtocolError(f"type of an event: expected a text, found {excerpt(header.get('type'))}")
        self._data_bytes = _length(header, "data_length", MAX_DATA_BYTES)
        self._payload_bytes = _length(header, "payload_length", self._max_payload_bytes)
        self._header = header
        return True


def _length(header: Message, name: str, limit: int) -> int:
    length = header.get(name)
    if length is None:
        return 0
    if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= limit:
        raise ProtocolError(
            f"{name} of an event: expected a whole number from 0 to {limit}, found {excerpt(length)}"
        )
    return length


# From the client


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Raw audio, interleaved and little-endian.

    Attributes:
        rate_hz: sample rate.
        width_bytes: bytes of a sample: 1 (unsigned), 2, 3 or 4.
        channels: number of channels.
    """

    rate_hz: int
    width_bytes: int
    channels: int

    def caps(self) -> str:
        """The content type for the recogniser."""
        return raw_audio_caps(SAMPLE_FORMATS[self.width_bytes], self.rate_hz, self.channels)


@dataclass(frozen=True, slots=True)
class Describe:
    """Which models are there?"""


@dataclass(frozen=True, slots=True)
class Transcribe:
    """What is to be known of the next utterances.

    Attributes:
        model: name of the model; None leaves the choice to `language`, and then to the server.
        language: language of the speech, as a BCP 47 tag such as ``en-GB``.
        user_id: who speaks, from the event's ``context``, as the next.
        adaptation: whether to keep what is learned of the user.
    """

    model: str | None = None
    language: str | None = None
    user_id: str = NO_ID
    adaptation: Adaptation | None = None


@dataclass(frozen=True, slots=True)
class AudioStart:
    """An utterance begins."""

    format: AudioFormat


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """The next piece of an utterance; clients may leave `AudioStart` out."""

    format: AudioFormat
    data: bytes


@dataclass(frozen=True, slots=True)
class AudioStop:
    """The utterance has ended."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Is the server there? The answer repeats the text."""

    text: str | None


ClientMessage = Describe | Transcribe | AudioStart | AudioChunk | AudioStop | Ping


def parse_client_message(event: Event) -> ClientMessage | None:
    """Understands an event of a client; None for types that a speech-to-text service ignores.

    Raises:
        ProtocolError: a field is missing or invalid; the text names it.
    """
    match event.type:
        case "describe":
            return Describe()
        case "transcribe":
            return _transcribe(event)
        case "audio-start":
            return AudioStart(_format(event))
        case "audio-chunk":
            return AudioChunk(_format(event), event.payload)
        case "audio-stop":
            return AudioStop()
        case "ping":
            return Ping(_text(event, "text"))
    return None


def _transcribe(event: Event) -> Transcribe:
    context = event.data.get("context")
    said = Event(f"the context of {event.type}", context if isinstance(context, dict) else {})
    return Transcribe(
        _text(event, "name"),
        _text(event, "language"),
        _text(said, "user_id") or NO_ID,
        Adaptation.parse(_text(said, "adaptation")),
    )


def _text(event: Event, name: str) -> str | None:
    value = event.data.get(name)
    if not isinstance(value, str | None):
        raise ProtocolError(f"{name} of {event.type}: expected a text, found {excerpt(value)}")
    return clean_text(value) or None if value is not None else None


def _format(event: Event) -> AudioFormat:
    # The limits are those of all raw audio.
    return AudioFormat(
        rate_hz=_number(event, "rate", 1_000, 768_000),
        width_bytes=_number(event, "width", min(SAMPLE_FORMATS), max(SAMPLE_FORMATS)),
        channels=_number(event, "channels", 1, 256),
    )


def _number(event: Event, name: str, low: int, high: int) -> int:
    value = event.data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ProtocolError(
            f"{name} of {event.type}: expected a whole number from {low} to {high}, found {excerpt(value)}"
        )
    return value


# To the client


def pong(text: str | None) -> Event:
    """The answer to a `Ping`."""
    return Event("pong", {"text": text})


def error(text: str, code: str) -> Event:
    """What went wrong, in words and as a code for programs."""
    return Event("error", {"text": text, "code": code})


def transcript_start(language: str) -> Event:
    """Text of an utterance follows; the language may be unknown ("")."""
    return Event("transcript-start", {"language": language} if language else {})


def transcript_chunk(text: str) -> Event:
    """A further piece of the text; chunks are joined as they are."""
    return Event("transcript-chunk", {"text": text})


def transcript(text: str, language: str) -> Event:
    """The whole text of an utterance."""
    return Event("transcript", {"text": text, **({"language": language} if language else {})})


def transcript_stop() -> Event:
    """No more text of the utterance follows."""
    return Event("transcript-stop")


def info(models: Iterable[WorkerInfo]) -> Event:
    """The answer to `Describe`: one speech-to-text program with these models."""

    def artifact(name: str, description: str, version: str) -> dict[str, Any]:
        return {
            "name": name,
            "attribution": ATTRIBUTION,
            "installed": True,
            "description": description,
            "version": version,
        }

    program = {
        **artifact(PROGRAM, "Kaldi models", __version__),
        "models": [
            {
                **artifact(each.model, f"Kaldi model {each.model}", each.version),
                "languages": [each.language] if each.language else [],
            }
            for each in models
        ],
        "supports_transcript_streaming": True,
        "requires_external_vad": True,
    }
    others = ("tts", "handle", "intent", "wake", "mic", "snd")
    return Event("info", {"asr": [program], **{domain: [] for domain in others}})
