"""The wire format of kaldi-gstreamer-server: what clients say and hear.

    client --RequestInfo, audio, control messages, EOS--> master --the same--> worker
    client <--partial, final, adaptation state, error---- master <------------ worker

The original's (`kaldigstserver/master_server.py`, `worker.py`), so that its clients and workers can be used
unchanged; `docs/protocol.md` describes it for users. No I/O here: text in, text out.
"""

import base64
import binascii
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from pykaldi_server.errors import AdaptationStateError, ProtocolError
from pykaldi_server.protocols.messages import Message, Status, clean_text, excerpt, parse_object
from pykaldi_server.protocols.request_options import read_options

__all__ = [
    "ADAPTATION_STATE_TYPE",
    "EOS",
    "NO_ID",
    "Adaptation",
    "Audio",
    "ClientMessage",
    "EndOfStream",
    "Finalize",
    "KeepAlive",
    "RequestInfo",
    "Reset",
    "SetAdaptationState",
    "SetOptions",
    "adaptation_state_of",
    "audio_messages",
    "caps_from_http",
    "channel_of",
    "decode_adaptation_state",
    "decode_cmvn_state",
    "encode_adaptation_state",
    "error_message",
    "is_eos",
    "is_final",
    "parse_client_message",
    "parse_event",
    "parse_query",
    "position_message",
    "queue_message",
    "raw_audio_caps",
    "transcript_of",
]

EOS = "EOS"
_EOS_BYTES = EOS.encode()
NO_ID = "none"
ADAPTATION_STATE_TYPE = "string+gzip+base64"
MAX_ADAPTATION_STATE_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
# How GStreamer 0.10 describes S16LE, the format of raw audio that names none.
_S16LE = {"width": "16", "depth": "16", "signed": "true", "endianness": "1234"}


# Requests: what the client says when it connects, and how the master passes it on


class Adaptation(StrEnum):
    """Whether what is learned of the user is kept for the user's next session."""

    KEEP = "keep"
    NONE = "none"

    @classmethod
    def parse(cls, text: str | None) -> "Adaptation | None":
        """Reads what a client says; None if it says nothing.

        Raises:
            ProtocolError: it says something else.
        """
        if not text:
            return None
        try:
            return cls(text)
        except ValueError:
            raise ProtocolError(f"adaptation: expected keep or none, found {excerpt(text)}") from None


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One client's request for recognition.

    Attributes:
        content_type: GStreamer caps or a MIME type; None lets the decoder look at the data.
        user_id: who speaks, as the client says; "none" when it does not.
        content_id: what is spoken, as the client says, to match a later reference text.
        model: name of the model that the client asks for; None is the server's default.
        language: language that the client asks for, as a tag such as ``et``; "" leaves that to the server.
        options: options of the session that the client asks for; the worker checks them.
        at_model_rate: the content type is raw audio of no stated rate, which is that of the model.
        adaptation: whether to keep what is learned of the user; None leaves that to the server.
        wants_place: the client wants to be told its place in line while it waits for a worker.
        wants_positions: the client wants to be told how much of its audio has been recognised.
        id: unique name of the request, given by the master.
    """

    content_type: str | None = None
    user_id: str = NO_ID
    content_id: str = NO_ID
    model: str | None = None
    language: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    at_model_rate: bool = False
    adaptation: Adaptation | None = None
    wants_place: bool = False
    wants_positions: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def has_user(self) -> bool:
        """Whether the client says who speaks."""
        return self.user_id not in ("", NO_ID)

    def content_type_for(self, model_rate_hz: int) -> str | None:
        """The content type for a worker whose model has this sample rate."""
        if not self.at_model_rate:
            return self.content_type
        return f"{self.content_type}, rate=(int){model_rate_hz}"

    @classmethod
    def from_query(cls, query: str, headers: Mapping[str, str] | None = None) -> "RequestInfo":
        """Reads the query string of the client WebSocket's address, and of its headers those of options.

        Raises:
            ProtocolError: see `request_options.read_options` and `Adaptation.parse`, or ``queue`` or
                ``positions`` is invalid.
        """
        fields = parse_query(query)
        return cls(
            content_type=fields.get("content-type") or None,
            user_id=fields.get("user-id") or NO_ID,
            content_id=fields.get("content-id") or NO_ID,
            model=fields.get("model") or None,
            language=fields.get("language", ""),
            options=read_options(query, headers or {})[0],
            adaptation=Adaptation.parse(fields.get("adaptation")),
            wants_place=_parse_switch("queue", fields.get("queue", "")),
            wants_positions=_parse_switch("positions", fields.get("positions", "")),
        )

    @classmethod
    def from_http(
        cls, headers: Mapping[str, str], query: str, options: Mapping[str, Any] | None = None
    ) -> "RequestInfo":
        """Reads the headers (a mapping that ignores case) and the query string of an upload.

        Args:
            headers: the headers.
            query: the query string.
            options: options of the session; None reads them.

        Raises:
            ProtocolError: see `request_options.read_options` and `Adaptation.parse`.
        """
        fields = parse_query(query)

        def header(name: str) -> str:
            return clean_text(_decode_header(headers.get(name, "")))

        return cls(
            content_type=caps_from_http(header("Content-Type")),
            user_id=header("device-id") or header("User-Id") or fields.get("user-id") or NO_ID,
            content_id=header("Content-Id") or NO_ID,
            options=read_options(query, headers)[0] if options is None else options,
            model=fields.get("model") or None,
            language=fields.get("language", ""),
            adaptation=Adaptation.parse(fields.get("adaptation")),
        )


def _parse_switch(name: str, value: str) -> bool:
    """Reads a field that is on or off.

    Raises:
        ProtocolError: it is something else.
    """
    if value.lower() not in ("", "0", "1", "false", "true"):
        raise ProtocolError(f"{name}: expected true or false, found {excerpt(value)}")
    return value.lower() in ("1", "true")


def _decode_header(value: str) -> str:
    """HTTP libraries take the bytes of a header for Latin-1; clients mean UTF-8 (and a few mean Latin-1)."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def parse_query(query: str) -> dict[str, str]:
    """The fields of a query string, without control characters and of bounded length."""
    return {name: clean_text(value) for name, value in parse_qsl(query, keep_blank_values=True)}


