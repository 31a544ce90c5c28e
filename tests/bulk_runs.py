"""What tests of bulk runs share: recordings, what is recognised of them, and processes that read them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import children

from pykaldi_server.batch.tasks import RecognizerOptions

DIGITS = "ps-tidigits-2934z"
SAID = "two nine three four zero\n"


def digits(models: Path) -> RecognizerOptions:
    """A small model."""
    return RecognizerOptions(model=str(models / "english:graph-digits"))


def make_recordings(folder: Path, golden: Path, num: int) -> list[Path]:
    """A folder with links to one recording."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.wav" for number in range(num)]
    for path in paths:
        path.symlink_to(golden / "wav" / f"{DIGITS}.wav")
    return paths


def texts(out: Path) -> list[str]:
    """The transcripts in a directory."""
    return [path.read_text() for path in sorted(out.glob("*.txt"))]


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs; a process that has ended has none."""
    try:
        return [each for child in children(pid) for each in (child, *descendants(child))]
    except (FileNotFoundError, ProcessLookupError):
        return []


def readers(path: Path) -> list[int]:
    """The descendants of this process that have opened a file.

    Until a child of this process runs a program of its own, it has what this process has open.
    """
    own = command_line(os.getpid())
    others = [pid for pid in descendants(os.getpid()) if command_line(pid) != own]
    return [pid for pid in others if has_open(pid, path)]


def command_line(pid: int) -> bytes:
    """The command line of a process; that of one which has ended is empty."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{each}") == str(path) for each in os.listdir(folder))
    except (FileNotFoundError, PermissionError):  # the process, or a file of it, is gone
        return False


@contextmanager
def deadly(pipe: Path, victim: Callable[[int], int]) -> Iterator[None]:
    """A recording that kills: a named pipe whose readers are met by SIGKILL.

    A run may try it more often than it counts: a worker of Dask that dies at once has not always said that it
    had begun. Whoever reads it then must be met as well.

    Args:
        pipe: the pipe, which this makes.
        victim: chooses the process that is to die, from the number of the reader.
    """
    os.mkfifo(pipe)
    is_over = threading.Event()

    def meet_all() -> None:
        met: list[int] = []
        while not is_over.wait(0.02):
            for reader in [each for each in readers(pipe) if each not in met]:
                met.append(reader)
                with suppress(FileNotFoundError, ProcessLookupError):  # the reader ends with its parent
                    os.kill(victim(reader), signal.SIGKILL)
                    os.kill(reader, signal.SIGKILL)

    thread = threading.Thread(target=meet_all)
    thread.start()
    try:
        with open(pipe, "r+b", buffering=0):  # or readers would wait for a writer, unseen
            yield
    finally:
        is_over.set()
        thread.join()
