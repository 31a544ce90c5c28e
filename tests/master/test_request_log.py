"""Requests that a master writes down."""

import asyncio
import json
from typing import Any

import pytest
from metrics import Metrics
from postgresql import PostgresqlServer

from pykaldi_server.database.database import Database
from pykaldi_server.database.requests import LoggedRequest, RequestFilter, list_requests
from pykaldi_server.database.thread import DatabaseThread
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.records import MOST_CHARACTERS, RequestRecord
from pykaldi_server.master.request_log import RequestLog
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.worker import Position

DAY_S = 86_400.0
MOST_ROWS = 100


def final(transcript: str) -> str:
    return json.dumps({"status": 0, "result": {"hypotheses": [{"transcript": transcript}], "final": True}})


def rows(name: str) -> list[LoggedRequest]:
    database = Database(name)
    try:
        return database.run(lambda each: list_requests(each, RequestFilter(), None))
    finally:
        database.close()


async def when_written(log: RequestLog | None, count: int) -> None:
    assert log is not None
    while log.num_written < count:
        await asyncio.sleep(0.02)


def record(name: str = "", **info: Any) -> RequestRecord:
    made = RequestRecord.of(RequestInfo(**info), Caller("192.0.2.1", name), "kaldi")
    made.begin(made.info)
    made.end()
    return made


async def serve_one(harness: Any, master: Any, query: str = "") -> None:
    """A request with two final results that succeeds."""
    worker = await harness.worker(master, "model=english&protocol=2")
    client = await harness.client(master, query)
    await worker.read_json()
    await client.send(b"\1" * 1000)
    await client.send("EOS")
    assert await worker.read() == b"\1" * 1000
    await worker.send(final("one two"))
    await worker.send(final("three"))
    await worker.send(
        Position(1003, 2.0, True, 0.5, partial_delays_s=(0.25,), final_delays_s=(0.25, 0.75)).text()
    )
    await client.read_all()


@pytest.mark.parametrize("keeps", [False, True])
def test_a_request_is_written_down(harness: Any, database_name: str, keeps: bool) -> None:
    options = {"request_log_users": keeps, "request_log_text": keeps}

    async def scenario() -> None:
        async with harness.master(request_log=database_name, queue_s=0, **options) as master:
            await serve_one(harness, master, "user-id=anna")
            refused = await harness.client(master, "model=x")
            await refused.read_all()
            await when_written(master.hub.request_log, 2)
            metrics = Metrics((await harness.fetch(master, "/metrics")).body.decode())
            assert metrics.value("request_log_rows_total", result="written") == 2
            assert metrics.value("request_log_up") == 1

    harness.run(scenario)
    second, first = rows(database_name)
    assert (first.protocol, first.model, first.outcome, first.message) == ("kaldi", "english", "success", "")
    assert (first.received_bytes, first.audio_s, first.cpu_s, first.num_words) == (1003, 2.0, 0.5, 3)
    assert first.partial_delay_s is not None
    assert first.final_delay_s is not None
    assert first.longest_final_delay_s is not None
    assert first.partial_delay_s >= 0.25
    assert first.final_delay_s >= 0.5
    assert first.longest_final_delay_s == pytest.approx(first.final_delay_s + 0.25)
    assert first.queue_wait_s is not None
    assert first.begun_s <= first.ended_s
    assert "worker english at" in first.worker
    assert (first.address, first.user_id) == (("127.0.0.1", "anna") if keeps else (None, None))
    assert first.text == ("one two\nthree" if keeps else None)
    assert (second.outcome, second.queue_wait_s, second.model) == ("not_available", None, "")
    assert "there is no model 'x'" in second.message


def test_what_waits_at_the_end_is_written(harness: Any, database_name: str) -> None:
    async def scenario() -> None:
        async with harness.master(request_log=database_name) as master:
            await serve_one(harness, master)

    harness.run(scenario)
    assert len(rows(database_name)) == 1


def test_old_requests_are_deleted(database_name: str) -> None:
    now_s = 100 * DAY_S

    async def scenario() -> None:
        nonlocal now_s
        thread = DatabaseThread(Database(database_name), 5.0)
        log = RequestLog(lambda: MasterOptions(request_log_days=10), thread, lambda: now_s, lambda: now_s)
        for age_days in (5, 20):
            made = record()
            made.begun_s = now_s - age_days * DAY_S
            log.add(made)
        log.start()
        await when_written(log, 2)
        now_s += 0.1 * DAY_S
        log.add(record())  # with which old ones are looked for again
        await when_written(log, 3)
        await log.close()

    asyncio.run(scenario())
    assert len(rows(database_name)) == 2


