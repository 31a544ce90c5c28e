"""What a fleet learns of the load from real masters."""

import asyncio
import logging
from pathlib import Path

import pytest
from harness import Harness

from pykaldi_server.errors import ConfigError
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.scaling import Load
from pykaldi_server.fleet.status import MasterStatus, StatusError, load_of, read_load, status_url
from pykaldi_server.master.server import Master
from pykaldi_server.protocols.trust import Trust

NOBODY = "ws://127.0.0.1:9/worker/ws/speech"
"""The port of `discard`, at which no test listens."""


async def load_from(*urls: str, model: str = "english", token_file: Path | None = None) -> Load:
    masters = [MasterStatus(each, Trust()) for each in urls]
    return await read_load(masters, model, FleetOptions(status_token_file=token_file))


async def waiting(master: Master, number: int) -> None:
    await master.until(lambda: master.hub.pool.status().waiting == number)


def test_the_load_is_that_of_the_model(harness: Harness) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=60) as master:
            assert await load_from(master.worker_url) == Load(0, 0)
            for model in ("english", "english", "german"):
                await harness.worker(master, f"model={model}")
            await master.until(lambda: master.hub.pool.status().available == 3)
            for model in ("english", "english", "english", "german", "german", "german"):
                await harness.client(master, f"model={model}")
            await waiting(master, 3)
            assert await load_from(master.worker_url) == Load(2, 1)
            assert await load_from(master.worker_url, model="german") == Load(1, 2)

    harness.run(scenario)


def test_loads_of_several_masters_are_added(harness: Harness) -> None:
    async def scenario() -> None:
        async with harness.master() as first, harness.master() as second:
            for master in (first, second):
                await harness.worker(master, "model=english")
                await master.until(lambda master=master: master.hub.pool.status().available == 1)  # type: ignore[misc]
                await harness.client(master)
                await master.until(lambda master=master: master.hub.pool.status().busy == 1)  # type: ignore[misc]
            assert await load_from(first.worker_url, second.worker_url) == Load(2, 0)

    harness.run(scenario)


def test_a_master_that_is_away_is_said_once(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            masters = [MasterStatus(each, Trust()) for each in (master.worker_url, NOBODY)]
            for _ in range(2):
                load = await read_load(masters, "english", FleetOptions())
                assert load == Load(0, 0, is_complete=False)

    with caplog.at_level(logging.WARNING, "pykaldi_server.fleet"):
        harness.run(scenario)
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        "no status from http://127.0.0.1:9/readyz"
    ]


def test_a_token_shows_the_status(harness: Harness, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens, own = tmp_path / "tokens.yaml", tmp_path / "token"
    tokens.write_text(
        "clients: {desk: client-token-of-many-letters}\nadministrators: {ray: status-token-of-many-letters}\n"
    )
    own.write_text("status-token-of-many-letters\n")

    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            assert await load_from(master.worker_url) == Load(0, 0, is_complete=False)
            assert await load_from(master.worker_url, token_file=own) == Load(0, 0)
        async with harness.master(tokens=tokens, private=("status",)) as master:
            assert await load_from(master.worker_url, token_file=own) == Load(0, 0)
            assert await load_from(master.worker_url) == Load(0, 0, is_complete=False)
            own.write_text("something-else-of-many-letters\n")
            assert await load_from(master.worker_url, token_file=own) == Load(0, 0, is_complete=False)

    harness.run(scenario)
    said = [each.message for each in caplog.records if each.name.startswith("pykaldi_server.fleet")]
    assert len(said) == 3
    assert all("--status-token-file" in each for each in said)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://host:8888/worker/ws/speech", "http://host:8888/readyz"),
        ("wss://host/speech/worker/ws/speech?token=secret", "https://host/speech/readyz"),
    ],
)
def test_the_address_of_the_status(url: str, expected: str) -> None:
    assert status_url(url) == expected


def test_an_address_without_its_end() -> None:
    with pytest.raises(ConfigError, match="ends with /worker/ws/speech, found ws://host/w;"):
        status_url("ws://host/w?token=secret")


@pytest.mark.parametrize(
    "status", [[], 7, {"models": []}, {"models": {"english": {}}}, {"ready": True}, None]
)
def test_something_else_than_a_status(status: object) -> None:
    with pytest.raises(StatusError):
        load_of(status, "english")


def test_an_answer_that_is_not_json(harness: Harness) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            load = await load_from(f"ws://127.0.0.1:{port}/worker/ws/speech")
            assert load == Load(0, 0, is_complete=False)

    harness.run(scenario)
