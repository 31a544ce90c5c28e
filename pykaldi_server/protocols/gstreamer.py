"""What clients, master and workers say to each other. No I/O here: text in, text out.

    client --RequestInfo, audio, control messages, EOS--> master --the same--> worker
    client <--partial, final, adaptation state, error---- master <------------ worker

The wire format is kaldi-gstreamer-server's (`kaldigstserver/master_server.py`, `worker.py`), so that its
clients and workers can be used unchanged; `docs/protocol.md` describes it for users. A message is a JSON
object; `Message` is that object before `dumps` or after parsing.
"""

import base64
import binascii
import json
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pykaldi_server.errors import AdaptationStateError, ProtocolError

Message = dict[str, Any]

EOS = "EOS"
NO_ID = "none"
ADAPTATION_STATE_TYPE = "string+gzip+base64"
MAX_ADAPTATION_STATE_BYTES = 16 * 1024 * 1024
MAX_FIELD_CHARACTERS = 512
WORKER_CHUNK_BYTES = 16 * 1024
NORMAL_CLOSURE = 1000  # codes with which WebSockets are closed (RFC 6455, 7.4.1)
GOING_AWAY = 1001


class Status(IntEnum):
    """The `status` of a message; everything but SUCCESS ends the request."""

    SUCCESS = 0
    NO_SPEECH = 1
    ABORTED = 2
    AUDIO_CAPTURE = 3
    NETWORK = 4
    NOT_ALLOWED = 5
    SERVICE_NOT_ALLOWED = 6
    BAD_GRAMMAR = 7
    LANGUAGE_NOT_SUPPORTED = 8
    NOT_AVAILABLE = 9


def dumps(message: Message) -> str:
    """The text of a message, pure ASCII like the original's; refuses NaN and infinity, which JSON lacks."""
    return json.dumps(message, allow_nan=False)


# Requests: what the client says when it connects, and how the master passes it on


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One client's request for recognition.

    Attributes:
        content_type: GStreamer caps or a MIME type; None lets the decoder look at the data.
        user_id: who speaks, as the client says; "none" when it does not.
        content_id: what is spoken, as the client says, to match a later reference text.
        model: name of the model that the client asks for; None is the server's default.
        id: unique name of the request, given by the master.
    """

    content_type: str | None = None
    user_id: str = NO_ID
    content_id: str = NO_ID
    model: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    def from_query(cls, query: str) -> "RequestInfo":
        """Reads the query string of the client WebSocket's address."""
        fields = parse_query(query)
        return cls(
            content_type=fields.get("content-type") or None,
            user_id=fields.get("user-id") or NO_ID,
            content_id=fields.get("content-id") or NO_ID,
            model=fields.get("model") or None,
        )

    @classmethod
    def from_http(cls, headers: Mapping[str, str], query: str) -> "RequestInfo":
        """Reads the headers (a mapping that ignores case) and the query string of an upload."""
        content_type = _clean(headers.get("Content-Type", ""))
        user_id = _clean(headers.get("device-id", "")) or _clean(headers.get("User-Id", ""))
        return cls(
            content_type=caps_from_http(content_type),
            user_id=user_id or NO_ID,
            content_id=_clean(headers.get("Content-Id", "")) or NO_ID,
            model=parse_query(query).get("model") or None,
        )

    def init_message(self) -> Message:
        """The first message that a worker gets."""
        return {
            "id": self.id,
            "content_type": self.content_type,
            "user_id": self.user_id,
            "content_id": self.content_id,
        }

    @classmethod
    def from_init_message(cls, text: str | bytes) -> "RequestInfo":
        """Reads the first message from the master.

        Raises:
            ProtocolError: it is not an object with an id, or a field has the wrong type.
        """
        message = _parse_object(text, "the master's first message")
        for name in ("id", "content_type", "user_id", "content_id"):
            if not isinstance(message.get(name), str | None):
                raise ProtocolError(
                    f"{name} in the master's first message: expected a text, found {message[name]!r}"
                )
        if not message.get("id"):
            raise ProtocolError("the master's first message: expected an id, found none")
        return cls(
            id=message["id"],
            content_type=message.get("content_type") or None,
            user_id=message.get("user_id") or NO_ID,
            content_id=message.get("content_id") or NO_ID,
        )


