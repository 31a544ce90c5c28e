"""gzip, undone in pieces."""

import gzip
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.audio.compression import Gunzip
from pykaldi_server.errors import AudioError

CONTENT = bytes(range(256)) * 1000


def gunzip(data: bytes, piece_bytes: int) -> bytes:
    undo = Gunzip()
    pieces = [data[i : i + piece_bytes] for i in range(0, len(data), piece_bytes)]
    result = b"".join(part for piece in pieces for part in undo.feed(piece))
    undo.finish()
    return result


@given(st.integers(1, 3000), st.binary(max_size=10))
def test_content_comes_back(piece_bytes: int, padding: bytes) -> None:
    data = gzip.compress(CONTENT) + gzip.compress(b"") + gzip.compress(b"more")
    assert gunzip(data, piece_bytes) == CONTENT + b"more"
    assert gunzip(data + b"\0" + padding, piece_bytes) == CONTENT + b"more"


def test_a_bomb_comes_in_small_pieces() -> None:
    pieces = list(Gunzip().feed(gzip.compress(bytes(50_000_000))))
    assert sum(map(len, pieces)) == 50_000_000
    assert max(map(len, pieces)) <= 65536


def test_what_is_damaged_from_the_start_is_refused() -> None:
    with pytest.raises(AudioError, match="expected intact gzip data, found"):
        gunzip(b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 100, 1000)


def test_what_is_damaged_or_cut_later_gives_its_start(caplog: pytest.LogCaptureFixture) -> None:
    data = gzip.compress(CONTENT)
    with caplog.at_level(logging.WARNING):
        damaged = gunzip(data[:-8] + bytes(8), 100)
    # What the last piece of input holds is lost with the checksum.
    assert CONTENT.startswith(damaged)
    assert len(damaged) >= len(CONTENT) - 65536
    assert f"damaged after {len(damaged)} bytes" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        cut = gunzip(data[:-300], 100)
    assert CONTENT.startswith(cut)
    assert len(cut) > 1000
    assert "ends in the middle" in caplog.text
