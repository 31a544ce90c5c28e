"""The supervisor and processes that follow a script in place of workers."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import children
from scripted_worker import SERVE, scripted

from pykaldi_server.errors import ConfigError
from pykaldi_server.serve import supervisor as supervisor_module
from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand

MOST_STEPS_OF_START = 12
"""After this many turns of the event loop a process has been started, and is being listened to."""


async def with_supervisor(
    commands: list[WorkerCommand], use: Callable[[Supervisor, "asyncio.Queue[str]"], Any], **options: Any
) -> None:
    ready: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(commands, lambda command, _: ready.put_nowait(command.model), **options)
    running = asyncio.create_task(supervisor.run())
    try:
        await use(supervisor, ready)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_no_process_is_left_behind_however_early_the_end_comes(harness: Any) -> None:
    async def scenario() -> None:
        before = children(os.getpid())
        for num_steps in range(MOST_STEPS_OF_START):
            running = asyncio.create_task(Supervisor([scripted(SERVE)], lambda *_: None).run())
            for _ in range(num_steps):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert children(os.getpid()) == before

    harness.run(scenario)


def test_a_process_that_dies_without_having_read_what_it_was_told(harness: Any, tmp_path: Path) -> None:
    """The kernel then breaks the line off, which must not be the end of the supervisor."""
    first = tmp_path / "first"
    script = (
        f"first = not os.path.exists({str(first)!r})\nopen({str(first)!r}, 'a').close()\n"
        "say('named m', 'ready m', 'serving')\n"
        "if not first: stay()\n"
        "say('recycle')\n"
        "line.recv(1, socket.MSG_PEEK)\n"
        "os._exit(1)\n"
    )

    async def use(supervisor: Supervisor, ready: "asyncio.Queue[str]") -> None:
        for _ in range(2):
            await ready.get()
        await asyncio.sleep(0)
        assert await supervisor.reload([scripted(SERVE)])

    harness.run(lambda: with_supervisor([scripted(script)], use))


def test_replacement_is_tried_again_when_the_successor_does_not_come_up(
    harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that has done enough serves on in the meantime."""
    monkeypatch.setattr(supervisor_module, "LAST_PAUSE_S", 0.01)
    count = tmp_path / "count"
    count.write_text("")
    script = (
        f"with open({str(count)!r}, 'a') as file: file.write('x')\n"
        f"number = os.path.getsize({str(count)!r})\n"
        "if number in (2, 3): sys.exit(1)\n"
        "say('named m', 'ready m', 'serving')\n"
        "if number == 1: say('recycle')\n"
        "line.settimeout(0.05)\n"
        "while True:\n"
        "    say('alive')\n"
        "    try:\n"
        "        if line.recv(100) in (b'retire\\n', b''): break\n"
        "    except TimeoutError: pass\n"
        f"with open({str(count)!r}, 'a') as file: file.write('r')\n"
    )

    async def use(supervisor: Supervisor, ready: "asyncio.Queue[str]") -> None:
        for _ in range(2):
            await ready.get()
        assert count.read_text() in ("xxxx", "xxxxr")  # the first is told to retire last of all

    harness.run(lambda: with_supervisor([scripted(script)], use))
    assert sum("the new worker process does not serve" in each for each in caplog.messages) == 2


def test_a_name_that_another_model_has_stops_only_the_successor_that_wants_it(harness: Any) -> None:
    def refuse_other(command: WorkerCommand, model: str) -> None:
        if model == "other":
            raise ConfigError("models: expected different names, found 'other'")

    async def use(supervisor: Supervisor, ready: "asyncio.Queue[str]") -> None:
        await ready.get()
        other = scripted("say('named other')\nstay()\n")
        assert not await supervisor.reload([scripted(SERVE), other])

    harness.run(lambda: with_supervisor([scripted(SERVE)], use, on_named=refuse_other))


def test_how_a_process_has_ended_is_said_in_words(harness: Any, caplog: pytest.LogCaptureFixture) -> None:
    script = "say('ready m', 'serving')\nos.kill(os.getpid(), 7)\n"

    async def use(supervisor: Supervisor, ready: "asyncio.Queue[str]") -> None:
        for _ in range(2):
            await ready.get()

    harness.run(lambda: with_supervisor([scripted(script)], use))
    assert "was killed by SIGBUS; next start in 0.5 s" in caplog.text
