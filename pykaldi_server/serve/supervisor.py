"""Keeps worker processes running: starts them, restarts dead ones, kills hung ones, leaves none behind.

Each worker process has a socket to its supervisor, on which it says `alive` every second. Silence means that
it hangs. The other way round nothing is ever sent: the end of the line tells a worker that its supervisor is
dead.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.supervision import EXIT_MODEL, NAMED, READY

__all__ = ["Supervisor", "WorkerCommand"]

logger = logging.getLogger(__name__)

STARTUP_S = 120.0  # an interpreter on a cold disk may take long to say anything at all
SILENCE_S = 20.0
MOST_FAILED_STARTS = 3  # of a process that never came up
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
STABLE_S = 60.0
PATIENCE_S = 5.0
# One thread a product: sessions are what runs in parallel.
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How a worker process is started.

    Attributes:
        model: a model directory or a configuration file.
        name: what clients call the model; empty: what it is called by itself.
        url: the master's address for workers.
        sessions: requests that the process serves at once.
        extra: further arguments of the `worker` command.
    """

    model: str
    url: str
    sessions: int
    name: str = ""
    extra: tuple[str, ...] = ()

    def arguments(self, supervisor_fd: int) -> list[str]:
        """The command line."""
        worker = ["worker", "--url", self.url, "--conf", self.model, "--sessions", str(self.sessions)]
        if self.name:
            worker += ["--name", self.name]
        command = [sys.executable, "-m", "pykaldi_server", *worker, *self.extra]
        return [*command, "--supervisor-fd", str(supervisor_fd)]


class Supervisor:
    """Runs one process for each command, in the running asyncio loop.

    Args:
        commands: what to run.
        on_ready: called with a command and the model's name whenever a process has loaded its model.
        on_named: called in the same way before the model is loaded. A `ConfigError` that it raises ends all.
        silence_s: a process that has said nothing for this long hangs.
        patience_s: how long a process may take to end when it is asked to.
    """

    def __init__(
        self,
        commands: Sequence[WorkerCommand],
        on_ready: Callable[[WorkerCommand, str], None],
        on_named: Callable[[WorkerCommand, str], None] = lambda command, model: None,
        silence_s: float = SILENCE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._commands = commands
        self._on_ready = on_ready
        self._on_named = on_named
        self._silence_s = silence_s
        self._patience_s = patience_s
        self._ending: set[Process] = set()
        self._has_loaded: set[WorkerCommand] = set()

    async def run(self) -> None:
        """Keeps the processes running until it is cancelled, and ends them then.

        Raises:
            ConfigError: a model cannot be loaded the first time; all processes have been ended.
        """
        try:
            async with asyncio.TaskGroup() as keepers:
                for command in self._commands:
                    keepers.create_task(self._keep_running(command))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    def hurry(self) -> None:
        """Asks processes that are ending a second time: they cut off the requests that are still running."""
        for process in self._ending:
            _signal(process, signal.SIGTERM)

    async def _keep_running(self, command: WorkerCommand) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        failed_starts = 0
        while True:
            start_s = loop.time()
            code = await self._run_once(command)
            failed_starts += 1
            if command not in self._has_loaded and (
                code == EXIT_MODEL or failed_starts == MOST_FAILED_STARTS
            ):
                raise ConfigError(f"{command.model}: the worker cannot load it; its log says why")
            if loop.time() - start_s > STABLE_S:
                pause_s = FIRST_PAUSE_S
            logger.error("worker for %s ended with code %s; next start in %g s", command.model, code, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _run_once(self, command: WorkerCommand) -> int | None:
        """Starts a process and watches it to its end; returns its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await create_subprocess_exec(
                *command.arguments(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                # A group of its own: Ctrl+C goes to the supervisor, which then lets its workers finish.
                start_new_session=True,
                env={**os.environ, **SINGLE_THREADED},
            )
        logger.info("worker process %d started for %s", process.pid, command.model)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            await self._listen(reader, command)
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()  # it is about to end by itself, with an exit code that means something
        except TimeoutError:
            logger.error("worker process %d hangs: killed", process.pid)
            _signal(process, signal.SIGKILL)
        finally:
            await self._end(process)
            writer.close()
        return process.returncode

    async def _listen(self, reader: asyncio.StreamReader, command: WorkerCommand) -> None:
        """Returns when the process has closed its end; raises TimeoutError when it says nothing any more."""
        patience_s = STARTUP_S
        while True:
            async with asyncio.timeout(patience_s):
                line = await reader.readline()
            patience_s = self._silence_s
            if not line:
                return
            word, _, model = line.strip().partition(b" ")
            if word == NAMED:
                self._on_named(command, model.decode())
            if word == READY:
                self._has_loaded.add(command)
                self._on_ready(command, model.decode())

    async def _end(self, process: Process) -> None:
        """Asks a process to end, and kills it if it takes too long."""
        self._ending.add(process)
        try:
            _signal(process, signal.SIGTERM)
            async with asyncio.timeout(self._patience_s):
                await process.wait()
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()
        finally:
            self._ending.discard(process)


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
