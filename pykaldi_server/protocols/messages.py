"""What all wire formats share: JSON objects, statuses, the codes with which WebSockets are closed."""

import json
from enum import IntEnum
from typing import Any

from pykaldi_server.errors import ProtocolError

__all__ = [
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "INVALID_DATA",
    "MESSAGE_TOO_BIG",
    "NORMAL_CLOSURE",
    "POLICY_VIOLATION",
    "TRY_AGAIN_LATER",
    "Message",
    "Status",
    "clean_text",
    "close_reason",
    "dumps",
    "excerpt",
    "message_bytes",
    "parse_object",
]

Message = dict[str, Any]
"""A JSON object, before `dumps` or after parsing."""

# Close codes: RFC 6455, 7.4.1, and IANA's registry.
NORMAL_CLOSURE = 1000
GOING_AWAY = 1001
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013

MAX_CLOSE_REASON_BYTES = 123
MAX_FIELD_CHARACTERS = 512


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


_ENCODER = json.JSONEncoder(allow_nan=False)
"""`json.dumps` would make one for each message."""


def dumps(message: Message) -> str:
    """Serialises a message as pure ASCII, as the original does.

    Raises:
        ValueError: the message contains NaN or infinity, which JSON lacks.
    """
    return _ENCODER.encode(message)


def parse_object(text: str | bytes, what: str) -> Message:
    """Parses a JSON object.

    Args:
        text: the JSON text.
        what: what the text is, for the error.

    Raises:
        ProtocolError: the text is not a JSON object.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(f"{what}: expected JSON, found {excerpt(text)}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"{what}: expected a JSON object, found {excerpt(message)}")
    return message


def excerpt(value: object) -> str:
    """The beginning of a value's representation, for errors and log lines."""
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def message_bytes(message: str | bytes) -> int:
    """Number of bytes of a WebSocket message."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())


def close_reason(text: str) -> str:
    """Makes a text fit for a close frame, which has room for 123 bytes."""
    return text.encode()[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore")


def clean_text(value: str) -> str:
    """Makes a text from outside fit for log lines: printable and of bounded length."""
    return "".join(character for character in value if character.isprintable()).strip()[:MAX_FIELD_CHARACTERS]
