"""Lines that carry less than is sent: what is too much waits where it comes from, and nothing is lost."""

import asyncio
from pathlib import Path

import pytest
from harness import Harness, Socket
from network import PORT, SERVER, Network, read_until, start_master, start_worker
from processes import peak_memory_bytes, reset_peak_memory

from pykaldi_server.protocols.addresses import CLIENT_PATH

pytestmark = pytest.mark.slow

PINGS = ("--ping-interval-s=1", "--silence-timeout-s=3")
MESSAGE_BYTES = 32 * 1024
ALLOWED_BYTES = 4 * 1024**2
"""By which the memory of a process may grow; what is sent is more."""


async def speak(client: Socket, audio: bytes) -> None:
    """Sends audio as fast as it is taken."""
    for begin in range(0, len(audio), MESSAGE_BYTES):
        await client.send(audio[begin : begin + MESSAGE_BYTES])
    await client.send("EOS")


async def hear(client: Socket) -> list[str]:
    """The words of a recording, one text for each final result."""
    messages = await client.read_all()
    assert all(each["status"] == 0 for each in messages), messages[-1]
    finals = [each["result"] for each in messages if each.get("result", {}).get("final")]
    return [each["hypotheses"][0]["transcript"] for each in finals]


async def recognise(harness: Harness, network: Network, side: str, audio: bytes) -> list[str]:
    """Sends a recording from one of the machines, and hears its words."""
    with network.entered(side):
        client = await harness.connect(f"ws://{SERVER}:{PORT}{CLIENT_PATH}")
    _, texts = await asyncio.gather(speak(client, audio), hear(client))
    return texts


@pytest.mark.parametrize(
    ("worker_side", "client_side", "kilobits_per_s"),
    [
        pytest.param("client", "server", 2000, id="audio to the worker"),
        pytest.param("server", "client", 32, id="results to the client"),
    ],
)
def test_all_words_arrive_and_nothing_piles_up(
    network: Network,
    models: Path,
    harness: Harness,
    digits: bytes,
    worker_side: str,
    client_side: str,
    kilobits_per_s: int,
) -> None:
    """Pings wait behind audio or results for longer than a silent peer is given."""
    audio = 70 * digits

    async def scenario() -> None:
        expected = await recognise(harness, network, client_side, audio)
        assert len(expected) == 70
        pids = (master.pid, worker.pid)
        before = [reset_peak_memory(each) for each in pids]
        network.slow_down("client", kilobits_per_s)
        assert await recognise(harness, network, client_side, audio) == expected
        for pid, bytes_before in zip(pids, before, strict=True):
            assert peak_memory_bytes(pid) - bytes_before < ALLOWED_BYTES

    master = start_master(network, *PINGS)
    worker = start_worker(network, models, "--sessions=1", "--ping-interval-s=1", side=worker_side)
    read_until(worker, "loaded in")
    harness.run(scenario)
