"""A request from its begin to its end, without a client's protocol."""

import asyncio
import tempfile
from typing import Any

import pytest
from harness import until

from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.worker import Position


class Silence:
    """A client that wants nothing any more."""

    async def deliver(self, event: str) -> None:
        raise AssertionError(event)

    async def consumed(self, position: Position) -> None:
        raise AssertionError(position)

    async def end(self, end: End) -> None:
        raise AssertionError(end)


def test_a_request_that_is_cancelled_before_it_has_begun_is_forgotten(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            relay = Relay(master.hub, RequestInfo(), Silence(), Caller("127.0.0.1"))
            relay.start()
            assert master.hub.requests == {relay}
            relay.cancel()
            async with asyncio.timeout(200):
                while master.hub.requests:
                    await asyncio.sleep(0)

    harness.run(scenario)


def test_a_disk_that_is_full_ends_the_request_that_needs_it_and_no_other(
    harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(**_: Any) -> Any:
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)

    async def scenario() -> None:
        async with harness.master(queue_s=60) as master:
            worker = await harness.worker(master, "protocol=2")
            served = await harness.client(master)
            await worker.read_json()
            waiting = await harness.client(master)
            await waiting.send(bytes(400_000))
            (event,) = await waiting.read_all()
            assert (event["status"], event["message"]) == (2, "The server has no room left to store audio")
            await served.send(b"audio")
            assert await worker.read() == b"audio"

    harness.run(scenario)


def test_what_many_clients_say_while_they_wait_is_bounded(harness: Any) -> None:
    """Who has said much is held back, and loses nothing; who is served notices nothing."""
    num_clients, num_bytes = 8, 400_000

    async def scenario() -> None:
        async with harness.master(queue_s=60, store_total_bytes=1_000_000) as master:
            worker = await harness.worker(master, "protocol=2")
            served = await harness.client(master)
            await worker.read_json()
            waiting = [await harness.client(master) for _ in range(num_clients)]
            sending = [
                asyncio.create_task(send_pieces(client, bytes([number]) * num_bytes))
                for number, client in enumerate(waiting)
            ]
            stored = master.hub.stored
            share = 1_000_000 // num_clients
            await until(lambda: stored.held_bytes > (num_clients - 1) * share)
            await asyncio.sleep(0.2)
            assert stored.num_holding == num_clients
            assert (
                stored.held_bytes < 2 * 1024**2 + num_clients * 64 * 1024
            )  # a piece that was under way each
            for _ in range(10):
                await served.send(b"audio")
                assert await worker.read() == b"audio"

            workers = [await harness.worker(master, "protocol=2") for _ in waiting]
            for number, each in enumerate(workers):
                init = await each.read_json()
                assert init["id"]
                received = 0
                while (message := await each.read()) != "EOS":
                    assert set(message) == {number}
                    received += len(message)
                    await each.send(Position(received, 0.0).text())
                assert received == num_bytes
            await asyncio.gather(*sending)

    harness.run(scenario)


async def send_pieces(client: Any, audio: bytes) -> None:
    for start in range(0, len(audio), 16_000):
        await client.send(audio[start : start + 16_000])
    await client.send("EOS")
