"""The thread that works with a database: order, outages, and a database that hangs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from pykaldi_server.database import thread as thread_module
from pykaldi_server.database.database import Database
from pykaldi_server.database.thread import DatabaseThread
from pykaldi_server.errors import DatabaseError


def run(
    path: Path,
    scenario: Callable[[DatabaseThread], Coroutine[Any, Any, None]],
    timeout_s: float = 30.0,
    release: threading.Event | None = None,
) -> None:
    async def whole() -> None:
        thread = DatabaseThread(Database(str(path)), timeout_s)
        try:
            async with asyncio.timeout(200):
                await scenario(thread)
        finally:
            if release is not None:
                release.set()
            await thread.close()

    asyncio.run(whole())


def test_transactions_run_one_after_the_other(tmp_path: Path) -> None:
    seen: list[int] = []

    async def scenario(thread: DatabaseThread) -> None:
        for number in range(100):
            thread.submit(lambda _, number=number: seen.append(number))  # type: ignore[misc]
        assert await thread.call(lambda _: len(seen)) == 100

    run(tmp_path / "states.db", scenario)
    assert seen == list(range(100))


def test_what_has_been_submitted_is_finished_at_the_end(tmp_path: Path) -> None:
    seen: list[int] = []
    begun, may_go = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        begun.set()
        may_go.wait(60)

    async def scenario(thread: DatabaseThread) -> None:
        thread.submit(wait)
        thread.submit(lambda _: seen.append(1))
        await asyncio.to_thread(begun.wait, 60)

    run(tmp_path / "states.db", scenario, release=may_go)
    assert seen == [1]


def test_an_outage_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "missing" / "states.db"

    async def scenario(thread: DatabaseThread) -> None:
        for _ in range(3):
            with pytest.raises(DatabaseError, match="No such file"):
                await thread.call(lambda _: None)
        assert "No such file" in thread.failure
        path.parent.mkdir()
        await thread.call(lambda _: None)
        assert thread.failure == ""
        assert thread.num_failures == 3

    run(path, scenario)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "the database cannot be used; requests go on without it: sqlite" in caplog.messages[0]
    assert caplog.messages[1] == "the database can be used again; 3 transactions have failed"


def test_nothing_waits_for_a_database_that_hangs(tmp_path: Path) -> None:
    begun, may_go = threading.Event(), threading.Event()
    seen: list[int] = []

    def hang(_: Connection) -> None:
        begun.set()
        may_go.wait(60)

    async def scenario(thread: DatabaseThread) -> None:
        thread.submit(hang)
        await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(DatabaseError, match=r"no answer within 0\.2 s"):
            await thread.call(lambda _: seen.append(1))  # which waits in vain
        while not thread.is_stuck:
            await asyncio.sleep(0.01)
        with pytest.raises(DatabaseError, match="no answer"):
            await thread.call(lambda _: seen.append(1))  # which is never attempted
        thread.submit(lambda _: seen.append(2))
        thread.timeout_s = 60.0
        may_go.set()
        assert await thread.call(lambda _: seen) == [2]
        assert thread.failure == ""

    run(tmp_path / "states.db", scenario, timeout_s=0.2, release=may_go)


def test_more_than_can_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "MOST_WAITING", 3)
    begun, may_go = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        begun.set()
        may_go.wait(60)

    async def scenario(thread: DatabaseThread) -> None:
        first = thread.submit(wait)
        await asyncio.to_thread(begun.wait, 60)
        waiting = [thread.submit(lambda _: None) for _ in range(3)]
        refused = thread.submit(lambda _: None)
        assert isinstance(refused.exception(), DatabaseError)
        may_go.set()
        for each in (first, *waiting):
            await asyncio.wrap_future(each)

    run(tmp_path / "states.db", scenario, release=may_go)


def test_a_fault_of_the_program_does_not_end_the_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (a INTEGER)"))
        raise ZeroDivisionError

    async def scenario(thread: DatabaseThread) -> None:
        with pytest.raises(ZeroDivisionError):
            await thread.call(fail)
        assert await thread.call(lambda _: "goes on") == "goes on"

    run(tmp_path / "states.db", scenario)
    assert "a transaction failed" in caplog.text