def test_the_database_may_go_and_come_back(
    harness: Any, postgresql: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master(request_log=postgresql.url) as master:
            log = master.hub.request_log
            await serve_one(harness, master)
            await when_written(log, 1)
            await asyncio.to_thread(postgresql.kill)
            await serve_one(harness, master)
            while not log.failure:
                await asyncio.sleep(0.02)
            await serve_one(harness, master)  # goes on as before
            metrics = Metrics((await harness.fetch(master, "/metrics")).body.decode())
            assert metrics.value("request_log_up") == 0
            assert metrics.value("request_log_waiting") == 2
            await asyncio.to_thread(postgresql.start)
            await when_written(log, 3)
            assert (log.num_waiting, log.num_dropped) == (0, 0)

    try:
        harness.run(scenario)
        assert len(rows(postgresql.url)) == 3
        assert len([each for each in caplog.messages if "cannot be used" in each]) == 1
    finally:
        postgresql.start_again()
        postgresql.clear()


def test_a_database_that_hangs_holds_up_nobody(harness: Any, postgresql: PostgresqlServer) -> None:
    async def scenario() -> None:
        async with harness.master(request_log=postgresql.url) as master:
            log = master.hub.request_log
            await serve_one(harness, master)
            await when_written(log, 1)
            await asyncio.to_thread(postgresql.freeze)
            try:
                for _ in range(3):
                    await serve_one(harness, master)
                assert (log.num_written, log.num_waiting) == (1, 3)
            finally:
                await asyncio.to_thread(postgresql.thaw)
            await when_written(log, 4)

    try:
        harness.run(scenario)
        assert len(rows(postgresql.url)) == 4
    finally:
        postgresql.clear()


def test_rows_are_dropped_and_counted_when_too_many_wait(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pykaldi_server.master.request_log.MOST_ROWS", MOST_ROWS)
    monkeypatch.setattr("pykaldi_server.master.request_log.ROWS_AT_ONCE", MOST_ROWS // 3)
    folder = tmp_path / "folder"

    async def scenario() -> None:
        log = RequestLog(MasterOptions, DatabaseThread(Database(str(folder / "log.db")), 5.0))
        log.start()
        for _ in range(MOST_ROWS + 7):
            log.add(record())
        assert (log.num_waiting, log.num_dropped) == (MOST_ROWS, 7)
        while not log.failure:
            await asyncio.sleep(0.02)
        folder.mkdir()
        await when_written(log, MOST_ROWS)
        log.add(record())
        await when_written(log, MOST_ROWS + 1)
        await log.close()

    asyncio.run(scenario())
    assert len([each for each in caplog.messages if "further ones are dropped" in each]) == 1
    assert len([each for each in caplog.messages if "goes on; 7 requests are missing" in each]) == 1
    assert len(rows(str(folder / "log.db"))) == MOST_ROWS + 1


def test_long_texts_count_as_well(tmp_path: Any) -> None:
    async def scenario() -> None:
        thread = DatabaseThread(Database(str(tmp_path / "missing" / "log.db")), 5.0)
        log = RequestLog(lambda: MasterOptions(request_log_text=True), thread)
        while not log.num_dropped:
            made = record()
            made.transcripts.append("x" * MOST_CHARACTERS)
            log.add(made)
        assert 100 < log.num_waiting < 200
        await log.close()
        assert log.num_dropped == log.num_waiting + 1

    asyncio.run(scenario())


def test_what_clients_and_workers_say_never_holds_up_others(database_name: str) -> None:
    async def scenario() -> None:
        options = MasterOptions(request_log_users=True, request_log_text=True)
        log = RequestLog(lambda: options, DatabaseThread(Database(database_name), 5.0))
        made = record("desk", user_id="nul\0half\ud800")
        made.note(Position(0, float("inf"), cpu_s=float("nan")))
        made.transcripts.append("nul\0half\ud800'; DROP TABLE requests; --")
        made.message = "\ud800"
        log.add(made)
        log.start()
        await when_written(log, 1)
        await log.close()

    asyncio.run(scenario())
    (row,) = rows(database_name)
    assert (row.user_id, row.audio_s, row.cpu_s) == ("nulhalf?", 0.0, 0.0)
    assert row.text == "nulhalf?'; DROP TABLE requests; --"


def test_long_transcripts_are_kept_up_to_a_bound() -> None:
    made = record()
    for _ in range(20):
        made.note_final(final("word " * 20_000), keeps_text=True)
    assert made.num_words == 400_000
    assert sum(map(len, made.transcripts)) <= MOST_CHARACTERS + 100_000
    made.note_final('{"status": 0, "final": true}', keeps_text=True)
    made.note_final('{"final": true', keeps_text=True)
    assert made.num_words == 400_000


def test_the_same_file_may_keep_states_and_requests(harness: Any, tmp_path: Any) -> None:
    name = str(tmp_path / "both.db")

    async def scenario() -> None:
        async with harness.master(request_log=name, states=name) as master:
            await serve_one(harness, master)
            await when_written(master.hub.request_log, 1)
            assert (await harness.fetch(master, "/states")).code == 200

    harness.run(scenario)
    assert len(rows(name)) == 1
