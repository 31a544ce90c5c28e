"""Where the next file begins, in pieces of any length."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.audio.containers import Container, find_container
from pykaldi_server.audio.next_file import NextFileFinder

RIFF = b"RIFF\x24\x10\0\0WAVEfmt "
OGG_START = b"OggS\0\2" + bytes(8) + b"\1\2\3\4"
OGG_PAGE = b"OggS\0\0" + b"\x80\x01" + bytes(6) + b"\1\2\3\4"
EBML = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01"
FIRST_FILES = {
    "wav": (RIFF + b"RIFF" * 30, RIFF),
    "wav then rifx": (RIFF + b"RIWAVE" * 9, b"RIFX\0\0\x24\x10WAVEfmt "),
    "ogg": (OGG_START + OGG_START + OGG_PAGE + b"OggS" * 5, OGG_START),
    "matroska": (EBML + b"\x1a\x45\xdf\xa3\x9f" * 8, EBML),
    "matroska with a long size": (
        EBML + b"\x1a\x45\xdf" * 8,
        b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86\x81\x01",
    ),
    "mov": (b"\0\0\0\x18ftypisom" + b"\0\0\1\0ftyp\0" * 4, b"\0\0\0\x14ftypM4A "),
    "flac": (b"fLaC\0\0\0\x22" + b"fLaC\1" * 9, b"fLaC\0\0\0\x22"),
    "amr": (b"#!AMR\n" + b"#!AMR" * 9, b"#!AMR\n"),
    "tta": (b"TTA1\1\0" + b"TTA1\0" * 4, b"TTA1\1\0\1\0"),
}


def split(first: Container, data: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    """The bytes of the first file and of the next one, all pieces joined."""
    finder = NextFileFinder(first)
    mine, rest = b"", None
    bounds = [0, *sorted(cuts), len(data)]
    for begin, end in pairwise(bounds):
        if rest is None:
            piece, rest = finder.split(data[begin:end])
            mine += piece
        else:
            rest += data[begin:end]
    return (mine + finder.finish(), None) if rest is None else (mine, rest)


@pytest.mark.parametrize("kind", FIRST_FILES)
@given(data=st.data())
def test_is_found_whatever_the_pieces(kind: str, data: st.DataObject) -> None:
    first, start = FIRST_FILES[kind]
    container = find_container(first, is_all=True)
    assert isinstance(container, Container)
    stream = first + start + b"the rest"
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert split(container, stream, cuts) == (first, start + b"the rest")
    assert split(container, first, [cut for cut in cuts if cut < len(first)]) == (first, None)
    # The beginning of a start is not yet one.
    assert split(container, first + start[:5], []) == (first + start[:5], None)


def test_pages_of_several_ogg_streams_begin_one_file() -> None:
    container = Container("Ogg", "ogg")
    assert split(container, OGG_START * 3, []) == (OGG_START * 3, None)


def test_runs_of_frames_are_not_searched() -> None:
    data = b"\xff\xf1\x60\x40" + RIFF + OGG_START
    assert split(Container("AAC (ADTS)", "aac"), data, [2, 9]) == (data, None)


def test_few_bytes_are_held_back() -> None:
    finder = NextFileFinder(Container("WAV", "wav"))
    assert finder.split(RIFF) == (RIFF, None)
    assert finder.split(b"samples") == (b"samples", None)
    assert finder.split(b"samplesRIF") == (b"samples", None)
    assert finder.split(b"Y") == (b"RIFY", None)
    assert finder.finish() == b""
