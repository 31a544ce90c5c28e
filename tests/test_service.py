"""Signals, and what systemd is told: with real signals, a real datagram socket and a real terminal."""

import asyncio
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.service import Service, ServiceManager

PATIENCE_S = 200


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd listens."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listener


def test_what_systemd_hears(systemd: socket.socket) -> None:
    reloads: list[int] = []

    async def reload() -> None:
        reloads.append(len(reloads))
        if len(reloads) == 2:
            raise ConfigError("port: expected a number")

    async def scenario() -> None:
        async with Service(reload) as service:
            service.ready()
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)
                heard = await asyncio.to_thread(systemd.recv, 1000)
                while not heard.startswith(b"RELOADING=1\n"):
                    heard = await asyncio.to_thread(systemd.recv, 1000)
                begin_us = int(heard.removeprefix(b"RELOADING=1\nMONOTONIC_USEC="))
                assert 0 < begin_us <= time.monotonic_ns() // 1000
                assert await asyncio.to_thread(systemd.recv, 1000) == b"READY=1"
            os.kill(os.getpid(), signal.SIGTERM)
            await service.stopping.wait()
            assert not service.hurrying.is_set()
            assert await asyncio.to_thread(systemd.recv, 1000) == b"STOPPING=1"
            os.kill(os.getpid(), signal.SIGINT)
            await service.hurrying.wait()

    asyncio.run(scenario())
    assert reloads == [0, 1]
    assert "NOTIFY_SOCKET" not in os.environ  # the children of the process are not the service


def test_a_signal_before_the_process_is_ready_counts_afterwards() -> None:
    async def scenario() -> None:
        reloaded = asyncio.Event()

        async def reload() -> None:
            reloaded.set()

        async with Service(reload) as service:
            os.kill(os.getpid(), signal.SIGHUP)
            await service._hung_up.wait()
            await asyncio.sleep(0.05)
            assert not reloaded.is_set()
            service.ready()
            await reloaded.wait()

    asyncio.run(scenario())


def test_the_watchdog_is_fed_while_the_process_is_well(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    asked = 0

    def is_well() -> bool:
        nonlocal asked
        asked += 1
        return asked != 2

    async def reload() -> None:
        raise AssertionError("nobody asked for it")

    async def scenario() -> None:
        async with Service(reload, is_well):
            for _ in range(3):
                assert await asyncio.to_thread(systemd.recv, 1000) == b"WATCHDOG=1"

    asyncio.run(scenario())
    assert asked >= 4


def test_a_watchdog_of_another_process_is_not_fed() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert ServiceManager({"WATCHDOG_USEC": "1500000"}).watchdog_s == 1.5
    assert ServiceManager({}).watchdog_s is None


def test_an_address_outside_the_file_system() -> None:
    name = f"pykaldi-server-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(PATIENCE_S)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1", "STATUS=well")
        assert listener.recv(1000) == b"READY=1\nSTATUS=well"


def test_a_service_manager_that_is_gone_is_no_reason_to_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert f"NOTIFY_SOCKET {tmp_path / 'gone'}: No such file" in caplog.text


REPORT = """\
        waiting = [asyncio.create_task(each.wait()) for each in (reloaded, service.stopping)]
        _, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        print("reloaded" if reloaded.is_set() else "stopped", flush=True)
        for each in left:
            each.cancel()

asyncio.run(run())
"""
IN_TERMINAL = (
    """
import asyncio, signal, sys
from pykaldi_server.service import Service

if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

async def run():
    reloaded = asyncio.Event()
    async def reload():
        reloaded.set()
    async with Service(reload) as service:
        service.ready()
        print("ready", flush=True)
"""
    + REPORT
)


@pytest.mark.parametrize(("how", "word"), [("plain", "stopped"), ("nohup", "reloaded")])
def test_closing_the_terminal_stops_what_runs_in_it(how: str, word: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{IN_TERMINAL}",
            how,
        ],
        stdin=theirs,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    os.close(theirs)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.close(ours)  # as a terminal does when its window is closed
        assert process.stdout.readline() == f"{word}\n"
        assert process.wait(PATIENCE_S) == 0


DISOWNED = (
    """
import asyncio
from pykaldi_server import service as module

module.TERMINAL_S = 0.02

async def run():
    reloaded = asyncio.Event()
    async def reload():
        reloaded.set()
    async with module.Service(reload) as service:
        service.ready()
        print("ready", flush=True)
        while service._had_terminal:
            await asyncio.sleep(0.01)
        print("alone", flush=True)
"""
    + REPORT
)
SHELL = """
import fcntl, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=0)
print(job.pid, flush=True)
sys.stdin.readline()
"""


def test_what_has_outlived_its_terminal_reloads_when_told() -> None:
    """As after `disown`: the signal of the terminal went to others."""
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-c", SHELL, DISOWNED],
        stdin=theirs,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    os.close(theirs)
    with shell:
        assert shell.stdout is not None
        job = int(shell.stdout.readline())
        try:
            assert shell.stdout.readline() == "ready\n"
            os.close(ours)
            assert shell.stdout.readline() == "alone\n"
            os.kill(job, signal.SIGHUP)
            assert shell.stdout.readline() == "reloaded\n"
        finally:
            with suppress(ProcessLookupError):
                os.kill(job, signal.SIGKILL)
            shell.stdout.read()


def test_one_more_reload_follows_a_signal_during_one() -> None:
    async def scenario() -> None:
        begun = 0
        first, second = asyncio.Event(), asyncio.Event()
        go_on = asyncio.Event()

        async def reload() -> None:
            nonlocal begun
            begun += 1
            if begun == 1:
                first.set()
                await go_on.wait()
            else:
                second.set()

        async with Service(reload) as service:
            service.ready()
            os.kill(os.getpid(), signal.SIGHUP)
            await first.wait()
            for _ in range(3):
                service._hang_up()  # what signals do
            go_on.set()
            await second.wait()
            await asyncio.sleep(0.05)
            assert begun == 2

    asyncio.run(scenario())


def test_a_fault_in_reloading_is_logged_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        reloads = 0
        again = asyncio.Event()

        async def reload() -> None:
            nonlocal reloads
            reloads += 1
            if reloads == 1:
                os.kill(os.getpid(), signal.SIGHUP)
                raise ValueError("unforeseen")
            again.set()

        async with Service(reload) as service:
            service.ready()
            os.kill(os.getpid(), signal.SIGHUP)
            await again.wait()

    asyncio.run(scenario())
    assert re.search("the settings stay as they were.*ValueError: unforeseen", caplog.text, re.DOTALL)
