"""A worker gives free memory back, and asks to be replaced when there is none."""

import asyncio

import pytest
from harness import Harness
from live_worker import running_worker

from pykaldi_server.kaldi.decoder import free_idle_workspaces
from pykaldi_server.protocols.supervision import EXIT_RECYCLE
from pykaldi_server.session import Model
from pykaldi_server.sockets import QuickConnection, QuickProtocol
from pykaldi_server.worker import process as process_module
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.process import WorkerProcess


def test_memory_is_watched_although_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is when it matters: the process that has too much of it is still replaced."""
    calls: list[object] = []

    def refuse(function: object) -> None:
        calls.append(function)
        process._recycling.is_out_of_memory = True
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        async with asyncio.timeout(30):
            watching = asyncio.create_task(process.watch_memory())
            done, _ = await asyncio.wait(
                (watching, over := asyncio.create_task(process.is_over.wait())),
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert done == {over}
            watching.cancel()

    monkeypatch.setattr(process_module, "MEMORY_PERIOD_S", 0.0)
    monkeypatch.setattr(asyncio, "to_thread", refuse)
    options = WorkerOptions(url=("ws://master/worker/ws/speech",))
    process = WorkerProcess("a model", options, lambda: options, None)
    process.statistics.begin().audio_s = 1.0
    asyncio.run(scenario())
    assert calls == [process_module._return_memory]
    assert process.exit_code == EXIT_RECYCLE


def test_searches_keep_nothing_when_memory_is_given_back(digits: Model, audio: bytes) -> None:
    free_idle_workspaces()
    with digits.session() as session:
        events = session.accept(audio)
        assert free_idle_workspaces() > 0  # a session that waits for audio shares what its thread has
        events += session.accept(audio)
        process_module._return_memory()
        assert free_idle_workspaces() == 0
        events += session.finish()
    with digits.session() as session:
        assert events == [*session.accept(audio), *session.accept(audio), *session.finish()]


@pytest.mark.parametrize("closes_stream", [False, True])
@pytest.mark.parametrize("is_idle", [False, True])
def test_memory_that_runs_out_while_a_message_is_read(
    harness: Harness,
    digits: Model,
    audio: bytes,
    monkeypatch: pytest.MonkeyPatch,
    is_idle: bool,
    closes_stream: bool,
) -> None:
    """The process is to be replaced then, whether audio or a request was coming."""
    read = QuickProtocol._read_some
    is_short = False

    async def read_some(self: QuickProtocol, num_missing: int = 0) -> bytes:
        if is_short and isinstance(self.handler, QuickConnection):
            if not closes_stream:
                raise MemoryError
            self.stream.close(exc_info=MemoryError())  # as Tornado does when it reads in the event loop
        return await read(self, num_missing)

    async def scenario() -> None:
        nonlocal is_short
        ended: asyncio.Queue[bool] = asyncio.Queue()
        async with harness.master(queue_s=0) as master, running_worker(digits, master, sessions=1) as worker:
            worker.after_request = ended.put_nowait
            is_short = is_idle
            client = await harness.client(master)
            await client.send(audio[:24000])
            if not is_idle:
                await client.until(lambda each: "result" in each)
                is_short = True
                await client.send(audio[24000:])
            # A request that has not begun could go to another worker; here there is none.
            assert (await client.read_all())[-1]["status"] == (9 if is_idle else 2)
            assert await ended.get()

    monkeypatch.setattr(QuickProtocol, "_read_some", read_some)
    harness.run(scenario)
