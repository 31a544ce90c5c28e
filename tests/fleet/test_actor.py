"""An actor's worker process: real processes that follow a script, without Ray."""

import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from harness import Harness, until
from local_cluster import assignment_of, is_over, serves
from scripted_worker import SERVE

from pykaldi_server.fleet.actor import WorkerActor

READY = "say('named m', 'ready m', 'serving')\n"


def with_actor(
    harness: Harness, script: str, use: Callable[[WorkerActor], Coroutine[Any, Any, None]]
) -> None:
    async def scenario() -> None:
        actor = WorkerActor(assignment_of(script))
        try:
            await use(actor)
        finally:
            actor.stop()
            await is_over(actor)

    harness.run(scenario)


def noting_pids(directory: Path) -> str:
    """A process that notes its number in a file, and serves."""
    return f"open({str(directory / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')\n{SERVE}"


def test_a_process_that_dies_is_started_again(harness: Harness, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def use(actor: WorkerActor) -> None:
        await serves(actor)
        os.kill(int(pids.read_text()), signal.SIGKILL)
        await until(lambda: len(pids.read_text().splitlines()) == 2)
        assert not actor.state().is_over

    with_actor(harness, noting_pids(tmp_path), use)


def test_a_process_that_retires_takes_its_time(harness: Harness, tmp_path: Path) -> None:
    done = tmp_path / "done"
    script = (
        f"{READY}assert line.recv(100) == b'retire\\n'\n"
        f"while not os.path.exists({str(done)!r}):\n    say('alive')\n    time.sleep(0.1)\n"
    )

    async def use(actor: WorkerActor) -> None:
        await serves(actor)
        actor.retire()
        actor.retire()
        assert actor.state().is_retiring
        assert not actor.state().is_over
        done.touch()
        await is_over(actor)
        assert actor.state().error == ""

    with_actor(harness, script, use)


def test_retiring_before_the_process_has_started(harness: Harness) -> None:
    async def use(actor: WorkerActor) -> None:
        actor.retire()
        await is_over(actor)

    with_actor(harness, f"{READY}line.recv(100)\n", use)


def test_stopping_twice_cuts_off_what_still_runs(harness: Harness, tmp_path: Path) -> None:
    """As Ctrl-C twice: the first signal begins the end, the second one brings it."""
    begun = tmp_path / "begun"
    script = (
        "import signal\n"
        f"signals = iter([lambda: open({str(begun)!r}, 'w').close(), lambda: os._exit(0)])\n"
        f"signal.signal(signal.SIGTERM, lambda *_: next(signals)())\n{SERVE}"
    )

    async def use(actor: WorkerActor) -> None:
        await serves(actor)
        actor.stop()
        await until(begun.exists)
        actor.stop()
        await is_over(actor)

    with_actor(harness, script, use)


def test_other_settings_replace_the_process(harness: Harness) -> None:
    async def use(actor: WorkerActor) -> None:
        await serves(actor)
        actor.reload(assignment_of(SERVE.replace("ready m", "ready n"), revision=1))
        await serves(actor, "n")
        actor.reload(assignment_of(revision=1))  # known already
        assert actor.state().revision == 1

    with_actor(harness, SERVE, use)


def test_a_model_that_cannot_be_loaded(harness: Harness) -> None:
    async def use(actor: WorkerActor) -> None:
        await is_over(actor)
        assert "the worker cannot load it" in actor.state().error

    with_actor(harness, f"sys.exit({os.EX_CONFIG})\n", use)
