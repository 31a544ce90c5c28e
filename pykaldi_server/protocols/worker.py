"""What masters and workers say to each other, in addition to what clients say and hear (`gstreamer`).

    master --init message, the client's messages, EOS--> worker
    master <--events, positions, end position----------- worker

A connection serves one request. Masters and workers of kaldi-gstreamer-server know nothing of positions: a
worker announces with ``protocol=2`` in its address that it can report them, and a master asks for them in the
init message.

*Positions* say how much of what the client sent has been processed. The master keeps no more than a fixed
number of bytes on the way to the worker, so the worker can always read its connection: pings are answered and
a cancel is noticed whatever the load. The last position has ``end`` set: without it, the end of the
connection means that the worker was lost, and the request has failed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import EOS, NO_ID, RequestInfo, parse_query
from pykaldi_server.protocols.messages import Message, dumps, excerpt, parse_object

__all__ = [
    "PIECE_BYTES",
    "POSITION_PROTOCOL",
    "Position",
    "WorkerInfo",
    "WorkerRequestInfo",
    "init_message",
    "is_position",
    "split_message",
]

POSITION_PROTOCOL = 2
"""The version of this protocol from which workers report positions."""

PIECE_BYTES = 16 * 1024
"""Longer messages reach a worker in pieces of this size, each of which it processes in a moment."""

_POSITION_PREFIX = '{"position":'
_INIT = "the master's first message"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says about itself when it connects; a worker of the original project says nothing.

    Attributes:
        model: name of the model that it serves.
        language: language of the model, as the worker's settings say.
        version: version of its package.
        protocol: version of the protocol that it speaks; 1 is the original's.
        sample_rate_hz: sample rate of its model.
    """

    model: str = ""
    language: str = ""
    version: str = ""
    protocol: int = 1
    sample_rate_hz: int = 16_000

    @property
    def reports_positions(self) -> bool:
        """Whether this worker can say how far it has come, and announces its end."""
        return self.protocol >= POSITION_PROTOCOL

    @classmethod
    def from_query(cls, query: str) -> "WorkerInfo":
        """Reads the query string of the worker WebSocket's address."""
        fields = parse_query(query)
        return cls(
            model=fields.get("model", ""),
            language=fields.get("language", ""),
            version=fields.get("version", ""),
            protocol=_whole_number(fields.get("protocol"), 1),
            sample_rate_hz=_whole_number(fields.get("rate"), 16_000),
        )

    def url(self, base: str) -> str:
        """Adds what this worker says about itself to the master's address."""
        parts = urlsplit(base)
        said = {
            "model": self.model,
            "language": self.language,
            "version": self.version,
            "protocol": str(self.protocol) if self.reports_positions else "",
            "rate": str(self.sample_rate_hz) if self.reports_positions else "",
        }
        fields = {**dict(parse_qsl(parts.query)), **{name: value for name, value in said.items() if value}}
        return urlunsplit(parts._replace(query=urlencode(fields)))


def _whole_number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default


@dataclass(frozen=True, slots=True)
class WorkerRequestInfo:
    """A request as a worker gets it.

    Attributes:
        request: who asks, and how the audio is encoded.
        options: options of the session that the client asks for, not yet checked.
        position_bytes: report a position after at least this many bytes, 0 after every message; None reports
            none.
    """

    request: RequestInfo
    options: Mapping[str, Any] = field(default_factory=dict)
    position_bytes: int | None = None

    @classmethod
    def from_init_message(cls, text: str | bytes) -> "WorkerRequestInfo":
        """Reads the first message from the master.

        Raises:
            ProtocolError: the message is not an init message, or a field has the wrong type.
        """
        message = parse_object(text, _INIT)
        if not {"id", "content_type"} <= message.keys() or "status" in message:
            raise ProtocolError(f"{_INIT}: expected id and content_type, found {excerpt(message)}")
        for name in ("id", "content_type", "user_id", "content_id"):
            if not isinstance(message.get(name), str | None):
                raise ProtocolError(f"{name} in {_INIT}: expected a text, found {excerpt(message[name])}")
        if not message["id"]:
            raise ProtocolError(f"{_INIT}: expected an id, found {message['id']!r}")
        options = message.get("options") or {}
        if not isinstance(options, dict):
            raise ProtocolError(f"options in {_INIT}: expected an object, found {excerpt(options)}")
        position_bytes = message.get("position_bytes")
        if not isinstance(position_bytes, int | None):
            raise ProtocolError(
                f"position_bytes in {_INIT}: expected a number, found {excerpt(position_bytes)}"
            )
        request = RequestInfo(
            id=message["id"],
            content_type=message["content_type"] or None,
            user_id=message.get("user_id") or NO_ID,
            content_id=message.get("content_id") or NO_ID,
        )
        return cls(request, options, position_bytes)


