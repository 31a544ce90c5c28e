"""Workers that are cut off from their masters in the middle of many streams, and lines that come back."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness import Harness, Socket, until
from network import PORT, SIDES, Network, num_repeated_segments, read_until, start_master, start_worker

from pykaldi_server.protocols.addresses import CLIENT_PATH

TRANSCRIPT = "two nine three four zero"
BEGINNING = 24_000
"""Bytes of audio after which words have been shown."""
NUM_STREAMS = 6
QUICK = ("--ping-interval-s=1", "--silence-timeout-s=6")
QUICK_WORKER = ("--ping-interval-s=2", "--reconnect-max-s=0.5")


async def connect(harness: Harness, network: Network, side: str, path: str) -> Socket:
    """A socket on the machine of a master, which no cut line separates from it."""
    with network.entered(side):
        return await harness.connect(f"ws://{SIDES[side]}:{PORT}{path}")


async def have_slots(harness: Harness, network: Network, side: str, number: int, num_busy: int = 0) -> None:
    """Returns when a master has so many free slots, and busy ones."""
    status = await connect(harness, network, side, "/client/ws/status")
    await status.until(
        lambda each: (each["num_workers_available"], each["num_requests_active"]) == (number, num_busy)
    )
    status.dispose()


async def begin(harness: Harness, network: Network, side: str, digits: bytes) -> Socket:
    """A client in the middle of its sentence, of which it has seen words."""
    client = await connect(harness, network, side, CLIENT_PATH)
    await client.send(digits[:BEGINNING])
    await client.until(lambda each: "result" in each)
    return client


async def finish(client: Socket, digits: bytes) -> None:
    """Sends the rest of the sentence."""
    await client.send(digits[BEGINNING:])
    await client.send("EOS")


async def words(clients: Sequence[Socket]) -> list[str]:
    """What clients hear until they are told that this is all."""
    transcripts = []
    for messages in await asyncio.gather(*(each.read_all() for each in clients)):
        assert all(each["status"] == 0 for each in messages), messages
        finals = [each["result"] for each in messages if each.get("result", {}).get("final")]
        transcripts.append(" ".join(each["hypotheses"][0]["transcript"] for each in finals))
    return transcripts


async def all_are_told(clients: Sequence[Socket]) -> None:
    """Returns when each request has ended with the error that says why."""
    for messages in await asyncio.gather(*(each.read_all() for each in clients)):
        assert messages[-1]["status"] == 2, messages
        assert messages[-1]["message"].startswith("The recogniser was lost")


async def all_hear_words(harness: Harness, network: Network, side: str, number: int, digits: bytes) -> None:
    """As many streams at once as that end well."""
    clients = [await begin(harness, network, side, digits) for _ in range(number)]
    for client in clients:
        await finish(client, digits)
    assert await words(clients) == number * [TRANSCRIPT]
    await have_slots(harness, network, side, number)


def test_what_is_said_during_a_short_cut_arrives_late(
    network: Network, models: Path, harness: Harness, digits: bytes
) -> None:
    async def scenario() -> None:
        clients = [await begin(harness, network, "server", digits) for _ in range(NUM_STREAMS)]
        network.cut("client")
        with network.entered("server"):
            repeated = num_repeated_segments()
            for client in clients:
                await finish(client, digits)
            await until(lambda: num_repeated_segments() >= repeated + NUM_STREAMS)
        network.mend("client")
        assert await words(clients) == NUM_STREAMS * [TRANSCRIPT]
        await have_slots(harness, network, "server", NUM_STREAMS)

    start_master(network)
    read_until(start_worker(network, models, f"--sessions={NUM_STREAMS}"), "loaded in")
    harness.run(scenario)


@pytest.mark.slow
def test_clients_of_a_cut_worker_are_told_and_all_its_slots_return(
    network: Network, models: Path, harness: Harness, digits: bytes
) -> None:
    num_slots = NUM_STREAMS + 2  # some are free when the line is cut

    async def scenario() -> None:
        await have_slots(harness, network, "server", num_slots)
        clients = [await begin(harness, network, "server", digits) for _ in range(NUM_STREAMS)]
        network.cut("client")
        for client in clients:
            await finish(client, digits)  # into nowhere
        await all_are_told(clients)
        await have_slots(harness, network, "server", 0)
        network.mend("client")
        await have_slots(harness, network, "server", num_slots)
        await all_hear_words(harness, network, "server", num_slots, digits)

    start_master(network, *QUICK)
    start_worker(network, models, f"--sessions={num_slots}", *QUICK_WORKER)
    harness.run(scenario)


@pytest.mark.slow
def test_one_of_two_masters_is_cut_off(
    network: Network, models: Path, harness: Harness, digits: bytes
) -> None:
    """Its slots help the other one out meanwhile, whose streams notice nothing."""

    async def scenario() -> None:
        await have_slots(harness, network, "server", 3)
        await have_slots(harness, network, "other", 2)
        near, far = [await begin(harness, network, side, digits) for side in masters]
        hearing = asyncio.create_task(words([near]))
        network.cut("other")
        await finish(far, digits)
        await all_are_told([far])
        await have_slots(harness, network, "other", 0)
        await have_slots(harness, network, "server", 4, num_busy=1)
        await finish(near, digits)
        assert await hearing == [TRANSCRIPT]
        await have_slots(harness, network, "server", 5)
        network.mend("other")
        for side, number in (("server", 3), ("other", 2)):
            await have_slots(harness, network, side, number)
        for side, number in (("server", 3), ("other", 2)):
            await all_hear_words(harness, network, side, number, digits)

    masters = ("server", "other")
    for side in masters:
        start_master(network, *QUICK, side=side)
    start_worker(network, models, "--sessions=5", *QUICK_WORKER, masters=masters)
    harness.run(scenario)
