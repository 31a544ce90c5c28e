"""When something has lasted too long, in an event loop in which time passes at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pykaldi_server.master.deadlines import Deadlines, Late
from pykaldi_server.master.options import MasterOptions

RunInFakeTime = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
OPTIONS = MasterOptions(idle_s=60, pause_s=300, worker_timeout_s=120)


class Watch:
    """The deadlines of a request, and what has been late at which time."""

    def __init__(self, session_s: float | None = None) -> None:
        self.late: list[tuple[float, Late]] = []
        self.deadlines = Deadlines(OPTIONS, session_s, self._note)
        self.deadlines.start()

    def _note(self, what: Late) -> None:
        self.late.append((asyncio.get_running_loop().time(), what))

    def audio(self, is_complete: bool = False) -> None:
        self.deadlines.client_spoke(has_audio=True, is_complete=is_complete)


@pytest.fixture
def run(run_in_fake_time: RunInFakeTime) -> RunInFakeTime:
    return run_in_fake_time


def test_no_audio_comes(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.deadlines.served()
        for _ in range(10):
            await asyncio.sleep(10)
            watch.deadlines.client_spoke(has_audio=False, is_complete=False)  # a keepalive is no audio
        assert watch.late[0] == (60.0, Late.NO_AUDIO)

    run(scenario)


def test_who_waits_in_line_with_audio_is_never_late(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch(session_s=10)
        watch.audio()
        await asyncio.sleep(3600)
        assert watch.late == []

    run(scenario)


def test_a_pause_counts_from_the_last_sign_of_either_side(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.deadlines.served()
        watch.audio()
        await asyncio.sleep(200)
        watch.deadlines.client_spoke(has_audio=True, is_complete=False)  # also by a keepalive
        await asyncio.sleep(200)
        watch.deadlines.worker_spoke()
        await asyncio.sleep(1000)
        assert watch.late == [(700.0, Late.PAUSE)]

    run(scenario)


def test_a_pause_that_does_not_matter_is_looked_at_again(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.deadlines.served()
        watch.audio()
        await asyncio.sleep(300.5)
        watch.deadlines.allow_pause()
        await asyncio.sleep(100)
        assert watch.late == [(300.0, Late.PAUSE), (301.5, Late.PAUSE)]

    run(scenario)


def test_after_the_end_of_the_audio_there_is_no_pause(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.deadlines.served()
        watch.audio(is_complete=True)
        await asyncio.sleep(3600)
        assert watch.late == []

    run(scenario)


def test_a_worker_that_has_work_and_says_nothing(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.deadlines.served()
        watch.audio()
        watch.deadlines.worker_owes(True)
        await asyncio.sleep(100)
        watch.audio()  # however much more comes from the client
        watch.deadlines.worker_spoke()
        await asyncio.sleep(100)
        watch.audio()
        watch.deadlines.worker_owes(False)
        await asyncio.sleep(250)
        assert watch.late == []
        watch.deadlines.worker_owes(True)  # the time begins with the work
        await asyncio.sleep(1000)
        assert watch.late == [(570.0, Late.WORKER_HANGS)]

    run(scenario)


def test_the_time_is_up(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch(session_s=1000)
        await asyncio.sleep(50)
        watch.deadlines.served()
        watch.audio(is_complete=True)
        await asyncio.sleep(2000)
        assert watch.late == [(1050.0, Late.TIME_IS_UP)]

    run(scenario)


def test_another_worker_brings_no_new_time(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch(session_s=1000)
        watch.deadlines.served()
        watch.audio()
        watch.deadlines.worker_owes(True)
        await asyncio.sleep(100)
        watch.deadlines.unserved()
        await asyncio.sleep(800)
        assert watch.late == []  # nobody can be late while there is no worker
        watch.deadlines.served()
        watch.audio(is_complete=True)
        await asyncio.sleep(500)
        assert watch.late == [(1000.0, Late.TIME_IS_UP)]

    run(scenario)


def test_at_the_end_only_the_worker_can_be_late(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch(session_s=1000)
        watch.deadlines.served()
        watch.audio()
        await asyncio.sleep(990)
        watch.late.clear()
        watch.deadlines.ending()
        await asyncio.sleep(1000)
        assert watch.late == [(1110.0, Late.WORKER_HANGS)]

    run(scenario)


def test_a_watch_that_has_ended_says_nothing(run: RunInFakeTime) -> None:
    async def scenario() -> None:
        watch = Watch()
        await asyncio.sleep(10)
        watch.deadlines.stop()
        watch.deadlines.stop()
        watch.deadlines.client_spoke(has_audio=False, is_complete=False)
        await asyncio.sleep(1000)
        assert watch.late == []

    run(scenario)