def init_message(request: RequestInfo, worker: WorkerInfo, position_bytes: int) -> str:
    """Makes the first message that a worker gets.

    Args:
        request: the client's request.
        worker: who gets the message; a worker of the original project gets only what it knows.
        position_bytes: see `WorkerRequestInfo`.
    """
    message: Message = {
        "id": request.id,
        "content_type": request.content_type_for(worker.sample_rate_hz),
        "user_id": request.user_id,
        "content_id": request.content_id,
    }
    if worker.reports_positions:
        message["position_bytes"] = position_bytes
        if request.options:
            message["options"] = dict(request.options)
    return dumps(message)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a worker has come with a request.

    Attributes:
        num_bytes: bytes of the client's messages, text and binary, that have been processed.
        audio_s: seconds of audio that have been processed.
        end: everything has been processed and all events have been sent.
        cpu_s: CPU seconds that this has taken so far; 0 if the worker says nothing of it.
        partial_delays_s: for each partial result since the last position, how long after the worker had
            received the latest audio in it the result was sent.
        final_delays_s: for each final result since the last position, how long after the worker had received
            the audio up to the end of the segment the result was sent.
    """

    num_bytes: int
    audio_s: float
    end: bool = False
    cpu_s: float = 0.0
    partial_delays_s: tuple[float, ...] = ()
    final_delays_s: tuple[float, ...] = ()

    def text(self) -> str:
        """The message, which `is_position` recognises without parsing."""
        position: Message = {"bytes": self.num_bytes, "seconds": self.audio_s, "end": self.end}
        if self.cpu_s:
            position["cpu"] = round(self.cpu_s, 6)
        for name, delays_s in (("partials", self.partial_delays_s), ("finals", self.final_delays_s)):
            if delays_s:
                position[name] = [round(each, 4) for each in delays_s]
        return json.dumps({"position": position})

    def later(self, seconds: float) -> "Position":
        """The same with delays that begin so much earlier."""
        if not self.partial_delays_s and not self.final_delays_s:
            return self
        return replace(
            self,
            partial_delays_s=tuple(each + seconds for each in self.partial_delays_s),
            final_delays_s=tuple(each + seconds for each in self.final_delays_s),
        )

    @classmethod
    def from_text(cls, text: str) -> "Position":
        """Parses a message.

        Raises:
            ProtocolError: it is not a position.
        """
        position = parse_object(text, "a position").get("position")
        try:
            if not isinstance(position, dict):
                raise TypeError
            return cls(
                int(position["bytes"]),
                float(position["seconds"]),
                bool(position["end"]),
                float(position.get("cpu", 0.0)),
                tuple(map(float, position.get("partials", ()))),
                tuple(map(float, position.get("finals", ()))),
            )
        except (TypeError, KeyError, ValueError):
            raise ProtocolError(
                f"expected bytes, seconds and end of a position, found {excerpt(text)}"
            ) from None


def is_position(message: str | bytes) -> bool:
    """Whether a worker's message is a position; everything else is an event."""
    return isinstance(message, str) and message.startswith(_POSITION_PREFIX)


def split_message(message: str | bytes, limit_bytes: int = PIECE_BYTES) -> Iterator[str | bytes]:
    """Cuts long audio into pieces, which join to the same stream; text messages stay whole.

    No piece is ever ``EOS`` unless the whole message was.
    """
    if isinstance(message, str) or len(message) <= limit_bytes:
        yield message
        return
    for start in range(0, len(message), limit_bytes):
        piece = message[start : start + limit_bytes]
        if piece == EOS.encode():  # the last bytes of a longer message that happen to read so
            yield from (piece[:1], piece[1:])
        else:
            yield piece
