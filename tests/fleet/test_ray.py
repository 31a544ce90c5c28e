"""Workers on two simulated machines of a Ray cluster: real processes, and Ray's own."""

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, Socket, until
from processes import running_process
from ray_machines import kill_all

from pykaldi_server.master.server import Master

pytestmark = pytest.mark.slow

MACHINES = Path(__file__).resolve().parent.parent / "ray_machines.py"
TRANSCRIPT = "two nine three four zero"
BEGINNING = 24_000
"""Bytes of audio after which words have been shown."""


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """The environment of all processes of a test, none of which is left at its end."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray (pip install 'pykaldi-server[ray]')")
    # Ray's sockets are far below this directory, and their paths may have no more than 107 bytes.
    directory = tempfile.mkdtemp(prefix="ray")
    yield {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RAY_TMPDIR": directory,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        # Otherwise Ray looks for a quarter of a minute whether a machine is really lost.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else no cluster on the loopback address
    }
    kill_all("RAY_TMPDIR", directory)
    shutil.rmtree(directory)


@asynccontextmanager
async def running_machines(environment: dict[str, str]) -> AsyncIterator[tuple[Process, str]]:
    """Two machines, and the address of their cluster."""
    command = (sys.executable, MACHINES)
    async with running_process(*command, stdin=PIPE, stdout=PIPE, env=environment) as machines:
        yield machines, await line_of(machines)
        assert machines.stdin is not None
        machines.stdin.close()
        await machines.wait()


async def line_of(process: Process) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


@asynccontextmanager
async def running_fleet(
    environment: dict[str, str], master: Master, model: Path, address: str, *arguments: str
) -> AsyncIterator[Process]:
    """`pykaldi-server ray`, which is told to stop at the end and does so."""
    command = (sys.executable, "-m", "pykaldi_server", "ray", "--uri", master.worker_url)
    options = ("--conf", str(model), "--sessions", "2", "--ray-address", address)
    async with running_process(*command, *options, *arguments, env=environment) as fleet:
        yield fleet
        fleet.send_signal(signal.SIGTERM)
        assert await fleet.wait() == 0


async def begin(harness: Harness, master: Master, digits: bytes) -> Socket:
    """A client in the middle of its sentence, of which it has seen words."""
    client = await harness.client(master)
    await client.send(digits[:BEGINNING])
    await client.until(lambda each: "result" in each)
    return client


def words_of(messages: list[dict[str, Any]]) -> str:
    """What a client has heard of a request that has ended well."""
    assert all(each["status"] == 0 for each in messages), messages
    finals = [each["result"] for each in messages if each.get("result", {}).get("final")]
    return " ".join(each["hypotheses"][0]["transcript"] for each in finals)


async def finish(client: Socket, digits: bytes) -> None:
    """Sends the rest of the sentence."""
    await client.send(digits[BEGINNING:])
    await client.send("EOS")


async def have_words(harness: Harness, master: Master, number: int, digits: bytes) -> None:
    """As many streams at once as that end well."""
    clients = [await begin(harness, master, digits) for _ in range(number)]
    for client in clients:
        await finish(client, digits)
    messages = await asyncio.gather(*(each.read_all() for each in clients))
    assert [words_of(each) for each in messages] == number * [TRANSCRIPT]


async def have_slots(master: Master, free: int, busy: int) -> None:
    """Returns when a master has so many slots."""

    def has() -> bool:
        status = master.hub.pool.status()
        return (status.available, status.busy) == (free, busy)

    await master.until(has)


def test_a_machine_is_lost_in_mid_stream(
    environment: dict[str, str], models: Path, harness: Harness, digits: bytes
) -> None:
    """Clients of its worker are told, the others notice nothing, and another worker takes its place."""

    async def scenario() -> None:
        async with (
            harness.master() as master,
            running_machines(environment) as (machines, address),
            running_fleet(environment, master, model, address, "--min-workers=2", "--max-workers=2"),
        ):
            await have_slots(master, 4, 0)
            clients = [await begin(harness, master, digits) for _ in range(4)]
            hearing = [asyncio.create_task(each.read_all()) for each in clients]
            assert machines.stdin is not None
            machines.stdin.write(b"lose\n")
            await have_slots(master, 0, 2)
            await until(lambda: sum(each.done() for each in hearing) == 2)
            for client, heard in zip(clients, hearing, strict=True):
                if heard.done():
                    assert heard.result()[-1]["message"].startswith("The recogniser was lost")
                else:
                    await finish(client, digits)
                    assert words_of(await heard) == TRANSCRIPT
            await have_slots(master, 4, 0)
            await have_words(harness, master, 4, digits)
            assert await line_of(machines) == "lost"

    model = models / "english:graph-digits"
    harness.run(scenario)


def test_workers_come_with_the_load_and_go_without_a_lost_word(
    environment: dict[str, str], models: Path, harness: Harness, digits: bytes
) -> None:
    bounds = ("--max-workers=2", "--scale-down-s=1")

    async def scenario() -> None:
        async with (
            harness.master() as master,
            running_machines(environment) as (_, address),
            running_fleet(environment, master, model, address, *bounds),
        ):
            await have_slots(master, 2, 0)
            early = [await begin(harness, master, digits) for _ in range(2)]
            await have_slots(master, 2, 2)
            late = [await begin(harness, master, digits) for _ in range(2)]
            hearing = [asyncio.create_task(each.read_all()) for each in (*early, *late)]
            for client in (*early, late[0]):
                await finish(client, digits)
            await have_slots(master, 2, 1)  # the second worker takes nobody any more, and serves whom it has
            await finish(late[1], digits)
            assert [words_of(await each) for each in hearing] == 4 * [TRANSCRIPT]
            await have_slots(master, 2, 0)
            await have_words(harness, master, 2, digits)

    model = models / "english:graph-digits"
    harness.run(scenario)
