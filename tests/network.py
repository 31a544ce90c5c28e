"""Machines and the lines between them, as network namespaces of a test's own."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pykaldi_server.protocols.addresses import WORKER_PATH

SERVER, CLIENT, OTHER = "10.231.7.1", "10.231.7.2", "10.231.7.3"
SIDES = {"server": SERVER, "client": CLIENT, "other": OTHER}
PORT = 8888  # of addresses that nobody else has
PATIENCE_S = 60
CLONE_NEWNET = 0x40000000  # of sched.h


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
    """Namespaces ``server``, ``client`` and ``other``, whose lines can be cut without a word to them.

    Raises:
        subprocess.CalledProcessError: the system does not let us.
    """

    def __init__(self) -> None:
        self._names = {side: f"pykaldi-{os.getpid()}-{side}" for side in ("middle", *SIDES)}
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
        for side, address in SIDES.items():
            name = self._names[side]
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", side, "netns", middle)
            run("ip", "-n", middle, "link", "set", side, "master", "line", "up")
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")

    def cut(self, side: str = "") -> None:
        """Drops all packets from now on, or those of one side, as a pulled cable between switches does."""
        if side:
            run("ip", "-n", self._names["middle"], "link", "set", side, "nomaster")
        else:
            run("ip", "-n", self._names["middle"], "link", "set", "line", "down")

    def mend(self, side: str = "") -> None:
        """Lets packets through again."""
        if side:
            run("ip", "-n", self._names["middle"], "link", "set", side, "master", "line")
        else:
            run("ip", "-n", self._names["middle"], "link", "set", "line", "up")

    def slow_down(self, side: str, kilobits_per_s: int) -> None:
        """Lets no more than this through to one side; what does not fit into a short queue is dropped."""
        bucket = ("tbf", "rate", f"{kilobits_per_s}kbit", "burst", "16kb", "latency", "200ms")
        run("tc", "-n", self._names["middle"], "qdisc", "replace", "dev", side, "root", *bucket)

    def crossed_bytes(self, side: str) -> int:
        """How much has gone through to one side."""
        command = ("ip", "-s", "-j", "-n", self._names["middle"], "link", "show", side)
        shown = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
        return int(json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"])

    @contextmanager
    def entered(self, side: str) -> Iterator[None]:
        """Sockets that this thread makes meanwhile belong to one of the machines."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self._names[side]}") as away:
            _set_namespace(away.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())

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


def start_master(network: Network, *arguments: str, side: str = "server") -> "subprocess.Popen[str]":
    """A master alone on one of the machines; it listens when this returns."""
    address = ("--host", SIDES[side], "--port", str(PORT), "--references", "/dev/null", "--open")
    command = ("-m", "pykaldi_server", "master", *address, *arguments)
    master = network.start(side, *command, stderr=subprocess.PIPE)
    read_until(master, "listening on")
    return master


def start_worker(
    network: Network,
    models: Path,
    *arguments: str,
    masters: Sequence[str] = ("server",),
    side: str = "client",
) -> "subprocess.Popen[str]":
    """A worker on one of the machines, of masters on others."""
    urls = [f"--url=ws://{SIDES[each]}:{PORT}{WORKER_PATH}" for each in masters]
    model = ("--conf", str(models / "english:graph-digits"))
    command = ("-m", "pykaldi_server", "worker", *model, *urls, *arguments)
    return network.start(side, *command, stderr=subprocess.PIPE)


def _set_namespace(descriptor: int) -> None:
    """Moves this thread to a network namespace; `os.setns` does it from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def num_repeated_segments() -> int:
    """How many segments TCP has sent again, in the namespace of this thread since that was made."""
    names, values = (
        line.split()
        for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    )
    return int(values[names.index("RetransSegs")])


def need_network() -> Network:
    """Makes a network; the test is skipped where that cannot be."""
    if shutil.which("ip") is None or os.geteuid() != 0 or not Path("/proc/self/ns/net").exists():
        pytest.skip("needs network namespaces (root, and ip of iproute2)")
    try:
        return Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs network namespaces (root, and ip of iproute2): {error.stderr.decode().strip()}")
