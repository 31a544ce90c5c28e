"""When messages came that wait to be taken."""

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Arrivals"]

TICK_S = 0.005
"""Messages that come within this time count as having come at once, so that many take little room."""


class Arrivals:
    """The times of messages in a store: noted as they are put in, and given back in the same order.

    Args:
        clock: the current time in seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._groups: deque[tuple[int, float]] = deque()  # how many messages came, and when

    def come(self) -> None:
        """A message is put in."""
        now_s = self._clock()
        if self._groups and now_s - self._groups[-1][1] < TICK_S:
            count, came_s = self._groups.pop()
            self._groups.append((count + 1, came_s))
        else:
            self._groups.append((1, now_s))

    def take(self) -> float:
        """The oldest message is taken out; returns when it came.

        Raises:
            IndexError: no message is left.
        """
        count, came_s = self._groups.popleft()
        if count > 1:
            self._groups.appendleft((count - 1, came_s))
        return came_s

    def put_back(self, came_s: float) -> None:
        """A message that was taken, and that came at this time, is put back in front."""
        self._groups.appendleft((1, came_s))
