"""When messages came that wait to be taken."""

import pytest

from pykaldi_server.protocols.arrivals import TICK_S, Arrivals


def test_times_come_back_in_order() -> None:
    now_s = 0.0
    arrivals = Arrivals(lambda: now_s)
    for now_s in (1.0, 1.0, 2.0, 3.0):  # noqa: B007 - the clock reads it
        arrivals.come()
    assert [arrivals.take() for _ in range(3)] == [1.0, 1.0, 2.0]
    arrivals.put_back(2.0)
    assert [arrivals.take() for _ in range(2)] == [2.0, 3.0]
    with pytest.raises(IndexError):
        arrivals.take()


def test_many_messages_at_once_take_little_room() -> None:
    now_s = 0.0
    arrivals = Arrivals(lambda: now_s)
    for number in range(1000):
        now_s = number * TICK_S / 100
        arrivals.come()
    assert len(arrivals._groups) <= 11
    times_s = [arrivals.take() for _ in range(1000)]
    assert times_s == sorted(times_s)
    assert all(0 <= number * TICK_S / 100 - time_s < TICK_S for number, time_s in enumerate(times_s))
