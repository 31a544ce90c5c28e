"""What people send by mistake: pages, documents, pictures, archives, programs, text, audio without its head.

Without this, such bytes would be taken for raw samples, and the answer would be a success without words.
Raw audio must not be taken for any of it: a signature has at least 24 bits, and text is nothing but
characters for `_TEXT_BYTES` bytes, with spaces or several kinds of characters among them. No recording is:
its samples are near zero now and then, and the bytes of silence (0x00, 0x7F, 0x80, 0xFF; in A-law 0x55 and
0xD5) are not text.
"""

import codecs
import re

from pykaldi_server.audio.signatures import Signature, matches_signature

__all__ = ["recognise_foreign"]

_TEXT_BYTES = 512
_FEWEST_CHARACTERS = 8
_QUOTED_CHARACTERS = 30

# (offset, bytes) of each; the first that fits counts.
_SIGNATURES: list[tuple[str, Signature]] = [
    ("a PDF document", [(0, b"%PDF-")]),
    ("a PNG image", [(0, b"\x89PNG\r\n\x1a\n")]),
    ("a JPEG image", [(0, b"\xff\xd8\xff\xe0"), (6, b"JFIF")]),
    ("a JPEG image", [(0, b"\xff\xd8\xff\xe1"), (6, b"Exif")]),
    ("a JPEG image", [(0, b"\xff\xd8\xff\xe1"), (6, b"http")]),
    ("a JPEG image", [(0, b"\xff\xd8\xff\xee"), (6, b"Adobe")]),
    ("a JPEG image", [(0, b"\xff\xd8\xff\xdb\0\x43\0")]),
    ("a GIF image", [(0, b"GIF87a")]),
    ("a GIF image", [(0, b"GIF89a")]),
    ("a BMP image", [(0, b"BM"), (6, bytes(4)), (14, b"\x28\0\0\0")]),
    ("a TIFF image", [(0, b"II*\0")]),
    ("a TIFF image", [(0, b"MM\0*")]),
    ("a WebP image", [(0, b"RIFF"), (8, b"WEBP")]),
    ("a ZIP archive or an Office document", [(0, b"PK\x03\x04")]),
    ("a ZIP archive", [(0, b"PK\x05\x06")]),
    ("a bzip2 file", [(0, b"BZh"), (4, b"1AY&SY")]),
    ("an xz file", [(0, b"\xfd7zXZ\0")]),
    ("a Zstandard file", [(0, b"\x28\xb5\x2f\xfd")]),
    ("an LZ4 file", [(0, b"\x04\x22\x4d\x18")]),
    ("a 7-Zip archive", [(0, b"7z\xbc\xaf\x27\x1c")]),
    ("a RAR archive", [(0, b"Rar!\x1a\x07")]),
    ("a program (ELF)", [(0, b"\x7fELF")]),
    ("a program (Windows)", [(0, b"MZ"), (78, b"This program")]),
    ("a program (macOS)", [(0, b"\xcf\xfa\xed\xfe"), (5, b"\0\0\1")]),
    ("a program (Java)", [(0, b"\xca\xfe\xba\xbe")]),
    ("a program (WebAssembly)", [(0, b"\0asm\1\0\0\0")]),
    ("an Office document", [(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")]),
    ("an SQLite database", [(0, b"SQLite format 3\0")]),
    ("a NumPy array", [(0, b"\x93NUMPY")]),
    ("MIDI notes", [(0, b"MThd\0\0\0\x06")]),
    ("a WebM or Matroska cluster without the head of the file", [(0, b"\x1f\x43\xb6\x75")]),
    ("a fragment of an MP4 file without the head of the file", [(4, b"moof")]),
    ("a fragment of an MP4 file without the head of the file", [(4, b"styp")]),
    ("a fragment of an MP4 file without the head of the file", [(4, b"sidx")]),
    ("Ogg pages without the first one of their stream", [(0, b"OggS\0")]),
]

# A regular expression that a text starts with, and what it is.
_TEXTS = [
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in [
        (r"\s*(<!doctype html|<html)", "an HTML page"),
        (r"\s*<[?!a-z][^<>]*>", "XML"),
        (r"\s*#EXTM3U|\s*\[playlist\]", "a playlist, which only names audio"),
        (r"v=0\s+o=", "a session description (SDP), which only names audio"),
        (r"\s*data:[\w.+-]+/[\w.+-]+[;,]", "a data URL: Base64 text in place of the bytes themselves"),
        (r'\s*(\{\s*("|\}\s*\Z)|\[\s*("|\{\s*"|-?[\d.]+\s*[],]|\]\s*\Z))', "JSON"),
        (r"#!", "a script"),
        (
            r"(?=.*\d)(?-i:(?=.*[a-z])(?=.*[A-Z]))(?:[\w+/-]{4}){5,}[\w+/=\r\n-]*\Z",
            "Base64 text in place of the bytes themselves",
        ),
    ]
]


def recognise_foreign(head: bytes, is_all: bool) -> str | None:
    """Says what a stream is that is not audio.

    Args:
        head: the first bytes of the stream.
        is_all: no more bytes will come.

    Returns:
        The kind of file, for an error; empty where it may well be audio; None where the bytes so far are too
        few to tell.
    """
    answers = [
        *(_name_if(matches_signature(head, signature), name) for name, signature in _SIGNATURES),
        _name_if(_is_tar(head), "a tar archive"),
        _name_if(_are_blocks(head), "WebM or Matroska blocks without the head of the file"),
        _recognise_text(head, is_all),
    ]
    found = next(filter(None, answers), "")
    return None if not found and None in answers and not is_all else found


def _name_if(matches: bool | None, name: str) -> str | None:
    return None if matches is None else name * matches


def _is_tar(head: bytes) -> bool | None:
    """A tar archive starts with 100 bytes for the name of its first file; its signature comes later."""
    if not re.fullmatch(rb"[!-~][ -~]*\0*", head[:100]):
        return False
    return matches_signature(head, [(257, b"ustar")])


def _are_blocks(head: bytes) -> bool | None:
    """Whether Matroska blocks of one track follow each other, as where a browser's first piece was lost.

    Each is the identifier 0xA3, its length in 1 or 2 bytes, the track, two bytes of time, flags, a frame.
    """
    offset = 0
    for _ in range(3):
        block = head[offset : offset + 8]
        if block[:1] not in (b"\xa3", b""):
            return False
        if len(block) < 8:
            return None
        if block[1] >= 0x80:
            size_bytes, length = 1, block[1] & 0x7F
        else:
            size_bytes, length = 2, (block[1] & 0x3F) << 8 | block[2]
        flags = block[size_bytes + 4]
        if block[1] < 0x40 or block[size_bytes + 1] != 0x81 or flags & 0x7F or length < 5:
            return False
        offset += 1 + size_bytes + length
    return True


def _recognise_text(head: bytes, is_all: bool) -> str | None:
    """The kind of text, with its beginning; empty where it is none; None where that is open."""
    sample = head[:_TEXT_BYTES]
    is_complete = is_all and len(head) <= _TEXT_BYTES
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(sample, final=is_complete)
    except UnicodeDecodeError:
        return ""
    if not all(character.isprintable() or character in "\t\n\r\f" for character in text):
        return ""
    if len(sample) < _TEXT_BYTES and not is_all:
        return None
    if len(text) < _FEWEST_CHARACTERS:
        return ""
    name = next((name for pattern, name in _TEXTS if pattern.match(text)), "text" * _is_prose(text))
    return name and f"{name} ({text[:_QUOTED_CHARACTERS]!r})"


def _is_prose(text: str) -> bool:
    """Whether most characters are letters or digits, with spaces, other alphabets or three kinds among them.

    A few milliseconds of 8-bit samples may be three kinds of letters and digits, hence the length.
    """
    num_letters = sum(map(str.isalnum, text))
    has_words = any(character == " " or not character.isascii() for character in text)
    kinds = [any(map(kind, text)) for kind in (str.isupper, str.islower, str.isdigit)]
    return num_letters > 0.6 * len(text) and (has_words or (all(kinds) and len(text) >= 200))
