"""AudioSocket, the protocol in which Asterisk streams the audio of a call over TCP.

A message is a kind (one byte), the length of the payload (two bytes, big-endian) and the payload. Asterisk
first sends the UUID of the call, which its dialplan has chosen, then audio every 20 ms, and keys that are
pressed. The end of the call is a hangup, or just the end of the connection. No I/O here: bytes in, messages
out, and back.

Source: "AudioSocket" in Asterisk's documentation. Kinds of audio above 8 kHz are those of recent versions.
"""

import struct
import uuid
from dataclasses import dataclass

from pykaldi_server.errors import ProtocolError

__all__ = ["Audio", "CallId", "Digit", "Hangup", "Message", "MessageReader", "PeerError", "error", "hangup"]

_HEADER = struct.Struct(">BH")
_HANGUP, _ID, _DTMF, _ERROR = 0x00, 0x01, 0x03, 0xFF
# Mono, 16-bit, little-endian.
_RATES_HZ = {
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}


@dataclass(frozen=True, slots=True)
class CallId:
    """The first message: which call it is."""

    id: str


@dataclass(frozen=True, slots=True)
class Audio:
    """The next samples: mono, int16, little-endian."""

    rate_hz: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Digit:
    """A key has been pressed."""

    digit: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """The call has ended."""


@dataclass(frozen=True, slots=True)
class PeerError:
    """Something has gone wrong on the other side; the code is the application's own."""

    code: int | None


Message = CallId | Audio | Digit | Hangup | PeerError


class MessageReader:
    """Cuts a stream of bytes into messages. Kinds that are unknown are left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._has_id = False

    def feed(self, data: bytes) -> list[Message]:
        """Takes the next bytes, cut anywhere; returns the messages that are complete with them.

        Raises:
            ProtocolError: the stream does not begin with the id of a call, or a message is malformed.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer)
            if not self._has_id and (kind, length) != (_ID, 16):
                raise ProtocolError(
                    "the first message: expected the id of a call (kind 0x01) of 16 bytes, "
                    f"found kind 0x{kind:02x} of {length} bytes"
                )
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            message = _parse(kind, bytes(self._buffer[_HEADER.size : end]))
            del self._buffer[:end]
            self._has_id = True
            if message is not None:
                messages.append(message)
        return messages


def _parse(kind: int, payload: bytes) -> Message | None:
    if kind in _RATES_HZ:
        return Audio(_RATES_HZ[kind], payload)
    match kind:
        case 0x00:
            return Hangup()
        case 0x01:
            if len(payload) != 16:
                raise ProtocolError(f"the id of a call: expected 16 bytes, found {len(payload)}")
            return CallId(str(uuid.UUID(bytes=payload)))
        case 0x03:
            text = payload.decode("ascii", errors="replace")
            if len(text) != 1 or not text.isprintable() or not text.isascii():
                raise ProtocolError(f"DTMF: expected one ASCII character, found {payload!r}"[:80])
            return Digit(text)
        case 0xFF:
            return PeerError(payload[0] if payload else None)
    return None


def hangup() -> bytes:
    """The server is done: Asterisk goes on with the call's dialplan."""
    return _HEADER.pack(_HANGUP, 0)


def error(code: int) -> bytes:
    """Something has gone wrong; Asterisk logs it and goes on with the call's dialplan.

    Args:
        code: 0 to 255; this server uses the numbers of `protocols.messages.Status`.
    """
    return _HEADER.pack(_ERROR, 1) + bytes([code])
