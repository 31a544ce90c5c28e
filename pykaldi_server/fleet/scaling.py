"""How many workers there should be, from how many slots are busy and how many requests wait.

    needed = ceil((busy + waiting) / (slots of a worker * busy share)),  within min_workers and max_workers

More workers are started as soon as they are needed. Some are ended only when the largest number that was
needed within the last `scale_down_s` is smaller than the number there is: calls come and go, and a worker
that is ended loads its model again a minute later. While a master does not say what it needs, none is ended.
"""

import math
from collections import deque
from dataclasses import dataclass

from pykaldi_server.fleet.options import FleetOptions

__all__ = ["Load", "Scaling"]

ROUNDING = 1e-9
"""What is above a whole number by less is that number: 7 / (10 * 0.7) is."""


@dataclass(frozen=True, slots=True)
class Load:
    """What there is to do for the workers of a model, summed over their masters.

    Attributes:
        busy: number of requests that are being served.
        waiting: number of requests that wait for a worker.
        is_complete: whether all masters have said so.
    """

    busy: int
    waiting: int
    is_complete: bool = True


class Scaling:
    """Decides, again and again, how many workers there should be.

    Args:
        options: bounds and pace; may be exchanged.
        sessions: slots of a worker.

    Attributes:
        options: see above.
        sessions: see above.
    """

    def __init__(self, options: FleetOptions, sessions: int) -> None:
        self.options = options
        self.sessions = sessions
        self._needed: deque[tuple[float, int]] = deque()  # when, and how many; the largest first

    def wanted(self, load: Load, current: int, now_s: float) -> int:
        """How many workers there should be from now on.

        Args:
            load: what there is to do.
            current: number of workers, those that are starting included, those that end are not.
            now_s: the time in seconds; it never goes back.
        """
        needed = self._within_bounds(load)
        if not load.is_complete:
            needed = max(needed, current)
        # Only what nothing later exceeds can be the largest of any time from now on.
        while self._needed and self._needed[-1][1] <= needed:
            self._needed.pop()
        self._needed.append((now_s, needed))
        while self._needed[0][0] < now_s - self.options.scale_down_s:
            self._needed.popleft()
        lately = self._needed[0][1]
        return self._clamped(max(needed, min(current, lately)))

    def _within_bounds(self, load: Load) -> int:
        per_worker = self.sessions * self.options.busy_share
        return self._clamped(math.ceil((load.busy + load.waiting) / per_worker - ROUNDING))

    def _clamped(self, number: int) -> int:
        return min(max(number, self.options.min_workers), self.options.max_workers)