def parse_query(query: str) -> dict[str, str]:
    """The fields of a query string, without control characters and of bounded length."""
    return {name: _clean(value) for name, value in parse_qsl(query, keep_blank_values=True)}


def _clean(value: str) -> str:
    """Makes a text from outside fit for log lines."""
    return "".join(character for character in value if character.isprintable()).strip()[:MAX_FIELD_CHARACTERS]


def caps_from_http(content_type: str) -> str | None:
    """Turns a Content-Type header into what a worker expects.

    Raw audio (`audio/x-raw-int; rate=8000`) becomes GStreamer caps with the defaults filled in, which workers
    of the original project need. `application/x-www-form-urlencoded`, curl's own default, says nothing.
    """
    media_type, _, attributes = content_type.replace(";", ",").partition(",")
    media_type = media_type.strip().lower()
    if media_type in ("", "application/x-www-form-urlencoded"):
        return None
    if media_type not in ("audio/x-raw", "audio/x-raw-int"):
        return content_type
    caps = {"layout": "interleaved", "rate": "16000", "format": "S16LE", "channels": "1"}
    for attribute in attributes.split(","):
        key, equals, value = attribute.partition("=")
        if equals:
            caps[key.strip()] = value.strip()
    return ", ".join(["audio/x-raw", *(f"{key}={value}" for key, value in caps.items())])


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says about itself when it connects; a worker of the original project says nothing."""

    model: str = ""
    language: str = ""
    version: str = ""

    @classmethod
    def from_query(cls, query: str) -> "WorkerInfo":
        """Reads the query string of the worker WebSocket's address."""
        fields = parse_query(query)
        return cls(**{name: fields.get(name, "") for name in ("model", "language", "version")})

    def url(self, base: str) -> str:
        """Adds what this worker says of itself to the master's address."""
        parts = urlsplit(base)
        said = {"model": self.model, "language": self.language, "version": self.version}
        fields = {**dict(parse_qsl(parts.query)), **{name: value for name, value in said.items() if value}}
        return urlunsplit(parts._replace(query=urlencode(fields)))


# From the client: audio, EOS and control messages


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of the audio stream, in the encoding of the request."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """No more audio will come."""


@dataclass(frozen=True, slots=True)
class SetAdaptationState:
    """Start from what an earlier session learned; `properties` is for `decode_adaptation_state`."""

    properties: Message


@dataclass(frozen=True, slots=True)
class Finalize:
    """End the segment now, without waiting for a pause."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The client is still there; nothing is to be done."""


ClientMessage = Audio | EndOfStream | SetAdaptationState | Finalize | KeepAlive


def parse_client_message(message: str | bytes) -> ClientMessage:
    """Understands one WebSocket message of a client; a binary message that is not EOS is audio.

    Raises:
        ProtocolError: a text message is not EOS and not a known control message.
    """
    if isinstance(message, bytes):
        return EndOfStream() if message == EOS.encode() else Audio(message)
    if message.strip() == EOS:
        return EndOfStream()
    properties = _parse_object(message, "a control message")
    if "adaptation_state" in properties:
        state = properties["adaptation_state"]
        if not isinstance(state, dict):
            raise ProtocolError(f"adaptation_state: expected an object, found {_excerpt(state)}")
        return SetAdaptationState(state)
    if properties.get("finalize") is True:
        return Finalize()
    if properties.get("keepalive") is True:
        return KeepAlive()
    raise ProtocolError(f"expected adaptation_state, finalize, keepalive or {EOS}, found {_excerpt(message)}")


