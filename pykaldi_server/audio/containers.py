"""Which container a stream is, by the bytes that it starts with.

A stream without a known signature is raw audio. A signature must not be found in raw audio by chance: all of
them are at least three fixed bytes, except MPEG audio and AAC, whose first frame must be followed by a second
one.

Sources: the formats' own specifications; ISO/IEC 11172-3 and 13818-3 (MPEG audio), 13818-7 (ADTS), 14496-12
(MP4).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

__all__ = ["ADTS", "ENOUGH_BYTES", "MP4", "MPEG_AUDIO", "WAV", "Container", "Verdict", "find_container"]

ENOUGH_BYTES = 65536
"""With this many bytes at hand, `find_container` always decides."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container format.

    Attributes:
        name: for people.
        demuxer: FFmpeg's name of its reader; None lets FFmpeg find out.
        needs_seeking: the file can be read only when all of it is there.
    """

    name: str
    demuxer: str | None
    needs_seeking: bool = False


class Verdict(Enum):
    """What `find_container` says when it finds no container."""

    NO_CONTAINER = "not a container"
    MORE_BYTES_NEEDED = "more bytes are needed"


WAV = Container("WAV", "wav")
MP4 = Container("MP4", "mov")
MPEG_AUDIO = Container("MPEG audio", "mp3")
ADTS = Container("AAC (ADTS)", "aac")

# Each signature is a list of (offset, bytes); the first that matches counts.
_SIGNATURES: list[tuple[list[tuple[int, bytes]], Container]] = [
    ([(0, b"RIFF"), (8, b"WAVE")], WAV),
    ([(0, b"RIFX"), (8, b"WAVE")], Container("WAV (RIFX)", "wav")),
    ([(0, b"RF64"), (8, b"WAVE")], Container("WAV (RF64)", "wav")),
    ([(0, b"BW64"), (8, b"WAVE")], Container("WAV (BW64)", "wav")),
    ([(0, b"RIFF"), (8, b"AVI ")], Container("AVI", "avi")),
    ([(0, b"riff\x2e\x91\xcf\x11")], Container("Wave64", "w64")),
    ([(0, b"OggS")], Container("Ogg", "ogg")),
    ([(0, b"fLaC")], Container("FLAC", "flac")),
    ([(0, b"ID3")], MPEG_AUDIO),
    ([(0, b"\x1a\x45\xdf\xa3")], Container("Matroska or WebM", "matroska")),
    ([(0, b"#!AMR")], Container("AMR", "amr")),
    ([(0, b"FORM"), (8, b"AIFF")], Container("AIFF", "aiff")),
    ([(0, b"FORM"), (8, b"AIFC")], Container("AIFF-C", "aiff")),
    ([(0, b"caff"), (28, b"lpcm")], Container("CAF", "caf")),
    ([(0, b"caff"), (28, b"ulaw")], Container("CAF", "caf")),
    ([(0, b"caff"), (28, b"alaw")], Container("CAF", "caf")),
    # Compressed audio needs the packet table, which usually comes after it.
    ([(0, b"caff")], Container("CAF", "caf", needs_seeking=True)),
    ([(0, b"NIST_1A")], Container("NIST SPHERE", "nistsphere")),
    ([(0, b".snd")], Container("AU", "au")),
    ([(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")], Container("ASF or WMA", "asf")),
    ([(4, b"ftyp")], MP4),
]


def find_container(head: bytes, is_all: bool) -> Container | Verdict:
    """Looks for a signature.

    Args:
        head: the first bytes of a stream.
        is_all: no more bytes will come.
    """
    for signature, container in _SIGNATURES:
        matches = _matches(head, signature)
        if matches is None and not is_all:
            return Verdict.MORE_BYTES_NEEDED
        if matches:
            return _with_layout(container, head, is_all) if container is MP4 else container
    for frame_bytes, container in ((_mpeg_frame_bytes, MPEG_AUDIO), (_adts_frame_bytes, ADTS)):
        matches = _starts_with_two_frames(head, frame_bytes)
        if matches is None and not is_all:
            return Verdict.MORE_BYTES_NEEDED
        if matches:
            return container
    return Verdict.NO_CONTAINER


def _matches(head: bytes, signature: list[tuple[int, bytes]]) -> bool | None:
    """True, False, or None when the bytes so far fit but are too few."""
    complete = True
    for offset, expected in signature:
        found = head[offset : offset + len(expected)]
        if not expected.startswith(found):
            return False
        complete &= found == expected
    return complete or None


def _with_layout(container: Container, head: bytes, is_all: bool) -> Container | Verdict:
    """An MP4 file is a stream only if its index (``moov``) comes before its audio (``mdat``)."""
    offset = 0
    while len(head) >= offset + 8:
        size, kind = struct.unpack_from(">I4s", head, offset)
        if kind == b"moov":
            return container
        if kind == b"mdat" or size < 8:
            return replace(container, needs_seeking=True)
        offset += size
    if is_all or offset >= ENOUGH_BYTES or len(head) >= ENOUGH_BYTES:
        return replace(container, needs_seeking=True)
    return Verdict.MORE_BYTES_NEEDED


def _starts_with_two_frames(head: bytes, frame_bytes: Callable[[bytes], int | None]) -> bool | None:
    """True, False, or None when the bytes so far are too few.

    Args:
        head: the first bytes of a stream.
        frame_bytes: length of a frame from its first 6 bytes, or None where they do not start a frame.
    """
    if not b"\xff".startswith(head[:1]) or (len(head) > 1 and head[1] < 0xE0):
        return False
    if len(head) < 6:
        return None
    first = frame_bytes(head)
    if first is None:
        return False
    second = head[first : first + 6]
    if len(second) < 6:
        return None
    # The second header repeats the synchronisation, version, layer and sample rate of the first.
    return second[:2] == head[:2] and second[2] & 0x0C == head[2] & 0x0C and frame_bytes(second) is not None


def _mpeg_frame_bytes(header: bytes) -> int | None:
    """Length of an MPEG-1, 2 or 2.5 audio frame of layer I, II or III."""
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer == 4 or rate_index == 3:
        return None
    if bitrate_index in (0, 15):
        return None
    is_mpeg1 = version == 3
    bitrate_bps = 1000 * _BITRATES_KBPS[is_mpeg1, layer][bitrate_index - 1]
    rate_hz = (44100, 48000, 32000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        return (12 * bitrate_bps // rate_hz + padding) * 4
    samples = 576 if layer == 3 and not is_mpeg1 else 1152
    return samples // 8 * bitrate_bps // rate_hz + padding


_BITRATES_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _adts_frame_bytes(header: bytes) -> int | None:
    """Length of an AAC frame in an ADTS stream."""
    if header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return None
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else None
