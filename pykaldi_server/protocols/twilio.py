"""Twilio Media Streams: the messages in which Twilio sends the audio of a call over a WebSocket.

    connected, start, media ..., dtmf, mark, stop

Audio is mu-law, 8 kHz, mono, in base64, for each direction ("track") that the stream was started with.
Nothing is sent back: on streams of one direction anything is an error, and on others only audio and marks are
allowed.

Source: "Media Streams - WebSocket Messages" in Twilio's documentation, protocol version 1.0.0.
"""

import base64
import binascii
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.calls import INBOUND, OUTBOUND
from pykaldi_server.protocols.gstreamer import NO_ID, Adaptation, RequestInfo, raw_audio_caps
from pykaldi_server.protocols.messages import Message, clean_text, excerpt, parse_object

__all__ = ["ClientMessage", "Digit", "Media", "Start", "Stop", "parse_client_message"]

ENCODINGS = {"audio/x-mulaw": "MULAW", "audio/x-alaw": "ALAW", "audio/x-l16": "S16LE"}


@dataclass(frozen=True, slots=True)
class Start:
    """A stream begins.

    Attributes:
        call_id: SID of the call.
        stream_id: SID of the stream; a call may have several.
        sample_format, rate_hz: how the audio is encoded.
        parameters: the custom parameters of the stream, but for the token.
        token: the parameter ``token``; Twilio passes on no query of an address; "" without one.
    """

    call_id: str
    stream_id: str
    sample_format: str = "MULAW"
    rate_hz: int = 8_000
    parameters: dict[str, str] = field(default_factory=dict)
    token: str = field(default="", repr=False)

    def request_info(self) -> RequestInfo:
        """The request to the recogniser; parameters are named as those of the native protocol.

        Raises:
            ProtocolError: the parameter ``options`` is not a JSON object, or ``adaptation`` is invalid.
        """
        options = self.parameters.get("options")
        return RequestInfo(
            content_type=raw_audio_caps(self.sample_format, self.rate_hz),
            user_id=self.parameters.get("user-id") or NO_ID,
            content_id=self.parameters.get("content-id") or self.call_id,
            model=self.parameters.get("model") or None,
            language=self.parameters.get("language", ""),
            options=parse_object(options, "the parameter options") if options else {},
            adaptation=Adaptation.parse(self.parameters.get("adaptation")),
        )


@dataclass(frozen=True, slots=True)
class Media:
    """The next samples of a track."""

    track: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Digit:
    """A key has been pressed."""

    track: str
    digit: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The stream has ended."""


ClientMessage = Start | Media | Digit | Stop


def parse_client_message(message: str | bytes) -> ClientMessage | None:
    """Understands one message; None for those that mean nothing to a recogniser.

    Raises:
        ProtocolError: it is not a message of this protocol; the text names the field.
    """
    if isinstance(message, bytes):
        raise ProtocolError(f"a message: expected a text, found {len(message)} bytes of binary data")
    fields = parse_object(message, "a message")
    event = fields.get("event")
    if not isinstance(event, str):
        raise ProtocolError(f"event of a message: expected a text, found {excerpt(event)}")
    match event:
        case "start":
            return _start(_object(fields, "start", event))
        case "media":
            media = _object(fields, "media", event)
            return Media(_track(media), _decode(media.get("payload")))
        case "dtmf":
            dtmf = _object(fields, "dtmf", event)
            return Digit(_track(dtmf), clean_text(_text(dtmf, "digit", event))[:1])
        case "stop":
            return Stop()
    return None


def _start(fields: Message) -> Start:
    audio = _object(fields, "mediaFormat", "start") if fields.get("mediaFormat") else {}
    encoding, rate_hz = audio.get("encoding", "audio/x-mulaw"), audio.get("sampleRate", 8_000)
    if encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ProtocolError(f"encoding of start: expected one of {known}, found {excerpt(encoding)}")
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int) or not 1_000 <= rate_hz <= 768_000:
        raise ProtocolError(f"sampleRate of start: expected 1000 to 768000, found {excerpt(rate_hz)}")
    parameters = fields.get("customParameters") or {}
    if not isinstance(parameters, dict):
        raise ProtocolError(f"customParameters of start: expected an object, found {excerpt(parameters)}")
    texts = {clean_text(name): clean_text(str(value)) for name, value in parameters.items()}
    token = texts.pop("token", "")
    return Start(
        call_id=clean_text(_text(fields, "callSid", "start")),
        stream_id=clean_text(_text(fields, "streamSid", "start")),
        sample_format=ENCODINGS[encoding],
        rate_hz=rate_hz,
        parameters=texts,
        token=token,
    )


def _object(fields: Message, name: str, event: str) -> dict[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise ProtocolError(f"{name} of {event}: expected an object, found {excerpt(value)}")
    return value


def _text(fields: Message, name: str, event: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"{name} of {event}: expected a text, found {excerpt(value)}")
    return value


def _track(fields: Message) -> str:
    """Streams of one direction may leave the track out; start names it with a suffix, media without."""
    track = fields.get("track", INBOUND)
    name = track.removesuffix("_track") if isinstance(track, str) else track
    if name not in (INBOUND, OUTBOUND):
        raise ProtocolError(f"track: expected {INBOUND} or {OUTBOUND}, found {excerpt(track)}")
    return str(name)


def _decode(payload: object) -> bytes:
    if isinstance(payload, str):
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(payload, validate=True)
    raise ProtocolError(f"payload of media: expected base64, found {excerpt(payload)}")