def split_audio(data: bytes, limit_bytes: int = WORKER_CHUNK_BYTES) -> Iterator[bytes]:
    """Cuts audio into pieces that a worker decodes in a moment, to answer pings and notice a cancel in time.

    The pieces join to the same stream. No piece is ever `EOS` unless the whole message was.
    """
    if len(data) <= limit_bytes:
        yield data
        return
    end = len(data)
    for start in range(0, end, limit_bytes):
        piece = data[start : start + limit_bytes]
        if piece == EOS.encode():  # the last bytes of a longer message that happen to read so
            yield from (piece[:1], piece[1:])
        else:
            yield piece


# Adaptation state


def encode_adaptation_state(text: str) -> str:
    """Packs Kaldi's text form for JSON: zlib (which the original calls gzip), then base64."""
    return base64.b64encode(zlib.compress(text.encode())).decode("ascii")


def decode_adaptation_state(properties: Mapping[str, Any]) -> str:
    """Unpacks the adaptation state that a client sent.

    Raises:
        AdaptationStateError: the type is unknown, or the value is damaged or unreasonably large.
    """
    kind, value = properties.get("type"), properties.get("value")
    if kind != ADAPTATION_STATE_TYPE:
        raise AdaptationStateError(
            f"adaptation state: expected type {ADAPTATION_STATE_TYPE}, found {_excerpt(kind)}"
        )
    if not isinstance(value, str):
        raise AdaptationStateError(f"adaptation state: expected a text as value, found {_excerpt(value)}")
    try:
        packed = base64.b64decode(value, validate=True)
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, MAX_ADAPTATION_STATE_BYTES)
        if unpacker.unconsumed_tail:
            raise AdaptationStateError(
                f"adaptation state: expected at most {MAX_ADAPTATION_STATE_BYTES} bytes, found more"
            )
        if not unpacker.eof:
            raise AdaptationStateError("adaptation state: expected a whole zlib stream, found a part of one")
        return text.decode()
    except (binascii.Error, zlib.error, ValueError) as error:
        if isinstance(error, AdaptationStateError):
            raise
        raise AdaptationStateError(
            f"adaptation state: expected text, zlib-packed, in base64, found {error}"
        ) from None


# To the client: results (made from events in `results`) and errors


def error_message(status: Status, text: str, request_id: str) -> Message:
    """The message before the server closes a request that went wrong."""
    return {"status": int(status), "message": text, "id": request_id}


def parse_event(text: str | bytes) -> Message:
    """Reads a message from a worker or, in a client, from the master.

    Raises:
        ProtocolError: it is not an object with an integer status.
    """
    message = _parse_object(text, "an event")
    if not isinstance(message.get("status"), int):
        raise ProtocolError(f"an event: expected an integer status, found {_excerpt(message.get('status'))}")
    return message


def transcript_of(event: Message) -> str | None:
    """The best transcript in a partial or final result; None in every other message."""
    try:
        return str(event["result"]["hypotheses"][0]["transcript"])
    except (KeyError, IndexError, TypeError):
        return None


def is_final(event: Message) -> bool:
    """True for the final result of a segment."""
    result = event.get("result")
    return isinstance(result, dict) and result.get("final") is True


class HttpResult:
    """Collects the events of a request for the one answer that HTTP gives."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._transcripts: list[str] = []
        self._error: Message | None = None

    def add(self, event: Message) -> None:
        """Notes a final result or an error; nothing else is part of the answer."""
        if event["status"] != Status.SUCCESS:
            text = str(event.get("message", ""))
            self._error = {"status": event["status"], "id": self._request_id, "message": text}
        elif is_final(event):
            transcript = transcript_of(event)
            if transcript:
                self._transcripts.append(transcript)

    def response(self) -> Message:
        """The answer: the finals joined by spaces, or the error."""
        if self._error is not None:
            return self._error
        utterance = " ".join(self._transcripts)
        return {
            "status": int(Status.SUCCESS),
            "id": self._request_id,
            "hypotheses": [{"utterance": utterance}],
        }


def _parse_object(text: str | bytes, what: str) -> Message:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(f"{what}: expected JSON, found {_excerpt(text)}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"{what}: expected a JSON object, found {_excerpt(message)}")
    return message


def _excerpt(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
