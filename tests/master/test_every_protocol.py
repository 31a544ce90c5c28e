"""What clients of every protocol may rely on, on real sockets; the workers follow a script."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from every_protocol import PORTS, PROTOCOLS, Client

from pykaldi_server.master import server
from pykaldi_server.master.endpoints import upload
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.worker import Position

WORKER = "protocol=2&model=english"
AUDIO = b"12345678"
RESET = '{"reset": true}'
LAST_MESSAGES = ("EOS", RESET)
"""What a worker gets when a client has said that this was all; connections stay open where it is a reset."""

pytestmark = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads that have failed are not read to their ends."""
    monkeypatch.setattr(upload, "REFUSED_BODY_S", 0.05)


def final(text: str) -> Message:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": True}}


def partial(text: str) -> Message:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": False}}


async def until_eos(worker: Any) -> None:
    """Takes the audio, and says so."""
    num_bytes = 0
    while (message := await worker.read()) not in LAST_MESSAGES:
        if isinstance(message, bytes):
            num_bytes += len(message)
            await worker.send(Position(num_bytes, 0.0).text())
        assert message is not None


async def end(worker: Any) -> None:
    await worker.send(Position(len(AUDIO) + len(RESET), 0.0, end=True).text())


@asynccontextmanager
async def request(harness: Any, protocol: type[Client], **options: Any) -> AsyncIterator[Any]:
    """A master, a worker, and a client that has begun to speak."""
    async with harness.master(**PORTS, **options) as master:
        worker = await harness.worker(master, WORKER)
        async with protocol(harness, master) as client:
            await client.speak(AUDIO)
            await worker.read_json()
            assert AUDIO.startswith(await worker.read())
            yield master, worker, client


def test_all_final_results_and_a_good_end(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with request(harness, protocol) as (_, worker, client):
            await worker.send(final("two nine"))
            await client.stop()
            await until_eos(worker)
            await worker.send(final("three"))
            await end(worker)
            found = await client.outcome()
            assert " ".join(found.texts) == "two nine three"
            assert found.error is None

    harness.run(scenario)


def test_nothing_was_said(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with request(harness, protocol) as (_, worker, client):
            await client.stop()
            await until_eos(worker)
            await end(worker)
            found = await client.outcome()
            assert "".join(found.texts) == ""
            assert found.error is None

    harness.run(scenario)


async def vanishes(worker: Any) -> None:
    worker.vanish()


async def closes_in_order(worker: Any) -> None:
    worker.close(1000)


async def reports_an_error(worker: Any) -> None:
    await worker.send({"status": 2, "message": "recognition failed"})


FAILURES = [vanishes, closes_in_order, reports_an_error]


@pytest.mark.parametrize("fails", FAILURES)
@pytest.mark.parametrize("when", ["in the middle", "after the end of the audio"])
def test_a_worker_that_fails(
    harness: Any, protocol: type[Client], fails: Callable[[Any], Awaitable[None]], when: str
) -> None:
    """The client is told, after what was recognised."""

    async def scenario() -> None:
        async with request(harness, protocol) as (master, worker, client):
            await worker.send(final("two nine"))
            if when == "after the end of the audio":
                await client.stop()
                await until_eos(worker)
            await worker.send(partial("three"))
            await fails(worker)
            found = await client.outcome()
            assert found.error is not None
            assert "two nine" in " ".join(found.texts)
            await master.until(lambda: master.hub.pool.status().busy == 0)

    harness.run(scenario)


def test_a_client_that_vanishes(harness: Any, protocol: type[Client]) -> None:
    """Its worker is free at once; a call whose line breaks has ended, and is recognised."""

    async def scenario() -> None:
        async with request(harness, protocol) as (master, worker, client):
            await worker.send(partial("two"))
            client.vanish()
            if client.leaving_is_an_end:
                await until_eos(worker)
                await worker.send(final("two"))
                await end(worker)
                found = await client.outcome()
                assert (found.texts, found.error) == (["two"], None)
            else:
                while await worker.read() is not None:
                    pass
            await master.until(lambda: master.hub.pool.status().busy == 0)

    harness.run(scenario)


def test_no_free_worker(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS, queue_s=0.05) as master, protocol(harness, master) as client:
            await client.speak(AUDIO)
            found = await client.outcome()
            assert "".join(found.texts) == ""
            assert found.error is not None

    harness.run(scenario)


def test_a_worker_that_becomes_free_in_time(harness: Any, protocol: type[Client]) -> None:
    """What was said before there was one is not lost."""

    async def scenario() -> None:
        async with harness.master(**PORTS, queue_s=30) as master, protocol(harness, master) as client:
            await client.speak(AUDIO)
            await client.stop()
            worker = await harness.worker(master, WORKER)
            await worker.read_json()
            received = b""
            while isinstance(message := await worker.read(), bytes):
                received += message
            assert received == AUDIO
            assert message in LAST_MESSAGES
            await worker.send(final("two"))
            await end(worker)
            found = await client.outcome()
            assert (found.texts, found.error) == (["two"], None)

    harness.run(scenario)


@asynccontextmanager
async def stopping(master: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(master.stop())
    yield
    await task


def test_a_server_that_stops(harness: Any, protocol: type[Client]) -> None:
    """Workers recognise what they have got; clients are told that it is not all."""

    async def scenario() -> None:
        async with request(harness, protocol) as (master, worker, client):
            await worker.send(final("two nine"))
            async with stopping(master):
                await until_eos(worker)
                await worker.send(final("three"))
                await end(worker)
                found = await client.outcome()
                assert "shutting down" in str(found.error)
                assert " ".join(found.texts) == "two nine three"

    harness.run(scenario)


def test_a_server_that_stops_and_a_worker_that_does_not(
    harness: Any, protocol: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LAST_WORDS_S", 0.05)

    async def scenario() -> None:
        async with request(harness, protocol) as (master, worker, client):
            await worker.send(final("two nine"))
            async with stopping(master):
                found = await client.outcome()
                assert "shutting down" in str(found.error)
                assert found.texts == ["two nine"]

    harness.run(scenario)


def test_a_server_that_stops_when_all_has_been_said(harness: Any, protocol: type[Client]) -> None:
    """Then the client has its words in good order, as if nothing had happened."""

    async def scenario() -> None:
        async with request(harness, protocol) as (master, worker, client):
            await client.stop()
            await until_eos(worker)
            async with stopping(master):
                await worker.send(final("two nine"))
                await end(worker)
                found = await client.outcome()
                assert (found.texts, found.error) == (["two nine"], None)

    harness.run(scenario)


def test_a_server_that_stops_while_a_client_waits(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS, queue_s=30) as master, protocol(harness, master) as client:
            await client.speak(AUDIO)
            await master.until(lambda: master.hub.pool.status().waiting == 1)
            async with stopping(master):
                assert (await client.outcome()).error is not None

    harness.run(scenario)
