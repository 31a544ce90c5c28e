"""A long-running process as its surroundings see it: signals, and what systemd is told of its state.

* SIGTERM or SIGINT: stop when running requests have ended. A second one: stop at once.
* SIGHUP: read settings again. Where it means that the terminal has been closed, it is like SIGTERM, except
  under `nohup`.
* systemd (``Type=notify``) hears when the process is ready, reloads and stops, and, where the unit has a
  watchdog, that it is alive. Elsewhere, without ``NOTIFY_SOCKET``, nobody is told.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Self

from pykaldi_server.errors import PykaldiServerError

__all__ = ["Service", "ServiceManager"]

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TERMINAL_S = 5.0
"""How often it is looked whether the terminal is still there."""


class ServiceManager:
    """systemd's end of the line, see sd_notify(3).

    Args:
        environment: where the variables of systemd are looked for. They are removed: they are not meant for
            the children of this process.

    Attributes:
        watchdog_s: a process that has said nothing for this long counts as hung; None if nobody watches.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        watchdog_us = environment.pop("WATCHDOG_USEC", "")
        is_for_us = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(watchdog_us) / 1e6 if watchdog_us.isdigit() and is_for_us else None

    def tell(self, *assignments: str) -> None:
        """Sends assignments such as ``READY=1`` in one message; nothing comes back."""
        if not self._address:
            return
        # "@" stands for the zero byte of an address that is not in the file system.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.sendto("\n".join(assignments).encode(), address)
        except OSError as error:
            logger.warning("NOTIFY_SOCKET %s: %s", self._address, error.strerror)


class Service:
    """Listens to signals and reports to systemd, in the running asyncio loop, as a context manager.

    Args:
        reload: reads the settings again; it is not called before `ready`, and never twice at a time. What it
            raises is logged, and the process goes on as it was.
        is_well: whether the process works, which a watchdog asks from time to time.

    Attributes:
        stopping: set when the process is to end after its running requests.
        hurrying: set when it is to end at once.
    """

    def __init__(
        self, reload: Callable[[], Awaitable[None]], is_well: Callable[[], bool] = lambda: True
    ) -> None:
        self.stopping = asyncio.Event()
        self.hurrying = asyncio.Event()
        self._reload = reload
        self._is_well = is_well
        self._manager = ServiceManager()
        self._had_terminal = _has_terminal()
        self._is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._hung_up = asyncio.Event()
        self._is_ready = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._had_terminal:
            self._tasks.append(asyncio.create_task(self._watch_terminal()))
        if self._manager.watchdog_s is not None:
            self._tasks.append(asyncio.create_task(self._feed_watchdog(self._manager.watchdog_s / 2)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Ends a reload that is under way. Signals are still caught, so that they do not kill the process."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    def ready(self) -> None:
        """The process does what it is there for; from now on it can reload. May be called again."""
        if self._is_ready:
            return
        self._is_ready = True
        self._manager.tell("READY=1")
        self._tasks.append(asyncio.create_task(self._reload_when_told()))

    def stop(self) -> None:
        """Does what SIGTERM does."""
        if self.stopping.is_set():
            self.hurrying.set()
        self.stopping.set()
        self._manager.tell("STOPPING=1")

    def _hang_up(self) -> None:
        if self._had_terminal and not self._is_nohup and not _has_terminal():
            logger.info("the terminal has been closed")
            self.stop()
        else:
            self._hung_up.set()

    async def _watch_terminal(self) -> None:
        """Notes that the terminal has been closed without a signal to this process, which has been disowned.

        A signal that comes with it comes at once; one that comes later is meant.
        """
        num_misses = 0
        while num_misses < 2:
            await asyncio.sleep(TERMINAL_S)
            num_misses = 0 if _has_terminal() else num_misses + 1
        self._had_terminal = False

    async def _reload_when_told(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            if self.stopping.is_set():
                return
            self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            logger.info("reading the settings again")
            try:
                await self._reload()
            except (PykaldiServerError, OSError) as error:
                logger.error("the settings stay as they were: %s", error)
            except Exception:  # a server does not end because of a new setting
                logger.exception("the settings stay as they were")
            self._manager.tell("READY=1")

    async def _feed_watchdog(self, interval_s: float) -> None:
        while True:
            if self._is_well():
                self._manager.tell("WATCHDOG=1")
            await asyncio.sleep(interval_s)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal that somebody has not closed yet."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
