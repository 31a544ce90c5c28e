"""Threads that work for many requests: turns, order, errors, ends."""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from pykaldi_server.worker.decoder_threads import DecoderThreads

LIMIT_S = 30.0
SLICE_S = 0.005


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pykaldi_server.worker.decoder_threads.SLICE_S", SLICE_S)


@asynccontextmanager
async def running(num_threads: int = 1) -> AsyncIterator[DecoderThreads]:
    threads = DecoderThreads(num_threads)
    threads.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            yield threads
    finally:
        threads.stop()


def nothing(step: str) -> None:
    """What a step yields is of no interest."""


def spend(cpu_s: float) -> None:
    """Uses CPU time of this thread."""
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


def heavy(name: str, number: int) -> Generator[str]:
    """Steps that take more than a slice each."""
    for index in range(number):
        spend(1.1 * SLICE_S)
        yield f"{name}{index}"


def light(name: str) -> Generator[str]:
    yield name


async def block(threads: DecoderThreads, gate: threading.Event) -> "asyncio.Task[None]":
    """Returns when a thread waits for the gate."""
    work = asyncio.create_task(threads.share().run(blocked(gate), nothing))
    while threads.longest_step_s() == 0:
        await asyncio.sleep(0)
    return work


def blocked(gate: threading.Event) -> Generator[str]:
    gate.wait(LIMIT_S)
    yield "blocked"


def test_steps_are_told_in_order_before_the_work_is_done() -> None:
    async def scenario() -> None:
        async with running(2) as threads:
            share = threads.share()
            told: list[str] = []
            await share.run((str(each) for each in range(100)), told.append)
            assert told == [str(each) for each in range(100)]
            assert share.cpu_s > 0

    asyncio.run(scenario())


def test_what_comes_last_wakes_the_event_loop_together_with_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps() -> Generator[str, None, list[str]]:
        yield "first"
        yield ""  # which nobody is told
        return ["last"]

    async def scenario() -> None:
        async with running() as threads:
            told: list[str] = []
            posted: list[str] = []
            post = threads._mailbox.put

            def put(function: Callable[[Any], None], argument: object) -> None:
                posted.append(function.__name__)
                post(function, argument)

            monkeypatch.setattr(threads._mailbox, "put", put)
            assert await threads.share().run(steps(), told.append) == ["last"]
            assert told == ["first"]
            assert posted == ["append", "end"]

    asyncio.run(scenario())


def test_requests_take_turns_when_their_steps_are_long() -> None:
    async def scenario() -> None:
        async with running() as threads:
            told: list[str] = []
            gate = threading.Event()
            first = await block(threads, gate)
            others = [asyncio.create_task(threads.share().run(heavy(name, 3), told.append)) for name in "abc"]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(first, *others)
            rounds = [set(told[begin : begin + 3]) for begin in (0, 3, 6)]
            assert rounds == [{f"{name}{number}" for name in "abc"} for number in range(3)]

    asyncio.run(scenario())


def test_one_that_has_used_little_goes_before_backlogs() -> None:
    """A live stream comes after ten requests with much to do, each of which has had a turn already."""

    async def scenario() -> None:
        async with running() as threads:
            told: list[str] = []
            had_turns, gate, live = asyncio.Event(), threading.Event(), threads.share()

            def backlog(name: str) -> Generator[str]:
                yield from heavy(name, 1)
                gate.wait(LIMIT_S)
                yield from heavy(name, 2)

            def note(step: str) -> None:
                told.append(step)
                had_turns.set()

            names = "abcdefghij"
            backlogs = [asyncio.create_task(threads.share().run(backlog(name), note)) for name in names]
            await had_turns.wait()
            while len(told) < len(names):  # the first one waits at the gate in its second turn
                await asyncio.sleep(0)
            coming = asyncio.create_task(live.run(light("live"), note))
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(coming, *backlogs)
            assert told.index("live") <= len(names) + 1
            assert len(told) == 3 * len(names) + 1

    asyncio.run(scenario())


def test_nobody_saves_up_turns() -> None:
    """One that comes late gets its part from then on, not what it has left out."""

    async def scenario() -> None:
        async with running() as threads:
            told: list[str] = []
            busy, late = threads.share(), threads.share()
            await busy.run(heavy("x", 6), nothing)
            gate = threading.Event()
            first = await block(threads, gate)
            both = [
                asyncio.create_task(share.run(heavy(name, 3), told.append))
                for share, name in ((late, "l"), (busy, "b"))
            ]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(first, *both)
            assert told.index("b0") < told.index("l2")

    asyncio.run(scenario())


def test_steps_run_in_the_context_of_the_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")

    async def scenario() -> None:
        async with running() as threads:

            async def caller(name: str) -> list[str]:
                variable.set(name)
                told: list[str] = []
                await threads.share().run((variable.get() for _ in range(2)), told.append)
                return told

            assert await asyncio.gather(*map(caller, "ab")) == [["a", "a"], ["b", "b"]]

    asyncio.run(scenario())


