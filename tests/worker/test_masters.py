"""A worker with several masters: each has its share of the slots, and those of a master that is away."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from harness import Harness
from live_worker import serving
from tornado.httpclient import HTTPClientError

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.server import Master
from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker

WORDS = "two nine three four zero"


def worker_of(model: Model, *masters: Master, sessions: int) -> AbstractAsyncContextManager[Worker]:
    urls = tuple(each.worker_url for each in masters)
    return serving(Worker(model, WorkerOptions(url=urls, sessions=sessions, reconnect_max_s=0.1)))


async def have_slots(*expected: tuple[Master, int]) -> None:
    """Returns when each master has as many free slots as that, all at the same time."""
    while any(master.hub.pool.status().available != number for master, number in expected):
        await asyncio.sleep(0.01)


async def recognise(harness: Harness, master: Master, audio: bytes) -> str:
    client = await harness.client(master)
    await client.send(audio)
    await client.send("EOS")
    finals = [each["result"] for each in await client.read_all() if each.get("result", {}).get("final")]
    return " ".join(each["hypotheses"][0]["transcript"] for each in finals).replace(".", "").strip()


def test_slots_go_where_a_master_is_and_come_back(harness: Harness, digits: Model, audio: bytes) -> None:
    async def scenario() -> None:
        async with (
            harness.master() as first,
            harness.master() as second,
            worker_of(digits, first, second, sessions=5) as worker,
        ):
            await have_slots((first, 3), (second, 2))
            await asyncio.wait_for(worker.connected.wait(), 30)
            assert await recognise(harness, first, audio) == WORDS
            await first.stop()
            await have_slots((second, 5))
            while worker.slots != {"free": 5, "busy": 0, "disconnected": 0}:
                await asyncio.sleep(0.01)  # the master sees a connection before the worker does
            assert await recognise(harness, second, audio) == WORDS
            async with harness.master(port=first.port) as again:
                # While slots move, no request of the other master is lost.
                moving = asyncio.create_task(have_slots((again, 3), (second, 2)))
                while not moving.done():
                    assert await recognise(harness, second, audio) == WORDS
                assert await recognise(harness, again, audio) == WORDS

    harness.run(scenario)


def test_a_worker_stops_while_it_serves_another_master(harness: Harness, digits: Model, audio: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as first, harness.master() as second:
            await first.stop()
            async with worker_of(digits, first, second, sessions=2) as worker:
                await have_slots((second, 2))
                client = await harness.client(second)
                await client.send(audio[:24000])
                await client.until(lambda each: "result" in each)
                worker.drain()
                await have_slots((second, 0))
                await client.send("EOS")
                assert (await client.read_all())[-1]["status"] == 0

    harness.run(scenario)


def test_free_slots_leave_a_master_that_only_finishes(harness: Harness, digits: Model, audio: bytes) -> None:
    async def scenario() -> None:
        async with (
            harness.master() as first,
            harness.master() as second,
            worker_of(digits, first, second, sessions=4),
        ):
            await have_slots((first, 2), (second, 2))
            client = await harness.client(first)
            await client.send(audio[:24000])
            await client.until(lambda each: "result" in each)
            draining = asyncio.create_task(first.drain(60))
            await have_slots((second, 3))
            with pytest.raises(HTTPClientError, match="503: the server is shutting down"):
                await harness.worker(first)
            await client.send(audio[24000:])
            await client.send("EOS")
            assert (await client.read_all())[-1]["status"] == 0
            await draining
            await have_slots((second, 4))

    harness.run(scenario)


def test_addresses_are_checked() -> None:
    with pytest.raises(ConfigError, match="url: expected the address of at least one master, found none"):
        WorkerOptions(url=()).validate()
    with pytest.raises(ConfigError, match="expected ws://host/worker/ws/speech, found 'http://host'"):
        WorkerOptions(url=("ws://host/worker/ws/speech", "http://host")).validate()