def caps_from_http(content_type: str) -> str | None:
    """Turns a Content-Type header into what a worker expects.

    Raw audio (`audio/x-raw-int; rate=8000`) becomes GStreamer caps with the defaults filled in, which workers
    of the original project need; no format is filled in where GStreamer 0.10's description is that of another
    one. `application/x-www-form-urlencoded`, curl's own default, says nothing.
    """
    media_type, _, attributes = content_type.replace(";", ",").partition(",")
    media_type = media_type.strip().lower()
    if media_type in ("", "application/x-www-form-urlencoded"):
        return None
    if media_type not in ("audio/x-raw", "audio/x-raw-int"):
        return content_type
    said: dict[str, str] = {}
    for attribute in attributes.split(","):
        key, equals, value = attribute.partition("=")
        if equals:
            said[key.strip()] = value.strip()
    caps = {"layout": "interleaved", "rate": "16000", "format": "S16LE", "channels": "1", **said}
    if "format" not in said and any(_bare(said.get(key, value)) != value for key, value in _S16LE.items()):
        del caps["format"]
    return ", ".join(["audio/x-raw", *(f"{key}={value}" for key, value in caps.items())])


def _bare(value: str) -> str:
    """A value of caps without its type and quotes: ``(int)16`` is ``16``."""
    return value.rpartition(")")[2].strip().strip('"').lower()


def raw_audio_caps(sample_format: str, rate_hz: int | None, channels: int = 1) -> str:
    """The content type of raw audio, in full, as workers of the original project need it.

    Args:
        sample_format: GStreamer's name, such as ``S16LE``.
        rate_hz: sample rate; None leaves it out, see `RequestInfo.at_model_rate`.
        channels: number of interleaved channels.
    """
    layout = f"layout=(string)interleaved, format=(string){sample_format}, channels=(int){channels}"
    return f"audio/x-raw, {layout}" + ("" if rate_hz is None else f", rate=(int){rate_hz}")


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
class Reset:
    """End the segment now and forget what its words were recognised with; times go on counting."""


@dataclass(frozen=True, slots=True)
class SetOptions:
    """Use these options of the session from now on."""

    options: Message


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The client is still there; nothing is to be done."""


ClientMessage = Audio | EndOfStream | SetAdaptationState | SetOptions | Finalize | Reset | KeepAlive


def is_eos(message: str | bytes) -> bool:
    """Whether a message of a client says that no more audio will come."""
    return message == EOS.encode() if isinstance(message, bytes) else message.strip() == EOS


def audio_messages(data: bytes) -> tuple[bytes, ...]:
    """The messages that carry samples: bytes that happen to read ``EOS`` are cut, and end no stream."""
    if data == EOS.encode():
        return data[:1], data[1:]
    return (data,) if data else ()


def parse_client_message(message: str | bytes) -> ClientMessage:
    """Understands one WebSocket message of a client; a binary message that is not EOS is audio.

    Raises:
        ProtocolError: a text message is not EOS and not a known control message.
    """
    if is_eos(message):
        return EndOfStream()
    if isinstance(message, bytes):
        return Audio(message)
    properties = parse_object(message, "a control message")
    if "adaptation_state" in properties:
        state = properties["adaptation_state"]
        if not isinstance(state, dict):
            raise ProtocolError(f"adaptation_state: expected an object, found {excerpt(state)}")
        return SetAdaptationState(state)
    if "options" in properties:
        options = properties["options"]
        if not isinstance(options, dict):
            raise ProtocolError(f"options: expected an object, found {excerpt(options)}")
        return SetOptions(options)
    if properties.get("finalize") is True:
        return Finalize()
    if properties.get("reset") is True:
        return Reset()
    if properties.get("keepalive") is True:
        return KeepAlive()
    known = "adaptation_state, options, finalize, reset, keepalive"
    raise ProtocolError(f"a control message: expected one of {known}, or {EOS}, found {excerpt(message)}")


# Adaptation state


def encode_adaptation_state(text: str) -> str:
    """Packs Kaldi's text form for JSON: zlib (which the original calls gzip), then base64."""
    return base64.b64encode(zlib.compress(text.encode())).decode("ascii")


