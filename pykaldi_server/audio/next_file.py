"""Where one file ends and the next one begins in a stream of several, one after the other.

Recorders in browsers and telephones send each block, or each restart, as a file of its own; radio stations
chain Ogg streams; people join files with ``cat``. Demuxers read the first one and take the rest for damage or
for nothing. The lengths in headers cannot be relied on: live streams make them up, and what breaks off is
shorter. So the start of a file is searched for: at least 46 fixed bits, which do not occur by chance.

Formats that are runs of frames need nothing of this: the frames of the next file are frames like others.

Sources: as in `containers`; RFC 3533 (Ogg pages), RFC 8794 (EBML), RFC 9639 (FLAC), RFC 4867 (AMR).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pykaldi_server.audio.containers import SIGNATURES, Container
from pykaldi_server.audio.signatures import Signature, matches_signature

__all__ = ["NextFileFinder"]


class NextFileFinder:
    """Cuts the bytes of one file off a stream. A few bytes that may be the start of a file are held back.

    Args:
        container: the format of the file; the next one may be of this format or, after a WAV, any WAV.
    """

    def __init__(self, container: Container) -> None:
        self._starts = _starts_of(container)
        self._held = b""
        self._num_bytes = 0  # bytes of the file returned so far

    def split(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Takes the next bytes of the stream.

        Returns:
            Bytes of this file, and those of the next one from its start on, or None while it has not begun.
        """
        data = self._held + data
        own_start = 1 if self._num_bytes == 0 else 0
        begins = (
            next(_possible_starts(start, data, own_start), (len(data), False)) for start in self._starts
        )
        begin, is_certain = min(begins, default=(len(data), False))
        self._num_bytes += begin
        if is_certain:
            self._held = b""
            return data[:begin], data[begin:]
        self._held = data[begin:]
        return data[:begin], None

    def finish(self) -> bytes:
        """Returns the bytes that were held back, at the end of the stream."""
        held, self._held = self._held, b""
        return held


@dataclass(frozen=True, slots=True)
class _FileStart:
    """What files of a format start with.

    Attributes:
        first_bytes: what the first byte may be.
        anchor: fixed bytes of it, for a quick search.
        anchor_offset: where they are.
        num_bytes: how many bytes `check` looks at.
        check: whether a file starts with these bytes; None where they fit, but are too few.
    """

    first_bytes: bytes
    anchor: bytes
    anchor_offset: int
    num_bytes: int
    check: Callable[[bytes], bool | None]


def _possible_starts(start: _FileStart, data: bytes, begin: int) -> Iterator[tuple[int, bool]]:
    """Yields positions from `begin` on where a file starts (True) or may start, but `data` ends too soon."""
    position = data.find(start.anchor, begin + start.anchor_offset) - start.anchor_offset
    while position >= begin:
        matches = start.check(data[position : position + start.num_bytes])
        if matches is not False:
            yield position, bool(matches)
        position = data.find(start.anchor, position + start.anchor_offset + 1) - start.anchor_offset
    # The anchor itself may be cut.
    for position in range(max(begin, len(data) - start.anchor_offset - len(start.anchor) + 1), len(data)):
        if data[position] in start.first_bytes and start.check(data[position:]) is None:
            yield position, False


def _fixed(*signature: tuple[int, bytes]) -> _FileStart:
    """Files that start with fixed bytes; the longest run of them is the anchor."""
    offset, anchor = max(signature, key=lambda item: len(item[1]))
    num_bytes = max(offset + len(expected) for offset, expected in signature)
    first_bytes = signature[0][1][:1]
    return _FileStart(
        first_bytes, anchor, offset, num_bytes, lambda data: matches_signature(data, list(signature))
    )


def _is_riff_start(data: bytes) -> bool | None:
    forms = [matches_signature(data[:4], [(0, form)]) for form in (b"RIFF", b"RIFX", b"RF64", b"BW64")]
    return matches_signature(data, [(8, b"WAVE")]) if True in forms else (None if None in forms else False)


