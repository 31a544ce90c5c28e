"""When a request has lasted too long: no audio comes, the client pauses, the worker hangs, the time is up.

    start            --no audio for idle_s-->              NO_AUDIO
    audio            --nothing from anybody for pause_s--> PAUSE, while a worker serves it
    worker has work  --it says nothing for worker_timeout_s--> WORKER_HANGS
    worker found     --session_s-->                        TIME_IS_UP

One timer is set for what is due first. What happens in between only notes the time, so that a message costs
no timer.
"""

import asyncio
import math
from collections.abc import Callable
from enum import Enum

from pykaldi_server.master.options import MasterOptions

__all__ = ["Deadlines", "Late"]


PAUSE_AGAIN_S = 1.0
"""How soon a pause that did not matter is looked at again."""


class Late(Enum):
    """What has lasted too long."""

    NO_AUDIO = "no audio"
    PAUSE = "pause"
    WORKER_HANGS = "worker hangs"
    TIME_IS_UP = "time is up"


class Deadlines:
    """Watches one request, from `start` until `stop`.

    Args:
        options: settings.
        session_s: for how long the request may be served; None is without limit.
        late: called when something has lasted too long.
    """

    def __init__(self, options: MasterOptions, session_s: float | None, late: Callable[[Late], None]) -> None:
        self._options = options
        self._session_s = math.inf if session_s is None else session_s
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf  # when it goes off
        self._is_watching = False
        self._began_s = self._active_s = self._worker_s = self._loop.time()
        self._pause_s = 0.0  # a pause before this time does not matter
        self._first_served_s = math.inf
        self._is_served = False
        self._has_audio = False
        self._is_complete = False
        self._worker_owes = False
        self._is_ending = False

    def start(self) -> None:
        """The request begins."""
        self._is_watching = True
        self._began_s = self._active_s = self._loop.time()
        self._set_timer()

    def stop(self) -> None:
        """Ends the watch. May be called again."""
        self._is_watching = False
        if self._timer is not None:
            self._timer.cancel()

    def client_spoke(self, *, has_audio: bool, is_complete: bool) -> None:
        """The client has sent something.

        Args:
            has_audio: audio has come, or it has been said that there is none.
            is_complete: the client has sent everything.
        """
        self._active_s = self._loop.time()
        if (has_audio, is_complete) != (self._has_audio, self._is_complete):
            self._has_audio, self._is_complete = has_audio, is_complete
            self._set_timer()

    def served(self) -> None:
        """A worker has begun; of several, the time of the first counts for the length of the request."""
        self._is_served = True
        self._active_s = self._worker_s = self._loop.time()
        self._first_served_s = min(self._first_served_s, self._active_s)
        self._set_timer()

    def unserved(self) -> None:
        """The worker has left; another one is looked for."""
        self._is_served = self._worker_owes = False

    def worker_spoke(self) -> None:
        """The worker has sent something."""
        self._active_s = self._worker_s = self._loop.time()

    def worker_owes(self, owes: bool) -> None:
        """Whether the worker has to say something by itself because of what it has been sent."""
        if owes == self._worker_owes:
            return
        self._worker_owes = owes
        if owes:
            self._worker_s = self._loop.time()
            self._look_at(self._worker_s + self._options.worker_timeout_s)
        elif self._is_served:
            self._look_at(max(self._active_s + self._options.pause_s, self._pause_s))

    def allow_pause(self) -> None:
        """A pause does not matter now; it is looked at again after a moment."""
        self._pause_s = self._loop.time() + PAUSE_AGAIN_S
        self._set_timer()

    def ending(self) -> None:
        """The worker has everything that it will get: from now on only that it hangs is of interest."""
        self._is_ending = True
        self.worker_owes(True)
        self._set_timer()

    def _due(self) -> tuple[float, Late]:
        """What will be late first, and when."""
        options = self._options
        due: list[tuple[float, Late]] = [(math.inf, Late.NO_AUDIO)]
        if self._is_served and self._worker_owes:
            due.append((self._worker_s + options.worker_timeout_s, Late.WORKER_HANGS))
        if not self._is_ending:
            due.append((self._first_served_s + self._session_s, Late.TIME_IS_UP))
            if not self._has_audio:
                due.append((self._began_s + options.idle_s, Late.NO_AUDIO))
            elif self._is_served and not self._is_complete and not self._worker_owes:
                due.append((max(self._active_s + options.pause_s, self._pause_s), Late.PAUSE))
        return min(due, key=lambda each: each[0])

    def _set_timer(self) -> None:
        """Sets the timer for what is due first."""
        due_s, _ = self._due()
        self._look_at(due_s)

    def _look_at(self, due_s: float) -> None:
        """Sets the timer, unless it goes off early enough to look again."""
        if due_s >= self._timer_s or not self._is_watching:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due_s, self._look)
        self._timer_s = due_s

    def _look(self) -> None:
        self._timer, self._timer_s = None, math.inf
        due_s, what = self._due()
        if due_s <= self._loop.time():
            self._late(what)
        else:
            self._set_timer()
