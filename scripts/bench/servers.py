"""Servers in processes of their own, on cores of their own, and what each process uses."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil
from live_clients import Address

__all__ = [
    "MIB",
    "ROOT",
    "SERVING",
    "ServerProcess",
    "Usage",
    "our_server",
    "running",
    "split_cores",
    "vosk_server",
]

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
PATIENCE_S = 30.0
SERVING = "Serving on "
LISTENING = {
    "vosk": r"listening for Vosk's clients on .*:(\d+)",
    "wyoming": r"listening for Wyoming's clients on port (\d+)",
    "audiosocket": r"listening for calls of Asterisk on port (\d+)",
}
"""What our server logs about the ports that it has picked."""


@dataclass(frozen=True)
class Usage:
    """What a process uses.

    Attributes:
        role, pid: which process.
        cpu_s: CPU seconds since it began.
        memory_mib: memory, in MiB, where each process has its part of what they share (a mapped graph): PSS.
        own_mib: memory without mapped files, in MiB: what only grows if the process itself asks for more.
    """

    role: str
    pid: int
    cpu_s: float
    memory_mib: float
    own_mib: float


class ServerProcess:
    """A server that runs.

    Attributes:
        log: what it writes to its standard error.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: IO[str], role: str) -> None:
        self.process = process
        self.log = log
        self._role = role
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(SERVING):
                self.url = line.split()[2].rstrip("/")
                return
        raise SystemExit(f"the server ended before it was ready:\n{self.read_log()}")

    @property
    def address(self) -> Address:
        """Where it is reached by clients of the protocols that share its port."""
        port = urlsplit(self.url).port
        assert port is not None
        return Address("127.0.0.1", port)

    def read_log(self) -> str:
        """All that it has logged so far."""
        return Path(self.log.name).read_text()

    def workers(self) -> list[psutil.Process]:
        """Its child processes, the oldest first."""
        children: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return children

    def usage(self) -> list[Usage]:
        """What each of its processes uses."""
        found = [usage_of(psutil.Process(self.process.pid), self._role)]
        for number, worker in enumerate(self.workers(), 1):
            try:
                found.append(usage_of(worker, f"worker {number}"))
            except psutil.NoSuchProcess:
                continue  # ended since it was listed
        return found


def usage_of(process: psutil.Process, role: str) -> Usage:
    times = process.cpu_times()
    memory = process.memory_full_info()
    own_bytes = memory.rss - memory.shared
    return Usage(role, process.pid, times.user + times.system, memory.pss / MIB, own_bytes / MIB)


def split_cores() -> tuple[set[int], set[int]]:
    """Returns the core of the server, and those of its clients, which are the same if there is only one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


@contextmanager
def running(
    command: Sequence[str], role: str, cores: set[int], variables: Mapping[str, str]
) -> Iterator[ServerProcess]:
    """Starts a server whose processes and threads all stay on some cores, and ends it."""
    own_cores = os.sched_getaffinity(0)
    with tempfile.NamedTemporaryFile("w", prefix="server-", suffix=".log") as log:
        os.sched_setaffinity(0, cores)  # what it starts from the first moment on inherits them
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(variables)
            )
        finally:
            os.sched_setaffinity(0, own_cores)
        try:
            yield ServerProcess(process, log, role)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def our_server(
    model: Path | str,
    cores: set[int],
    variables: Mapping[str, str],
    folder: Path,
    *arguments: str,
) -> Iterator[tuple[ServerProcess, Address]]:
    """`pykaldi-server serve` with one model and the ports of all protocols."""
    command = [sys.executable, "-m", "pykaldi_server", "serve", str(model), "--port", "0"]
    command += ["--references", str(folder / "references.jsonl")]
    command += [f"--{name}-port=0" for name in LISTENING]
    with running([*command, *arguments], "master", cores, variables) as server:
        main, log = server.address, server.read_log()
        ports = [int(match[1]) for pattern in LISTENING.values() if (match := re.search(pattern, log))]
        if len(ports) != len(LISTENING):
            raise SystemExit(
                f"expected the ports of {', '.join(LISTENING)} in the log, found {ports}:\n{log}"
            )
        yield server, Address(main.host, main.port, *ports)


@contextmanager
def vosk_server(
    model: Path, cores: set[int], variables: Mapping[str, str]
) -> Iterator[tuple[ServerProcess, Address]]:
    """Vosk behind `vosk_loop.py`."""
    command = [sys.executable, str(Path(__file__).with_name("vosk_loop.py")), str(model)]
    with running(command, "Vosk", cores, variables) as server:
        yield server, server.address
