"""How many requests a caller may have, and how many messages a connection may send."""

from contextlib import ExitStack

import pytest

from pykaldi_server.master.access.caller import Caller, Limits
from pykaldi_server.master.limits import LimitError, MessageRate, Sessions, network_of, session_limit_s
from pykaldi_server.master.options import MasterOptions

ANNE = Caller("192.0.2.1", "anne")


def test_a_token_has_a_number_of_requests_from_wherever_they_come() -> None:
    sessions, options = Sessions(), MasterOptions(sessions_per_token=2)
    with sessions.entered(ANNE, options), sessions.entered(Caller("192.0.2.2", "anne"), options):
        text = "the token anne: expected at most 2 requests at the same time, found one more"
        with pytest.raises(LimitError, match=text) as refused, sessions.entered(ANNE, options):
            pass
        assert refused.value.num_sessions == 2
        with (
            sessions.entered(Caller("192.0.2.1", "ben"), options),
            sessions.entered(Caller("192.0.2.1"), options),
        ):
            pass
    with sessions.entered(ANNE, options):
        pass


def test_an_address_has_a_number_of_requests_whoever_makes_them() -> None:
    sessions, options = Sessions(), MasterOptions(sessions_per_address=1)
    with sessions.entered(ANNE, options):
        with (
            pytest.raises(LimitError, match=r"the address 192\.0\.2\.1: expected at most 1"),
            sessions.entered(Caller("192.0.2.1"), options),
        ):
            pass
        with sessions.entered(Caller("192.0.2.2"), options):
            pass


def test_a_limit_of_its_own_takes_the_place_of_the_general_ones() -> None:
    sessions = Sessions()
    options = MasterOptions(sessions_per_address=1, sessions_per_token=1)
    service = Caller("192.0.2.1", "service", Limits(sessions=3))
    with ExitStack() as open_requests:
        for _ in range(3):
            open_requests.enter_context(sessions.entered(service, options))
        with pytest.raises(LimitError, match="the token service: expected at most 3"):
            open_requests.enter_context(sessions.entered(service, options))


def test_who_has_no_address_is_not_counted_by_it() -> None:
    sessions, options = Sessions(), MasterOptions(sessions_per_address=1)
    with sessions.entered(Caller(""), options), sessions.entered(Caller(""), options):
        assert len(sessions) == 0


def test_the_table_holds_only_those_who_are_there() -> None:
    """However many callers there have been, and however they have ended."""
    sessions, options = Sessions(), MasterOptions(sessions_per_address=1)
    for number in range(100):
        caller = Caller(f"192.0.2.{number}", f"token{number}")
        with sessions.entered(caller, options):
            assert len(sessions) == 2
            with pytest.raises(LimitError), sessions.entered(caller, options):
                pass  # refused by address, after it was counted by token
            assert len(sessions) == 2
    assert len(sessions) == 0
    with pytest.raises(ZeroDivisionError), sessions.entered(ANNE, options):
        raise ZeroDivisionError
    assert len(sessions) == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a path", "a path"),
        ("", ""),
    ],
)
def test_whom_an_address_stands_for(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_length_of_a_request_is_that_of_its_token_or_the_general_one() -> None:
    options = MasterOptions(session_s=60)
    assert session_limit_s(Caller(""), MasterOptions()) is None
    assert session_limit_s(Caller(""), options) == 60
    assert session_limit_s(Caller("", "anne", Limits(session_s=5)), options) == 5


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def total_delay_s(rate: MessageRate, clock: Clock, num_messages: int, interval_s: float = 0.0) -> float:
    """How long a client is held back in all that sends a message every so often and waits when it has to."""
    total_s = 0.0
    for _ in range(num_messages):
        clock.now_s += interval_s
        delay_s = rate.delay_s()
        total_s += delay_s
        clock.now_s += delay_s
    return total_s


def test_live_audio_is_never_held_back() -> None:
    clock = Clock()
    assert total_delay_s(MessageRate(lambda: 1000.0, clock), clock, 100_000, interval_s=0.01) == 0


def test_a_recording_in_ten_thousand_pieces_is_not_held_back() -> None:
    clock = Clock()
    rate = MessageRate(lambda: 1000.0, clock)
    assert total_delay_s(rate, clock, 10_000) == 0
    clock.now_s += 10
    assert total_delay_s(rate, clock, 10_000) == 0  # and again when it has had time


def test_a_flood_is_slowed_down_to_the_rate() -> None:
    clock = Clock()
    rate = MessageRate(lambda: 1000.0, clock)
    assert total_delay_s(rate, clock, 40_000) == pytest.approx(30, abs=0.1)


def test_a_new_rate_holds_at_once() -> None:
    clock, per_s = Clock(), [1000.0]
    rate = MessageRate(lambda: per_s[0], clock)
    assert total_delay_s(rate, clock, 100) == 0
    per_s[0] = 5.0
    assert total_delay_s(rate, clock, 20) == pytest.approx(14, abs=0.5)


def test_nobody_is_left_unread_for_long() -> None:
    clock, per_s = Clock(), [1000.0]
    rate = MessageRate(lambda: per_s[0], clock)
    assert total_delay_s(rate, clock, 10_000) == 0
    per_s[0] = 1.0
    assert rate.delay_s() == 1.0
