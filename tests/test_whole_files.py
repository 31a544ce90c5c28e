"""Files that are written whole or not at all."""

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pykaldi_server import whole_files
from pykaldi_server.whole_files import leftovers, written_whole

LONG_NAME = "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 80 + ".txt"  # 244 bytes


class Interruption(BaseException):
    """What a signal raises, wherever the program is."""


def interrupt_at(number: int, files: set[str]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that interrupts once, at the line of this number that is run in one of these files."""
    lines = itertools.count()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and next(lines) == number:
            raise Interruption
        return trace

    return trace


def replace(path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("new")


@pytest.mark.parametrize("name", ["words.txt", LONG_NAME])
def test_a_file_appears_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for text in ("old", "new"):
        with written_whole(path) as temporary:
            temporary.write_text(text)
            assert list(leftovers(path)) == [temporary]
        assert path.read_text() == text
        assert os.listdir(tmp_path) == [name]


def test_interrupted_anywhere_it_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    found = []
    for number in itertools.count():
        path.write_text("old")
        sys.settrace(interrupt_at(number, {whole_files.__file__, __file__}))
        try:
            replace(path)
            break
        except Interruption:
            found.append(path.read_text())
        finally:
            sys.settrace(None)
        assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "new"
    assert set(found) == {"old", "new"}
    assert len(found) > 5


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"), written_whole(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        Path("/dev/full").write_text("w")
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "old"
