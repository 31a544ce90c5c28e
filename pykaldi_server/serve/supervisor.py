"""Keeps worker processes running: starts them, restarts dead ones, kills hung ones, leaves none behind.

Each worker process has a socket to its supervisor, on which it says `alive` every second. Silence means that
it hangs. The end of the line tells a worker that its supervisor is dead.

A process is replaced without a gap, when settings have changed or when it has done enough: its successor
starts, and only when that is connected to the master is the old one told to end after its requests. A
successor that cannot load its model changes nothing. Successors start one after the other, so that no more
than one model is in memory twice.
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
from dataclasses import dataclass, field

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.credentials import TOKEN_VARIABLE
from pykaldi_server.protocols.supervision import EXIT_MODEL, NAMED, READY, RECYCLE, RETIRE, SERVING

__all__ = ["Supervisor", "WorkerCommand"]

logger = logging.getLogger(__name__)

STARTUP_S = 120.0  # an interpreter on a cold disk may take long to say anything at all
SILENCE_S = 20.0
MOST_FAILED_STARTS = 3  # of a process that never came up
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
STABLE_S = 60.0
PATIENCE_S = 5.0
HANDOVER_S = 10.0
"""How long a successor that has loaded its model may take to reach the master, which may be away."""
# One thread a product: sessions are what runs in parallel.
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How a worker process is started.

    Attributes:
        model: a model directory or a configuration file.
        name: what clients call the model; empty: what it is called by itself.
        urls: addresses for workers, of all masters.
        sessions: requests that the process serves at once.
        extra: further arguments of the `worker` command.
        token: what it shows to the master; it goes by the environment, which others cannot see.
    """

    model: str
    urls: tuple[str, ...]
    sessions: int
    name: str = ""
    extra: tuple[str, ...] = ()
    token: str = field(default="", repr=False)

    def arguments(self, supervisor_fd: int) -> list[str]:
        """The command line."""
        worker = ["worker", *(f"--url={url}" for url in self.urls), "--conf", self.model]
        worker += ["--sessions", str(self.sessions)]
        if self.name:
            worker += ["--name", self.name]
        command = [sys.executable, "-m", "pykaldi_server", *worker, *self.extra]
        return [*command, "--supervisor-fd", str(supervisor_fd)]

    def environment(self) -> dict[str, str]:
        """Variables that are set in addition to those of this process."""
        return {**SINGLE_THREADED, **({TOKEN_VARIABLE: self.token} if self.token else {})}


@dataclass(slots=True, eq=False)
class _Place:
    """One process that is to run, and the next one when it has ended.

    Attributes:
        command: how it is started.
        process: the last one that was started.
        line: to that process.
        is_successor: another process serves until this one does.
        serves: whether the first process came to serve, once that is known.
        retired: set when the process has been told to end, and no other shall follow.
    """

    command: WorkerCommand
    is_successor: bool
    process: Process | None = None
    line: asyncio.StreamWriter | None = None
    serves: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    retired: asyncio.Event = field(default_factory=asyncio.Event)

    def decide(self, serves: bool) -> None:
        """Notes whether the first process came to serve; only the first time counts."""
        if not self.serves.done():
            self.serves.set_result(serves)
            self.is_successor = self.is_successor and not serves

    def retire(self) -> None:
        """Lets the process end after its requests, however long these take."""
        self.retired.set()
        if self.process is not None and self.line is not None and not self.line.is_closing():
            logger.info("worker process %d ends after its requests", self.process.pid)
            self.line.write(RETIRE + b"\n")


