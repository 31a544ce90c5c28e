"""Content types: GStreamer caps of raw audio, and MIME types of containers.

    audio/x-raw, layout=(string)interleaved, rate=(int)16000, format=(string)S16LE, channels=(int)1

is a media type and parameters ``key=value`` in any order, separated by commas or semicolons; a value may name
its type and may be quoted. GStreamer 0.10 wrote ``audio/x-raw-int`` with ``width``, ``depth``, ``signed`` and
``endianness`` in place of ``format``. Parameters that are missing take the defaults of `RawFormat`.

Many clients send a type that says nothing about audio: what their HTTP library puts in by itself (curl, wget
and Apps Script ``application/x-www-form-urlencoded``, .NET ``application/octet-stream``, ``fetch`` with text
and some REST clients ``text/plain``), what a storage service calls any object (S3 ``binary/octet-stream``),
or what an Android intent asks for (``audio/*``). All these count as no type, and the bytes themselves tell.

Sources: GStreamer's documentation of caps and of raw audio media types; RFC 2046 (audio/basic), RFC 2586
(audio/L16), RFC 3551 (PCMU, PCMA).
"""

import re
from dataclasses import dataclass

from pykaldi_server.audio.containers import ADTS, G722, GSM, MPEG_AUDIO, MPEG_TS, Container
from pykaldi_server.audio.pcm import RawFormat
from pykaldi_server.errors import AudioError

__all__ = ["ContentType", "parse_content_type"]

_RAW_TYPES = {
    "audio/x-raw": RawFormat(),
    "audio/x-raw-int": RawFormat(),
    "audio/x-raw-float": RawFormat("F32LE"),
    "audio/raw": RawFormat(),
    "audio/pcm": RawFormat(),
    "audio/l16": RawFormat("S16BE"),
    "audio/basic": RawFormat("MULAW", 8_000),
    "audio/x-mulaw": RawFormat("MULAW", 8_000),
    "audio/pcmu": RawFormat("MULAW", 8_000),
    "audio/x-alaw": RawFormat("ALAW", 8_000),
    "audio/pcma": RawFormat("ALAW", 8_000),
}

_UNTELLING_TYPES = {"binary/octet-stream", "text/plain", "audio/*", "video/*", "*/*"}
# Other types of applications say nothing, or are those of compressed and other files, which the bytes tell.
_AUDIO_APPLICATIONS = {"application/ogg", "application/x-ogg", "application/mp4", "application/mxf"}
# Formats whose bytes may not tell what they are, such as MPEG audio that starts in the middle of a frame.
_CONTAINERS = {
    "audio/mpeg": MPEG_AUDIO,
    "audio/mp3": MPEG_AUDIO,
    "audio/x-mp3": MPEG_AUDIO,
    "audio/x-mpeg": MPEG_AUDIO,
    "audio/aac": ADTS,
    "audio/x-aac": ADTS,
    "audio/aacp": ADTS,
    "audio/gsm": GSM,
    "audio/x-gsm": GSM,
    "audio/g722": G722,
    "video/mp2t": MPEG_TS,
}

_PARAMETER = re.compile(r"""\s*([\w-]+)\s*=\s*(?:\(\s*\w+\s*\))?\s*("[^"]*"|[^,;"]*?)\s*$""")
_SEPARATOR = re.compile(r"""[,;](?=(?:[^"]*"[^"]*")*[^"]*$)""")
_LONGEST_CONTENT_TYPE = 1_000


@dataclass(frozen=True, slots=True)
class ContentType:
    """What a client says about its audio.

    Attributes:
        media_type: in lower case, without parameters; empty when the client says nothing of use.
        raw: how raw audio is laid out; None for a container.
        container: what the stream is where its first bytes do not tell; None where the type does not either.
    """

    media_type: str = ""
    raw: RawFormat | None = None
    container: Container | None = None


def parse_content_type(content_type: str | None) -> ContentType:
    """Reads caps or a MIME type.

    Args:
        content_type: as the client sent it; None, an empty string, and types that say nothing about audio
            (see the top of this file) count as none.

    Raises:
        AudioError: the type is not audio, or a parameter is invalid.
    """
    text = (content_type or "").strip()
    if len(text) > _LONGEST_CONTENT_TYPE:
        raise AudioError(
            f"content type: expected at most {_LONGEST_CONTENT_TYPE} characters, found {len(text)}"
        )
    media_type, *parameters = _SEPARATOR.split(text)
    # GStreamer may name a memory feature: audio/x-raw(memory:SystemMemory).
    media_type = media_type.split("(")[0].strip().lower()
    if media_type in _RAW_TYPES:
        try:
            return ContentType(media_type, _raw_format(media_type, _parse_parameters(parameters)))
        except AudioError as error:
            raise AudioError(f"content type {text!r}: {error}") from None
    if media_type in _AUDIO_APPLICATIONS:
        return ContentType(media_type)
    if not media_type or media_type in _UNTELLING_TYPES or media_type.startswith("application/"):
        return ContentType()
    if media_type.startswith(("audio/", "video/")):
        return ContentType(media_type, container=_CONTAINERS.get(media_type))
    raise AudioError(f"content type: expected audio (such as audio/x-raw or audio/ogg), found {text!r}")


def _parse_parameters(pieces: list[str]) -> dict[str, str]:
    parameters = {}
    for piece in filter(str.strip, pieces):
        match = _PARAMETER.match(piece)
        if match is None:
            raise AudioError(f"expected key=value, found {piece.strip()!r}")
        parameters[match[1].lower()] = match[2].strip('"').strip()
    return parameters


def _raw_format(media_type: str, parameters: dict[str, str]) -> RawFormat:
    default = _RAW_TYPES[media_type]
    layout = parameters.get("layout", "interleaved").lower()
    if layout != "interleaved":
        raise AudioError(f"layout: expected interleaved, found {layout!r}")
    sample_format = parameters.get("format", "").upper()
    if not sample_format:
        described = parameters.keys() & {"width", "depth", "signed", "endianness"}
        sample_format = _format_from_width(default, parameters) if described else default.sample_format
    return RawFormat(
        sample_format,
        _integer(parameters, "rate", default.rate_hz),
        _integer(parameters, "channels", default.channels),
    )


def _format_from_width(default: RawFormat, parameters: dict[str, str]) -> str:
    """GStreamer 0.10's description of a sample format, as the name that GStreamer 1.0 has for it."""
    if default.sample_format in ("MULAW", "ALAW"):
        return default.sample_format
    letter = default.sample_format[0]
    if letter == "S" and parameters.get("signed", "true").lower() in ("false", "no", "0"):
        letter = "U"
    default_bits = int(default.sample_format[1:-2])
    bits = _integer(parameters, "width", _integer(parameters, "depth", default_bits))
    orders = {"1234": "LE", "4321": "BE", "little-endian": "LE", "big-endian": "BE"}
    endianness = parameters.get("endianness", "").lower()
    order = orders.get(endianness) if endianness else default.sample_format[-2:]
    if order is None:
        raise AudioError(f"endianness: expected 1234 or 4321, found {endianness!r}")
    return f"{letter}{bits}{order if bits > 8 else ''}"


def _integer(parameters: dict[str, str], key: str, default: int) -> int:
    text = parameters.get(key, "")
    if not text:
        return default
    if not re.fullmatch(r"\d{1,9}", text):
        raise AudioError(f"{key}: expected a whole number, found {text!r}")
    return int(text)