def test_an_error_reaches_the_caller_after_the_steps_before_it() -> None:
    def failing() -> Generator[str]:
        yield "first"
        raise ValueError("damaged")

    async def scenario() -> None:
        async with running() as threads:
            told: list[str] = []
            with pytest.raises(ValueError, match="damaged"):
                await threads.share().run(failing(), told.append)
            assert told == ["first"]
            await threads.share().run(light("next"), told.append)  # the thread goes on
            assert told == ["first", "next"]

    asyncio.run(scenario())


def test_an_error_of_a_listener_leaves_the_others_alone() -> None:
    reported: list[str] = []

    def fail(step: str) -> None:
        raise ValueError(step)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        async with running() as threads:
            await threads.share().run(light("lost"), fail)

    asyncio.run(scenario())
    assert reported == ["lost"]


def test_a_cancel_waits_for_the_step_that_runs_and_ends_the_work() -> None:
    async def scenario() -> None:
        async with running() as threads:
            is_at_gate, gate, is_closed = threading.Event(), threading.Event(), threading.Event()
            told: list[str] = []

            def steps() -> Generator[str]:
                try:
                    is_at_gate.set()
                    gate.wait(LIMIT_S)
                    yield "ended"
                    yield "never"
                finally:
                    is_closed.set()

            work = asyncio.create_task(threads.share().run(steps(), told.append))
            while not is_at_gate.is_set():
                await asyncio.sleep(0)
            work.cancel()
            await asyncio.sleep(0)
            assert not work.done()
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert is_closed.is_set()
            assert told == ["ended"]

    asyncio.run(scenario())


def test_a_step_that_hangs_shows() -> None:
    async def scenario() -> None:
        async with running(2) as threads:
            assert threads.longest_step_s() == 0
            gate = threading.Event()
            work = asyncio.create_task(threads.share().run(blocked(gate), nothing))
            while threads.longest_step_s() < 0.01:
                await asyncio.sleep(0)
            await threads.share().run(light("meanwhile"), nothing)  # another thread
            assert threads.longest_step_s() >= 0.01
            gate.set()
            await work
            assert threads.longest_step_s() == 0

    asyncio.run(scenario())


def test_what_waits_when_the_threads_stop_is_cancelled() -> None:
    async def scenario() -> None:
        async with running() as threads:
            gate = threading.Event()
            runs = await block(threads, gate)
            waits = asyncio.create_task(threads.share().run(light("never"), nothing))
            await asyncio.sleep(0)
            threads.stop()
            with pytest.raises(asyncio.CancelledError):
                await waits
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await runs

    asyncio.run(scenario())


def test_work_that_the_end_of_the_threads_cuts_is_closed_and_cancelled() -> None:
    async def scenario() -> None:
        async with running() as threads:
            gate, is_closed = threading.Event(), threading.Event()
            told: list[str] = []

            def steps() -> Generator[str]:
                try:
                    yield from blocked(gate)
                    yield "never"
                finally:
                    is_closed.set()

            work = asyncio.create_task(threads.share().run(steps(), told.append))
            while threads.longest_step_s() == 0:
                await asyncio.sleep(0)
            threads.stop()
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert is_closed.is_set()
            assert told == ["blocked"]

    asyncio.run(scenario())


def test_an_error_of_work_that_is_closed_is_not_lost() -> None:
    def steps(gate: threading.Event) -> Generator[str]:
        try:
            yield from blocked(gate)
            yield "never"
        finally:
            raise ValueError("cannot be closed")

    async def scenario() -> None:
        async with running() as threads:
            gate = threading.Event()
            work = asyncio.create_task(threads.share().run(steps(gate), nothing))
            while threads.longest_step_s() == 0:
                await asyncio.sleep(0)
            threads.stop()
            gate.set()
            with pytest.raises(ValueError, match="cannot be closed"):
                await work

    asyncio.run(scenario())


def test_threads_that_have_stopped_take_no_work() -> None:
    async def scenario() -> None:
        async with running() as threads:
            threads.stop()
            with pytest.raises(asyncio.CancelledError):
                await threads.share().run(light("never"), nothing)

    asyncio.run(scenario())


def failing(name: str) -> Generator[str]:
    yield name
    raise ValueError(name)


@pytest.mark.parametrize("steps", [light("a"), failing("a")])
def test_a_turn_is_accounted_for_before_anybody_hears_of_its_end(
    steps: Generator[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the share's next job could begin with a clock that is behind."""
    seen: list[tuple[float, bool, bool]] = []

    async def scenario() -> None:
        async with running() as threads:
            share, post = threads.share(), threads._mailbox.put

            def put(function: Callable[[Any], None], argument: object) -> None:
                if getattr(function, "__name__", "") in ("end", "fail"):
                    seen.append((threads.longest_step_s(), share.cpu_s > 0, share.clock_s > 0))
                post(function, argument)

            monkeypatch.setattr(threads._mailbox, "put", put)
            with suppress(ValueError):
                await share.run(steps, nothing)

    asyncio.run(scenario())
    assert seen == [(0.0, True, True)]
