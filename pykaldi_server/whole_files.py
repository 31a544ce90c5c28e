"""Files that are there whole or not at all, however the work on them ends."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["leftovers", "written_whole"]

_NAME_CHARACTERS = 50  # of four bytes at most, they leave room for the rest: a name may have 255 bytes
_RANDOM_BYTES = 6


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lets a file be written under another name, from which it is renamed in the end.

    The name is known before there is such a file, so that it is deleted even if a signal interrupts the very
    call that creates it.

    Args:
        path: the file, which is replaced if it is there.

    Yields:
        The path to create and to write to.

    Raises:
        OSError: the file was not written, or cannot be renamed.
    """
    temporary = path.with_name(f"{_prefix(path)}{os.urandom(_RANDOM_BYTES).hex()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def leftovers(path: Path) -> Iterator[Path]:
    """What killed processes have left of a file that they were writing."""
    return path.parent.glob(f"{glob.escape(_prefix(path))}*")


def _prefix(path: Path) -> str:
    return f".{path.name[:_NAME_CHARACTERS]}-"