def decode_adaptation_state(properties: Mapping[str, Any]) -> str:
    """Unpacks the adaptation state that a client sent; the text is empty if only CMVN has a state.

    Raises:
        AdaptationStateError: the type is unknown, or the value is damaged or unreasonably large.
    """
    _check_type(properties)
    return _unpack(properties, "value")


def decode_cmvn_state(properties: Mapping[str, Any]) -> str | None:
    """Unpacks the state of CMVN alongside an adaptation state; None if there is none.

    Raises:
        AdaptationStateError: the type is unknown, or the value is damaged or unreasonably large.
    """
    if properties.get("cmvn_state") is None:
        return None
    _check_type(properties)
    return _unpack(properties, "cmvn_state")


def adaptation_state_of(event: Message) -> Message | None:
    """The adaptation state in an event, for `decode_adaptation_state`; None in every other event."""
    state = event.get("adaptation_state")
    return state if isinstance(state, dict) else None


def _check_type(properties: Mapping[str, Any]) -> None:
    kind = properties.get("type")
    if kind != ADAPTATION_STATE_TYPE:
        raise AdaptationStateError(
            f"adaptation state: expected type {ADAPTATION_STATE_TYPE}, found {excerpt(kind)}"
        )


def _unpack(properties: Mapping[str, Any], name: str) -> str:
    value = properties.get(name)
    if not isinstance(value, str):
        raise AdaptationStateError(f"adaptation state: expected a text as {name}, found {excerpt(value)}")
    try:
        # Encoders for e-mail break lines; any other character outside the alphabet is damage.
        packed = base64.b64decode("".join(value.split()), validate=True)
        _check_unpacked_size(packed)
        return zlib.decompress(packed).decode()
    except (binascii.Error, zlib.error, ValueError) as error:
        if isinstance(error, AdaptationStateError):
            raise
        raise AdaptationStateError(
            f"adaptation state: expected text, zlib-packed, in base64, found {error}"
        ) from None


def _check_unpacked_size(packed: bytes) -> None:
    """Unpacks piece by piece and keeps none, so that a bomb takes no memory before it is refused."""
    unpacker = zlib.decompressobj()
    num_bytes = 0
    for begin in range(0, len(packed), _PIECE_BYTES):  # what has not been used is copied each time
        rest = packed[begin : begin + _PIECE_BYTES]
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _PIECE_BYTES)
            rest = unpacker.unconsumed_tail
            num_bytes += len(piece)
            if num_bytes > MAX_ADAPTATION_STATE_BYTES:
                raise AdaptationStateError(
                    f"adaptation state: expected at most {MAX_ADAPTATION_STATE_BYTES} bytes, found more"
                )
            if not (piece or rest):
                break
    if not unpacker.eof:
        raise AdaptationStateError("adaptation state: expected a whole zlib stream, found a part of one")


# To the client: results (made from events in `results`) and errors


def error_message(status: Status, text: str, request_id: str, retry_after_s: int = 0) -> Message:
    """The message before the server closes a request that went wrong.

    Args:
        status: what went wrong.
        text: describes it.
        request_id: id of the request.
        retry_after_s: after how many seconds it is worth trying again; 0 says nothing of that.
    """
    message = {"status": int(status), "message": text, "id": request_id}
    return {**message, "retry-after": retry_after_s} if retry_after_s else message


def queue_message(place: int, request_id: str) -> Message:
    """The message that tells a client that has asked for it its place in line; 0 when it is being served."""
    return {"status": int(Status.SUCCESS), "queue": place, "id": request_id}


def position_message(num_bytes: int, audio_s: float, request_id: str) -> Message:
    """The message that tells a client that has asked for it how much of its audio has been recognised.

    Args:
        num_bytes: bytes of its messages, text and binary, that have been processed.
        audio_s: seconds of audio that have been processed.
        request_id: id of the request.
    """
    position = {"bytes": num_bytes, "seconds": round(audio_s, 3)}
    return {"status": int(Status.SUCCESS), "position": position, "id": request_id}


def parse_event(text: str | bytes) -> Message:
    """Reads a message from a worker or, in a client, from the master.

    Raises:
        ProtocolError: it is not an object with an integer status.
    """
    message = parse_object(text, "an event")
    if not isinstance(message.get("status"), int):
        raise ProtocolError(f"an event: expected an integer status, found {excerpt(message.get('status'))}")
    return message


def transcript_of(event: Message) -> str | None:
    """The best transcript in a partial or final result; None in every other message."""
    try:
        return str(event["result"]["hypotheses"][0]["transcript"])
    except (KeyError, IndexError, TypeError):
        return None


def channel_of(event: Message) -> int | None:
    """Number of the channel of a result, where each channel is recognised by itself; else None."""
    channel = event.get("channel")
    return channel if isinstance(channel, int) else None


def is_final(event: Message) -> bool:
    """True for the final result of a segment."""
    result = event.get("result")
    return isinstance(result, dict) and result.get("final") is True
