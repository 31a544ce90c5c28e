"""When rows of a table that are too old are deleted.

Once per hour, by a clock that nobody sets. After a jump of the clock that rows are dated by, deleting is put
off for as long: a clock that is soon set right destroys nothing.
"""

import logging
import math
import time
from collections.abc import Callable

__all__ = ["Retention", "steady_s"]

logger = logging.getLogger(__name__)

DAY_S = 86_400.0
PERIOD_S = 3600.0
JUMP_S = 600.0
"""Clocks that are adjusted to others drift less than this within a period."""


# Clocks that go on while the machine sleeps: Linux has one for that, elsewhere (macOS) the usual one does.
STEADY_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Seconds since the machine has started, those that it has slept included."""
    return time.clock_gettime(STEADY_CLOCK)


class Retention:
    """Says when and before what time rows are to be deleted.

    Args:
        days: returns for how many days rows are kept; inf keeps them for ever.
        now: the current time in seconds since 1970, by a clock that may be set.
        steady: seconds since some time, by a clock that nobody sets and that runs while the machine sleeps.
    """

    def __init__(
        self,
        days: Callable[[], float],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_s,
    ) -> None:
        self._days = days
        self._now = now
        self._steady = steady
        self._last_s = -math.inf  # when rows were last deleted, by the steady clock
        self._offset_s = now() - steady()

    def oldest_s(self) -> float:
        """The time of the oldest row that is still used, in seconds since 1970."""
        return self._now() - DAY_S * self._days()

    def due_s(self) -> float | None:
        """Returns, once per period, the time before which rows are to be deleted."""
        since_boot_s = self._steady()
        offset_s = self._now() - since_boot_s
        jump_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(jump_s) > JUMP_S:
            logger.warning(
                "the clock has jumped by %.0f s; nothing that is old is deleted for an hour", jump_s
            )
            self._last_s = since_boot_s
        if math.isinf(self._days()) or since_boot_s - self._last_s < PERIOD_S:
            return None
        self._last_s = since_boot_s
        return self.oldest_s()

    def try_again(self) -> None:
        """The rows could not be deleted: they are due again at once."""
        self._last_s = -math.inf
