"""Two machines and the line between them, as network namespaces of a test's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVER, CLIENT = "10.231.7.1", "10.231.7.2"
PATIENCE_S = 60


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """Reads the log of a process until a line with this text; the time limit of the test ends it."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"expected {text!r} in the log, found {''.join(seen)}")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)


class Network:
    """Namespaces ``server`` and ``client``, joined by a line that can be cut without a word to either side.

    Raises:
        subprocess.CalledProcessError: the system does not let us.
    """

    def __init__(self) -> None:
        self._names = {side: f"pykaldi-{os.getpid()}-{side}" for side in ("server", "middle", "client")}
        self._processes: list[subprocess.Popen[str]] = []
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def _make(self) -> None:
        for name in self._names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        middle = self._names["middle"]
        run("ip", "-n", middle, "link", "add", "line", "type", "bridge")
        run("ip", "-n", middle, "link", "set", "line", "up")
        for side, address in (("server", SERVER), ("client", CLIENT)):
            name = self._names[side]
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", side, "netns", middle)
            run("ip", "-n", middle, "link", "set", side, "master", "line", "up")
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")

    def cut(self) -> None:
        """Drops all packets from now on, as a pulled cable between two switches does."""
        run("ip", "-n", self._names["middle"], "link", "set", "line", "down")

    def mend(self) -> None:
        """Lets packets through again."""
        run("ip", "-n", self._names["middle"], "link", "set", "line", "up")

    def start(self, side: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a command of the package on one of the machines."""
        process: subprocess.Popen[str] = subprocess.Popen(
            ["ip", "netns", "exec", self._names[side], sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
            **options,
        )
        self._processes.append(process)
        return process

    def remove(self) -> None:
        """Ends all processes and removes the namespaces."""
        for process in self._processes:
            process.kill()
            process.wait(PATIENCE_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def need_network() -> Network:
    """Makes a network; the test is skipped where that cannot be."""
    if shutil.which("ip") is None or os.geteuid() != 0 or not Path("/proc/self/ns/net").exists():
        pytest.skip("needs network namespaces (root, and ip of iproute2)")
    try:
        return Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs network namespaces (root, and ip of iproute2): {error.stderr.decode().strip()}")
