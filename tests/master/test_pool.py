"""Which worker a client gets, how long it waits for one, and what is counted."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pykaldi_server.master.pool import UnavailableError, UnknownModelError, Wait, WorkerPool

RunInFakeTime = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def acquire(pool: WorkerPool[str], model: str | None = None) -> str | None:
    """What a client gets that does not wait."""

    async def try_once() -> str | None:
        try:
            return await pool.acquire(model)
        except UnavailableError:
            return None

    return asyncio.run(try_once())


def test_the_worker_that_waited_longest_comes_first() -> None:
    pool: WorkerPool[str] = WorkerPool()
    for worker in ("a", "b", "c"):
        pool.add(worker, "english")
    assert [acquire(pool), acquire(pool), acquire(pool), acquire(pool)] == ["a", "b", "c", None]


def test_a_client_that_names_a_model_gets_only_that() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "english")
    pool.add("b", "digits")
    assert acquire(pool, "digits") == "b"
    assert acquire(pool, "digits") is None
    assert acquire(pool, "korean") is None


def test_the_default_model_is_not_replaced_by_another() -> None:
    pool: WorkerPool[str] = WorkerPool(default_model="english")
    pool.add("a", "digits")
    pool.add("b", "english")
    pool.add("old", "")
    assert acquire(pool) == "b"
    assert acquire(pool) is None


def test_without_a_default_unnamed_workers_serve() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("old", "")
    assert acquire(pool, "english") is None
    assert acquire(pool) == "old"


def test_workers_that_no_client_can_get_are_not_available() -> None:
    pool: WorkerPool[str] = WorkerPool(default_model="english")
    pool.add("old", "")
    assert pool.status().available == 0
    assert pool.status().models == {"": (1, 0)}
    pool.add("a", "english")
    pool.add("b", "digits")
    assert pool.status().available == 2
    pool.accepting = False
    assert pool.status().available == 0
    assert not pool.status().can_serve
    pool.accepting = True
    assert pool.status().can_serve


def test_counts() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "english")
    pool.add("b", "english")
    pool.add("c", "digits")
    acquire(pool, "english")
    acquire(pool, "korean")
    status = pool.status()
    assert (status.available, status.busy, status.processed, status.refused) == (2, 1, 0, 1)
    assert status.models == {"digits": (1, 0), "english": (1, 1)}

    pool.remove("a")  # its request has ended
    pool.remove("c")  # it leaves without one
    status = pool.status()
    assert (status.available, status.busy, status.processed) == (1, 0, 1)
    assert status.models == {"english": (1, 0)}


def test_nobody_gets_a_worker_while_the_pool_does_not_accept() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "")
    pool.accepting = False
    assert acquire(pool) is None
    assert not pool.status().can_serve
    pool.accepting = True
    assert pool.status().can_serve
    assert acquire(pool) == "a"


def test_removing_twice_counts_once() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "")
    acquire(pool)
    pool.remove("a")
    pool.remove("a")
    assert pool.status().processed == 1


def test_listeners_hear_every_change_until_they_leave() -> None:
    pool: WorkerPool[str] = WorkerPool()
    seen: list[int] = []
    unlisten = pool.listen(lambda: seen.append(pool.status().available))
    pool.add("a", "")
    pool.add("b", "")
    acquire(pool)
    pool.remove("a")
    pool.remove("nobody")
    unlisten()
    pool.remove("b")
    assert seen == [1, 2, 1, 1]


def test_a_listener_may_leave_while_it_is_told() -> None:
    pool: WorkerPool[str] = WorkerPool()
    seen: list[str] = []

    def once() -> None:
        seen.append("once")
        unlisten()

    unlisten = pool.listen(once)
    pool.listen(lambda: seen.append("other"))
    pool.add("a", "")
    pool.add("b", "")
    assert seen == ["once", "other", "other"]


def test_a_client_waits_until_a_worker_is_free(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        pool.add("a", "english")
        assert await pool.acquire() == "a"
        second = asyncio.create_task(pool.acquire(wait_s=2.0))
        third = asyncio.create_task(pool.acquire("english", wait_s=2.0))
        await asyncio.sleep(1.9)
        assert pool.status().waiting == 2
        pool.remove("a")
        pool.add("b", "english")
        pool.add("c", "english")
        assert (await second, await third) == ("b", "c")  # first come, first served
        assert (pool.status().waiting, pool.status().refused) == (0, 0)

    run_in_fake_time(scenario)


def test_waiting_ends(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        with pytest.raises(UnavailableError, match="No decoder available, try again later"):
            await pool.acquire(wait_s=2.0)
        assert asyncio.get_running_loop().time() == 2.0
        assert (pool.status().waiting, pool.status().refused) == (0, 1)

    run_in_fake_time(scenario)


def test_a_client_that_leaves_takes_no_worker_with_it(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        waiting = asyncio.create_task(pool.acquire(wait_s=2.0))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        pool.add("a", "")
        assert pool.status().available == 1

        pool.accepting = False
        waiting = asyncio.create_task(pool.acquire(wait_s=2.0))
        await asyncio.sleep(1)
        pool.accepting = True  # it has the worker, but does not know it yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (pool.status().available, pool.status().busy, pool.status().processed) == (1, 0, 0)

    run_in_fake_time(scenario)


def test_a_model_that_is_expected_is_waited_for(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        pool.expect_model("english")
        pool.expect_model("digits")
        waiting = asyncio.create_task(pool.acquire("english", wait_s=2.0))
        with pytest.raises(UnknownModelError):
            await pool.acquire("englich", wait_s=2.0)
        pool.add("a", "english")
        assert await waiting == "a"
        assert pool.expects_models
        pool.forget_model("digits")
        assert not pool.expects_models
        with pytest.raises(UnknownModelError):
            await pool.acquire("digits", wait_s=2.0)
        pool.expect_model("english")  # as after a reload: it is there
        assert not pool.expects_models

    run_in_fake_time(scenario)


def test_at_the_end_nobody_waits(run_in_fake_time: RunInFakeTime) -> None:
    """Whoever is refused at once can go to another master."""

    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool(clock=asyncio.get_running_loop().time)
        pool.add("a", "english")
        assert await pool.acquire() == "a"
        waiting = [asyncio.create_task(pool.acquire(model, wait_s=1000.0)) for model in (None, "english")]
        await asyncio.sleep(1)
        waits: list[Wait] = []
        pool.listen_to_waits(waits.append)
        pool.end("the server is shutting down")
        for each in waiting:
            with pytest.raises(UnavailableError, match="try again later: the server is shutting down"):
                await each
        with pytest.raises(UnavailableError, match="try again later: the server is shutting down"):
            await pool.acquire(wait_s=1000.0)
        pool.add("b", "english")
        with pytest.raises(UnavailableError, match="the server is shutting down"):
            await pool.acquire(wait_s=1000.0)
        assert asyncio.get_running_loop().time() < 2
        assert [each.is_served for each in waits] == 4 * [False]
        assert [each.seconds for each in waits] == [1, 1, 0, 0]
        assert (pool.status().waiting, pool.status().refused, pool.status().busy) == (0, 4, 1)

    run_in_fake_time(scenario)


def test_a_misspelt_model_is_refused_at_once_with_those_that_there_are(
    run_in_fake_time: RunInFakeTime,
) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        pool.add("a", "english")
        pool.add("b", "digits")
        pool.remove("b")  # it restarts
        with pytest.raises(UnknownModelError, match=r"there is no model 'englich'; .*: digits, english"):
            await pool.acquire("englich", wait_s=2.0)
        assert asyncio.get_running_loop().time() == 0.0
        with pytest.raises(UnavailableError, match="try again later"):
            await pool.acquire("digits", wait_s=2.0)

    run_in_fake_time(scenario)