def _is_ebml_start(data: bytes) -> bool | None:
    """The identifier, the length in 1 to 8 bytes, and in it the version of EBML first, which is 1."""
    num_size_bytes = 9 - data[4].bit_length() if len(data) > 4 else 1
    version_offset = 4 + num_size_bytes
    return matches_signature(data, [(0, b"\x1a\x45\xdf\xa3"), (version_offset, b"\x42\x86\x81\x01")])


class _OggStart:
    """The first page of a chained stream: pages with the flag 2, at position 0, after pages without it."""

    def __init__(self) -> None:
        self._has_other_pages = False

    def __call__(self, data: bytes) -> bool | None:
        is_page = matches_signature(data, [(0, b"OggS\0")])
        if not is_page or len(data) < 6:
            return None if is_page else is_page
        is_first_page = bool(data[5] & 2)
        self._has_other_pages |= not is_first_page
        if not is_first_page or not self._has_other_pages:
            return False
        return matches_signature(data, [(6, bytes(8))])


def _is_id3_tag(data: bytes) -> bool | None:
    """Version, revision, flags, and a length in numbers below 128."""
    if len(data) < 10:
        return matches_signature(data, [(0, b"ID3")])
    return data[3] in (2, 3, 4) and data[4] == 0 and data[5] & 15 == 0 and max(data[6:]) < 0x80


def _is_first_wavpack_block(data: bytes) -> bool | None:
    """Version 4, sample 0, and the flag of the first of all channels."""
    matches = matches_signature(data, [(0, b"wvpk"), (9, b"\x04"), (16, bytes(4))])
    return matches and (bool(data[25] & 0x08) if len(data) > 25 else None)


# Where the signature of `containers` is too short, or too little of what a file starts with.
_STARTS: dict[str, list[_FileStart]] = {
    "wav": [_FileStart(b"RB", b"WAVE", 8, 12, _is_riff_start)],
    "caf": [_fixed((0, b"caff\0\1\0\0desc"))],
    "au": [_fixed((0, b".snd\0\0"), (12, b"\0\0\0"), (16, b"\0"), (20, b"\0\0"))],
    "flac": [_fixed((0, b"fLaC\0\0\0\x22")), _fixed((0, b"fLaC\x80\0\0\x22"))],
    "mov": [_fixed((0, b"\0\0\0"), (4, b"ftyp"))],
    "matroska": [_FileStart(b"\x1a", b"\x1a\x45\xdf\xa3", 0, 16, _is_ebml_start)],
    "rm": [_fixed((0, b".RMF\0\0\0\x12"))],
    "amr": [_fixed((0, b"#!AMR\n")), _fixed((0, b"#!AMR-WB\n"))],
    "tta": [_fixed((0, b"TTA1\1\0")), _fixed((0, b"TTA1\2\0"))],
    "wv": [_FileStart(b"w", b"wvpk", 0, 26, _is_first_wavpack_block)],
    "mp3": [_FileStart(b"I", b"ID3", 0, 10, _is_id3_tag)],
    # Each of their parts starts with what the file starts with.
    "mxf": [],
    "gxf": [],
}
_FEWEST_FIXED_BYTES = 6


def _starts_of(container: Container) -> list[_FileStart]:
    if container.demuxer == "ogg":
        return [_FileStart(b"O", b"OggS\0", 0, 14, _OggStart())]
    if container.demuxer in _STARTS:
        return _STARTS[container.demuxer]
    signatures = [signature for other, signature in SIGNATURES if other.demuxer == container.demuxer]
    return [_fixed(*each) for each in signatures if _num_fixed_bytes(each) >= _FEWEST_FIXED_BYTES]


def _num_fixed_bytes(signature: Signature) -> int:
    return sum(len(fixed) for _, fixed in signature)