class Supervisor:
    """Runs one process for each command, in the running asyncio loop.

    Args:
        commands: what to run.
        on_ready: called with a command and the model's name whenever a process has loaded its model.
        on_named: called in the same way before the model is loaded. A `ConfigError` that it raises ends all
            while they start, and later on only that process.
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
        self._keepers = asyncio.TaskGroup()
        self._places: list[_Place] = []
        self._changing = asyncio.Lock()  # held while processes are being replaced
        self._ending: set[Process] = set()
        self._has_loaded: set[WorkerCommand] = set()

    async def run(self) -> None:
        """Keeps the processes running until it is cancelled, and ends them then.

        Raises:
            ConfigError: a model cannot be loaded the first time; all processes have been ended.
        """
        try:
            async with self._keepers:
                for command in self._commands:
                    self._add(_Place(command, is_successor=False))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def reload(self, commands: Sequence[WorkerCommand]) -> bool:
        """Replaces all processes by new ones, of these commands; to be called while `run` runs.

        Returns:
            Whether all new processes serve. Where one does not, the log says so, its predecessor stays, and
            so do processes that none of the commands replaces.
        """
        async with self._changing:
            left = list(self._places)
            pairs = [(command, _take_predecessor(left, command)) for command in commands]
            results = [await self._replace(old, command) for command, old in pairs]
            if all(results):
                for place in left:
                    self._remove(place)
            return all(results)

    def hurry(self) -> None:
        """Asks processes that are ending a second time: they cut off the requests that are still running."""
        for process in self._ending:
            _signal(process, signal.SIGTERM)

    def _add(self, place: _Place) -> None:
        self._places.append(place)
        self._keepers.create_task(self._keep_running(place))

    def _remove(self, place: _Place) -> None:
        if place in self._places:
            self._places.remove(place)
        place.retire()

    async def _replace(self, old: _Place | None, command: WorkerCommand) -> bool:
        """Starts a process, and ends the old one when the new one serves; returns whether it does."""
        new = _Place(command, is_successor=True)
        self._add(new)
        if await new.serves:
            if old is not None:
                self._remove(old)
            return True
        self._remove(new)
        logger.error("%s: the new worker process does not serve; its log says why", command.model)
        return False

    async def _recycle(self, place: _Place) -> None:
        """Replaces a process that has done enough; if that fails, it goes on, and another attempt follows."""
        while not place.retired.is_set():
            async with self._changing:
                if place.retired.is_set() or await self._replace(place, place.command):
                    return
            await asyncio.sleep(LAST_PAUSE_S)

    async def _keep_running(self, place: _Place) -> None:
        loop = asyncio.get_running_loop()
        command = place.command
        pause_s = FIRST_PAUSE_S
        failed_starts = 0
        while True:
            start_s = loop.time()
            code = await self._run_once(place)
            place.decide(False)
            if place.retired.is_set() or place.is_successor:
                return
            failed_starts += 1
            if command not in self._has_loaded and (
                code == EXIT_MODEL or failed_starts == MOST_FAILED_STARTS
            ):
                raise ConfigError(f"{command.model}: the worker cannot load it; its log says why")
            if loop.time() - start_s > STABLE_S:
                pause_s = FIRST_PAUSE_S
            logger.error("worker for %s %s; next start in %g s", command.model, _end_text(code), pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(place.retired.wait(), pause_s)
                return
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _run_once(self, place: _Place) -> int | None:
        """Starts a process and watches it to its end; returns its exit code."""
        command = place.command
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = await self._start(command, theirs.fileno())
            except BaseException:
                writer.close()
                raise
        logger.info("worker process %d started for %s", process.pid, command.model)
        place.process, place.line = process, writer
        if place.retired.is_set():
            place.retire()
        try:
            await self._listen(reader, place)
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()  # it is about to end by itself, with an exit code that means something
        except TimeoutError:
            logger.error("worker process %d hangs: killed", process.pid)
            _signal(process, signal.SIGKILL)
        finally:
            await self._end(process)
            writer.close()
        return process.returncode

    async def _start(self, command: WorkerCommand, supervisor_fd: int) -> Process:
        """Starts a process, and ends it if this is cancelled meanwhile: asyncio would leave it behind."""
        starting = asyncio.ensure_future(
            create_subprocess_exec(
                *command.arguments(supervisor_fd),
                pass_fds=[supervisor_fd],
                stdin=asyncio.subprocess.DEVNULL,
                # A group of its own: Ctrl+C goes to the supervisor, which then lets its workers finish.
                start_new_session=True,
                env={**os.environ, **command.environment()},
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait((starting,))
            if starting.exception() is None:
                await self._end(starting.result())
            raise

    async def _listen(self, reader: asyncio.StreamReader, place: _Place) -> None:
        """Returns when the process has closed its end; raises TimeoutError when it says nothing any more."""
        patience_s = STARTUP_S
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    line = await reader.readline()
            except ConnectionError:  # it has died without having read what it was told
                return
            patience_s = self._silence_s
            if not line:
                return
            word, _, model = line.strip().partition(b" ")
            if word == NAMED:
                self._take_name(place, model.decode())
            if word == READY:
                self._has_loaded.add(place.command)
                self._on_ready(place.command, model.decode())
                asyncio.get_running_loop().call_later(HANDOVER_S, place.decide, True)
            if word == SERVING:
                place.decide(True)
            if word == RECYCLE:
                self._keepers.create_task(self._recycle(place))

    def _take_name(self, place: _Place, model: str) -> None:
        """Reports a model's name; a process that may not have it ends."""
        try:
            self._on_named(place.command, model)
        except ConfigError as error:
            if not place.is_successor and place.command not in self._has_loaded:
                raise
            logger.error("%s", error)
            if place.process is not None:
                _signal(place.process, signal.SIGTERM)

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


def _take_predecessor(places: list[_Place], command: WorkerCommand) -> _Place | None:
    """Removes from the places the one whose model the command serves, and returns it, if there is one."""
    for is_same in (
        lambda each: (each.name, each.model) == (command.name, command.model),
        lambda each: each.name == command.name != "",
    ):
        for place in places:
            if is_same(place.command):
                places.remove(place)
                return place
    return None


def _end_text(code: int | None) -> str:
    """How a process has ended, in words."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
