"""Clients that wait for a worker: in which order they get one, who may wait, and what they are told."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from harness import FakeTimeLoop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pykaldi_server.master.pool import UnavailableError, UnknownModelError, Wait, WorkerPool

RunInFakeTime = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def test_who_came_first_is_served_first_whatever_it_asked_for(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool(default_model="english")
        served: list[str] = []

        async def client(name: str, model: str | None) -> None:
            served.append(f"{name} {await pool.acquire(model, 10.0)}")

        wanted = [("a", None), ("b", "english"), ("c", "digits"), ("d", None), ("e", "english")]
        async with asyncio.TaskGroup() as clients:
            for name, model in wanted:
                clients.create_task(client(name, model))
                await asyncio.sleep(0)
            for number in range(4):
                pool.add(f"english{number}", "english")
                await asyncio.sleep(0.1)
            assert served == ["a english0", "b english1", "d english2", "e english3"]
            pool.add("digits0", "digits")
        assert served[-1] == "c digits0"
        assert pool.status().waiting == 0

    run_in_fake_time(scenario)


def test_without_a_default_a_worker_of_any_model_goes_to_who_came_first(
    run_in_fake_time: RunInFakeTime,
) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        any_model = asyncio.create_task(pool.acquire(None, 10.0))
        await asyncio.sleep(1)
        english = asyncio.create_task(pool.acquire("english", 10.0))
        await asyncio.sleep(1)
        pool.add("a", "english")
        pool.add("b", "english")
        assert (await any_model, await english) == ("a", "b")

    run_in_fake_time(scenario)


def test_a_new_default_model_serves_those_who_name_none(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool(default_model="english")
        pool.add("a", "digits")
        waiting = asyncio.create_task(pool.acquire(wait_s=10.0))
        await asyncio.sleep(1)
        pool.default_model = "digits"
        assert await waiting == "a"

    run_in_fake_time(scenario)


def test_a_line_is_bounded_and_each_model_has_its_own(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool(default_model="english")
        for model in ("english", "digits"):
            pool.add(model, model)
            await pool.acquire(model)
        others: list[asyncio.Task[str]] = []
        for number in range(3):  # those who name the default and those who name none wait for the same
            others.append(
                asyncio.create_task(pool.acquire("english" if number % 2 else None, 10.0, length=3))
            )
        await asyncio.sleep(1)
        for asked in ("english", None):
            with pytest.raises(UnavailableError, match="try again later: 3 requests are waiting already"):
                await pool.acquire(asked, 10.0, length=3)
        assert asyncio.get_running_loop().time() == 1.0
        other = asyncio.create_task(pool.acquire("digits", 10.0, length=3))
        await asyncio.sleep(1)
        pool.add("new", "digits")
        assert await other == "new"
        assert (pool.status().waiting, pool.status().refused) == (3, 2)

    run_in_fake_time(scenario)


def test_invented_models_share_one_bound_while_none_is_known(run_in_fake_time: RunInFakeTime) -> None:
    """Nobody can fill the memory with lines at start, when no worker has said which models there are."""

    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        others: list[asyncio.Task[str]] = []
        for number in range(3):
            others.append(asyncio.create_task(pool.acquire(f"model{number}", 10.0, length=3)))
        await asyncio.sleep(1)
        with pytest.raises(UnavailableError, match="3 requests are waiting"):
            await pool.acquire("model3", 10.0, length=3)

    run_in_fake_time(scenario)


def test_nobody_waits_where_waiting_is_switched_off() -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        with pytest.raises(UnavailableError, match=r"^No decoder available, try again later$"):
            await pool.acquire(wait_s=0.0, length=0)
        with pytest.raises(UnavailableError, match="0 requests are waiting"):
            await pool.acquire(wait_s=10.0, length=0)
        pool.add("a", "")
        assert await pool.acquire(wait_s=0.0, length=0) == "a"

    asyncio.run(scenario())


def test_who_lost_its_worker_keeps_its_place(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool()
        pool.add("gone", "")
        early = pool.ticket()
        assert await pool.acquire(ticket=early) == "gone"
        late = asyncio.create_task(pool.acquire(wait_s=10.0))
        await asyncio.sleep(1)
        pool.remove("gone")
        again = asyncio.create_task(pool.acquire(wait_s=10.0, ticket=early))
        await asyncio.sleep(1)
        pool.add("a", "")
        pool.add("b", "")
        assert (await again, await late) == ("a", "b")

    run_in_fake_time(scenario)


def test_places_are_told_when_they_change_and_not_too_often(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool(default_model="english")
        now_s = asyncio.get_running_loop().time
        told: dict[str, list[tuple[float, int]]] = {}

        def client(name: str, model: str | None) -> "asyncio.Task[str]":
            told[name] = []
            return asyncio.create_task(
                pool.acquire(model, 60.0, place=lambda place: told[name].append((now_s(), place)))
            )

        async def nothing_changes_for_the_others() -> None:
            await asyncio.sleep(20)

        for model in ("english", "digits"):
            pool.add(model, model)
            await pool.acquire(model)
        first = client("first", None)
        client("second", "english")
        client("other", "digits")
        silent = asyncio.create_task(pool.acquire("english", 60.0))  # it does not ask, but it stands in line
        third = client("third", None)
        await nothing_changes_for_the_others()
        assert told == {
            "first": [(0.0, 1)],
            "second": [(0.0, 2)],
            "other": [(0.0, 1)],
            "third": [(0.0, 4)],
        }
        pool.add("a", "english")
        assert await first == "a"
        await asyncio.sleep(0.4)
        silent.cancel()
        await asyncio.sleep(20)
        assert told["first"] == [(0.0, 1)]
        assert told["second"][1:] == [(20.0, 1)]
        assert told["third"][1:] == [(20.0, 3), (21.0, 2)]  # of two changes within a second, the second later
        third.cancel()

    run_in_fake_time(scenario)


def test_a_thousand_who_wait_are_told_no_more_than_a_share_of_them_per_second(
    run_in_fake_time: RunInFakeTime,
) -> None:
    """However often places change."""

    async def scenario() -> None:
        pool: WorkerPool[int] = WorkerPool()
        told: list[int] = []
        clients = [asyncio.create_task(pool.acquire(wait_s=600.0, place=told.append)) for _ in range(1000)]
        await asyncio.sleep(0.5)
        assert sorted(told) == [*range(1, 1001)]
        told.clear()
        for worker in range(500):  # within ten seconds
            pool.add(worker, "")
            await asyncio.sleep(0.02)
        assert len(told) <= 10 * 200
        assert sum(client.done() for client in clients) == 500
        await asyncio.sleep(10)
        assert told[-500:] == [*range(1, 501)]  # in the end everybody knows
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        assert pool.status().waiting == 0

    run_in_fake_time(scenario)


def test_when_to_try_again(run_in_fake_time: RunInFakeTime) -> None:
    """From how long requests last, how many wait, and how many slots there are."""

    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool("english", asyncio.get_running_loop().time)
        for worker in ("a", "b"):
            pool.add(worker, "english")
        await pool.acquire()
        await asyncio.sleep(40)
        pool.remove("a")
        assert pool.mean_duration_s(None) == 40
        pool.add("c", "english")
        await pool.acquire()
        await pool.acquire()
        assert pool.retry_after_s(None) == 20  # 40 s for each of two slots
        others = [asyncio.create_task(pool.acquire(wait_s=3600.0))]
        with pytest.raises(UnavailableError) as refused:
            await pool.acquire(wait_s=0.5)
        assert refused.value.retry_after_s == 40
        for _ in range(50):
            others.append(asyncio.create_task(pool.acquire(wait_s=3600.0)))
        await asyncio.sleep(0)
        assert pool.retry_after_s("english") == 120  # nobody is told to come back next year
        with pytest.raises(UnknownModelError) as never:
            await pool.acquire("englich")
        assert never.value.retry_after_s == 0

    run_in_fake_time(scenario)


def test_the_shortest_wait_is_a_second() -> None:
    pool: WorkerPool[str] = WorkerPool(clock=lambda: 0.0)
    pool.add("a", "")
    assert asyncio.run(pool.acquire()) == "a"
    pool.remove("a")
    assert pool.retry_after_s(None) == 1


def test_waits_can_be_measured(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        pool: WorkerPool[str] = WorkerPool("english", asyncio.get_running_loop().time)
        waits: list[Wait] = []
        unlisten = pool.listen_to_waits(waits.append)
        pool.add("a", "english")
        await pool.acquire()
        second = asyncio.create_task(pool.acquire(wait_s=10.0))
        leaving = asyncio.create_task(pool.acquire("digits", wait_s=10.0))
        await asyncio.sleep(3)
        pool.add("b", "english")
        await second
        leaving.cancel()
        with pytest.raises(UnavailableError):
            await pool.acquire(wait_s=2.0)
        with pytest.raises(UnavailableError):
            await pool.acquire()
        assert waits == [
            Wait("english", 0.0, True),
            Wait("english", 3.0, True),
            Wait("english", 2.0, False),
            Wait("english", 0.0, False),
        ]
        unlisten()
        pool.add("c", "english")
        assert await pool.acquire("english") == "c"
        assert len(waits) == 4

    run_in_fake_time(scenario)


class Clients(RuleBasedStateMachine):
    """Clients that come, wait and leave, and workers that connect, serve and leave, in any order.

    After each step nobody waits for whom there is a free worker, and of those who can have the same worker
    nobody is served before somebody who came earlier.
    """

    MODELS = ("english", "digits")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=FakeTimeLoop)
        self.pool: WorkerPool[int] = WorkerPool()
        self.model_of: dict[int, str] = {}
        self.waiting: dict[int, tuple[str | None, asyncio.Task[int]]] = {}
        self.serving: list[int] = []
        self.numbers = itertools.count()

    def teardown(self) -> None:
        for _, task in self.waiting.values():
            task.cancel()
        self.runner.run(asyncio.sleep(0.001))
        self.runner.close()

    def wanted(self, model: str | None) -> str | None:
        return model or self.pool.default_model

    def can_have(self, model: str | None, worker: int) -> bool:
        return self.wanted(model) in (None, self.model_of[worker])

    def settle(self) -> None:
        """Lets everything happen that can, and looks at who has been served."""
        before = {number: model for number, (model, _) in self.waiting.items()}
        self.runner.run(asyncio.sleep(0.001))
        served = {n: task.result() for n, (_, task) in self.waiting.items() if task.done()}
        for number, worker in served.items():
            del self.waiting[number]
            self.serving.append(worker)
            assert self.can_have(before[number], worker)
            for other, model in before.items():
                overtaken = other < number and other not in served and self.can_have(model, worker)
                assert not overtaken, f"client {other} was overtaken by {number}"

    async def begin(self, model: str | None) -> "asyncio.Task[int]":
        return asyncio.create_task(self.pool.acquire(model, 3600.0))

    @rule(model=st.sampled_from((*MODELS, None)))
    def client_comes(self, model: str | None) -> None:
        known = {*self.model_of.values()}
        if model is None or model in known:
            self.waiting[next(self.numbers)] = model, self.runner.run(self.begin(model))
            self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.pop(number)[1].cancel()
        self.settle()

    @rule(models=st.lists(st.sampled_from((*MODELS, "")), min_size=1, max_size=3))
    def workers_connect(self, models: list[str]) -> None:
        async def connect() -> None:
            for model in models:
                worker = next(self.numbers)
                self.model_of[worker] = model
                self.pool.add(worker, model)

        self.runner.run(connect())
        self.settle()

    @precondition(lambda self: self.serving)
    @rule(data=st.data())
    def a_request_ends(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.serving))
        self.serving.remove(worker)
        self.pool.remove(worker)
        self.settle()

    @rule(accepting=st.booleans(), default=st.sampled_from((*MODELS, None)))
    def settings_change(self, accepting: bool, default: str | None) -> None:
        async def change() -> None:
            self.pool.default_model = default
            self.pool.accepting = accepting

        self.runner.run(change())
        self.settle()

    @invariant()
    def counts_fit(self) -> None:
        status = self.pool.status()
        assert (status.waiting, status.busy) == (len(self.waiting), len(self.serving))

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        status = self.pool.status()
        free = {model for model, (number, _) in status.models.items() if number and status.accepting}
        for model, _ in self.waiting.values():
            wanted = self.wanted(model)
            assert not (free if wanted is None else free & {wanted})


TestAnyOrder = Clients.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=25)
