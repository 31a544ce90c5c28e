"""Lines that are cut without a word to either side, between machines of the tests' own."""

import asyncio
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from network import PATIENCE_S, PORT, SERVER, Network, read_until, start_master, start_worker

from pykaldi_server.client import recognize as client_module
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.protocols.liveness import SILENT_INTERVALS, Liveness
from pykaldi_server.worker.options import WorkerOptions

NOTICED_S = 20.0
QUICK = ("--ping-interval-s=1", "--silence-timeout-s=3")


def start_client(network: Network, wav: Path) -> "subprocess.Popen[str]":
    """A client that speaks for hours."""
    arguments = ("-u", f"ws://{SERVER}:{PORT}/client/ws/speech", "--rate", "400", str(wav))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return network.start("client", "-m", "pykaldi_server", "client", *arguments, **pipes)


@pytest.fixture
def wav(golden: Path) -> Path:
    return golden / "wav" / "ps-tidigits-2934z.wav"


def test_both_sides_notice_and_find_each_other_again(network: Network, models: Path, wav: Path) -> None:
    master = start_master(network, *QUICK)
    worker = start_worker(network, models, "--sessions=1", "--ping-interval-s=1")
    read_until(worker, "loaded in")
    start_client(network, wav)
    read_until(master, "served by worker english-digits")
    network.cut()
    lost = [read_until(master, "no sign of life for 3 s") for _ in range(2)]
    assert sum("worker english-digits" in line for line in lost) == 1
    read_until(worker, "has given no sign of life for 3 s")
    network.mend()
    read_until(worker, "connected to the master at")


@pytest.mark.slow
def test_what_one_side_no_longer_knows_ends_at_once_when_the_line_is_back(
    network: Network, models: Path, wav: Path
) -> None:
    """Half-open connections: pings would take an hour to notice, but what comes back says it at once."""
    master = start_master(network, "--ping-interval-s=1", "--silence-timeout-s=3600")
    worker = start_worker(network, models, "--sessions=1", "--ping-interval-s=1000")
    read_until(worker, "loaded in")
    client = start_client(network, wav)
    read_until(master, "served by worker english-digits")
    network.cut()
    for process in (worker, client):
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    network.mend()
    assert "error 2: The recogniser was lost" in read_until(master, "error 2: ")
    again = start_worker(network, models, "--sessions=1")
    read_until(again, "loaded in")
    start_client(network, wav)
    read_until(master, "served by worker english-digits")


def test_the_defaults_notice_within_twenty_seconds(run_in_fake_time: Callable[..., Any]) -> None:
    options = MasterOptions()
    worker_s = WorkerOptions().ping_interval_s
    client_s = client_module.PING_INTERVAL_S
    sides = (
        (options.ping_interval_s, options.silence_timeout_s),
        (worker_s, SILENT_INTERVALS * worker_s),
        (client_s, SILENT_INTERVALS * client_s),
    )

    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        lost: list[float] = []
        heard_s = now()
        for interval_s, timeout_s in sides:
            Liveness(
                ping=None, lost=lambda: lost.append(now()), interval_s=interval_s, timeout_s=timeout_s
            ).heard()
        await asyncio.sleep(NOTICED_S)
        assert len(lost) == len(sides)
        assert all(each - heard_s <= NOTICED_S for each in lost)

    run_in_fake_time(scenario)


@pytest.mark.slow
def test_with_the_defaults_all_notice(network: Network, models: Path, wav: Path) -> None:
    master = start_master(network)
    worker = start_worker(network, models, "--sessions=1")
    read_until(worker, "loaded in")
    client = start_client(network, wav)
    read_until(master, "served by worker english-digits")
    network.cut()
    read_until(master, "no sign of life")
    read_until(master, "no sign of life")
    read_until(worker, "no sign of life")
    _, errors = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 1
    assert "the server has given no sign of life for 12 s" in errors
