"""Files that a master reads again when they change."""

from pathlib import Path

__all__ = ["FilesState", "files_state"]

FilesState = list[tuple[int, int, int] | None]
"""For each file its inode, time of modification in nanoseconds and size in bytes; None if it is not there."""


def files_state(*paths: Path) -> FilesState:
    """What changes when a file is written or replaced, also by a link to another one."""
    states: FilesState = []
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            states.append(None)
        else:
            states.append((found.st_ino, found.st_mtime_ns, found.st_size))
    return states
