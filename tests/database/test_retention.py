"""When rows are deleted, by clocks of our own."""

import logging
import math

import pytest

from pykaldi_server.database.retention import DAY_S, PERIOD_S, Retention, steady_s


class Clocks:
    """Two clocks of one machine.

    Attributes:
        now_s: that which may be set.
        steady_s: the other.
    """

    def __init__(self) -> None:
        self.now_s = 1e9
        self.steady_s = 1000.0

    def go_on(self, seconds: float) -> None:
        self.now_s += seconds
        self.steady_s += seconds

    def retention(self, days: float) -> Retention:
        return Retention(lambda: days, lambda: self.now_s, lambda: self.steady_s)


def test_once_per_period() -> None:
    clocks = Clocks()
    retention = clocks.retention(10)
    assert retention.due_s() == retention.oldest_s() == 1e9 - 10 * DAY_S
    clocks.go_on(PERIOD_S - 1)
    assert retention.due_s() is None
    clocks.go_on(1)
    assert retention.due_s() == 1e9 + PERIOD_S - 10 * DAY_S
    assert retention.due_s() is None
    retention.try_again()
    assert retention.due_s() is not None


def test_never() -> None:
    assert Clocks().retention(math.inf).due_s() is None


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_is_soon_set_right_destroys_nothing(
    years: int, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    retention = clocks.retention(10)
    right = retention.due_s()
    assert right is not None
    clocks.go_on(2 * PERIOD_S)
    clocks.now_s += years * 365 * DAY_S
    with caplog.at_level(logging.WARNING):
        assert retention.due_s() is None
        clocks.go_on(PERIOD_S / 2)
        assert retention.due_s() is None
        clocks.now_s -= years * 365 * DAY_S
        assert retention.due_s() is None
    assert [message.split(";")[0] for message in caplog.messages] == [
        f"the clock has jumped by {sign * years * 365 * DAY_S:.0f} s" for sign in (1, -1)
    ]
    clocks.go_on(PERIOD_S)
    assert retention.due_s() == right + 3.5 * PERIOD_S


def test_a_clock_that_stays_as_it_was_set_counts_in_the_end() -> None:
    clocks = Clocks()
    retention = clocks.retention(10)
    clocks.now_s += 100 * DAY_S
    assert retention.due_s() is None
    clocks.go_on(PERIOD_S)
    assert retention.due_s() == 1e9 + 90 * DAY_S + PERIOD_S


def test_the_steady_clock_runs() -> None:
    assert 0 < steady_s() <= steady_s()
