"""Runs processes, and looks at those that others have started."""

import os
import select
import signal
import subprocess
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE_S = 200
ARENA_BYTES = 64 * 2**20


@asynccontextmanager
async def running_process(*command: str | Path, **options: Any) -> AsyncIterator[Process]:
    """A process that is killed at the end, if it has not ended by itself.

    Args:
        command: its program and arguments.
        options: of `asyncio.create_subprocess_exec`.
    """
    process = await create_subprocess_exec(*command, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def run_to_end(command: Sequence[str], timeout_s: float, **options: Any) -> tuple[int, str, str]:
    """Runs a command; kills it, with all that it has started, if it takes too long.

    Args:
        command: its program and arguments.
        timeout_s: how long it may take.
        options: of `subprocess.Popen`.

    Returns:
        Its exit code, its output and its errors.

    Raises:
        subprocess.TimeoutExpired: it took too long.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, out, err


def children(pid: int) -> list[int]:
    """The children of a process, dead ones that nobody has waited for included."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except FileNotFoundError:  # a thread that has ended since its folder was listed
            continue
    return [int(child) for child in found]


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def reset_peak_memory(pid: int) -> int:
    """Lets the peak of a process's memory begin with what it has now; returns that, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_memory_bytes(pid)


def peak_memory_bytes(pid: int) -> int:
    """The most memory that a process has had in use, since its start or `reset_peak_memory`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise ProcessLookupError(f"{pid}: ended")


class Watched:
    """Another process, which need not be a child of this one and whose number may be given to a new one.

    Raises:
        ProcessLookupError: There is no such process.
    """

    def __init__(self, pid: int) -> None:
        self._pid_fd = os.pidfd_open(pid)

    def wait(self) -> None:
        """Waits until the process has ended.

        Raises:
            AssertionError: It is still there after a minute.
        """
        ended = select.poll()
        ended.register(self._pid_fd, select.POLLIN)
        assert ended.poll(PATIENCE_S * 1000), "the process is still there"
        os.close(self._pid_fd)


def thread_arenas(pid: int) -> int:
    """How many arenas of memory, other than the main one, glibc has made for the threads of a process.

    Each is at a multiple of 64 MiB: what is in use, then what is reserved, up to the next multiple.
    """
    found = 0
    before = (0, 0, "")
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, access, *_ = line.split()
        begin, end = (int(each, 16) for each in addresses.split("-"))
        is_reserve = access == "---p" and begin == before[1] and end == before[0] + ARENA_BYTES
        found += is_reserve and before[2] == "rw-p" and before[0] % ARENA_BYTES == 0
        before = (begin, end, access)
    return found
