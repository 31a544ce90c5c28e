"""How many workers there should be."""

from typing import Any

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.scaling import Load, Scaling


def scaling(**options: Any) -> Scaling:
    settings: dict[str, Any] = {
        "min_workers": 1,
        "max_workers": 10,
        "busy_share": 0.7,
        "scale_down_s": 60.0,
        **options,
    }
    return Scaling(FleetOptions(**settings), sessions=10)


@pytest.mark.parametrize(
    ("busy", "waiting", "workers"),
    [(0, 0, 1), (7, 0, 1), (8, 0, 2), (0, 8, 2), (6, 1, 1), (6, 2, 2), (14, 0, 2), (70, 0, 10), (500, 9, 10)],
)
def test_as_many_as_are_needed_at_once(busy: int, waiting: int, workers: int) -> None:
    assert scaling().wanted(Load(busy, waiting), current=1, now_s=0.0) == workers


def test_fewer_only_when_they_would_have_been_enough_for_a_while() -> None:
    policy = scaling()
    assert policy.wanted(Load(35, 0), current=1, now_s=0.0) == 5
    assert policy.wanted(Load(21, 0), current=5, now_s=30.0) == 5
    assert policy.wanted(Load(7, 0), current=5, now_s=60.0) == 5
    assert policy.wanted(Load(7, 0), current=5, now_s=61.0) == 3  # what was needed half a minute ago
    assert policy.wanted(Load(7, 0), current=3, now_s=90.0) == 3
    assert policy.wanted(Load(7, 0), current=3, now_s=91.0) == 1


def test_a_new_peak_begins_the_time_again() -> None:
    policy = scaling()
    policy.wanted(Load(35, 0), current=5, now_s=0.0)
    policy.wanted(Load(0, 0), current=5, now_s=50.0)
    assert policy.wanted(Load(35, 0), current=5, now_s=55.0) == 5
    assert policy.wanted(Load(0, 0), current=5, now_s=115.0) == 5
    assert policy.wanted(Load(0, 0), current=5, now_s=116.0) == 1


def test_lost_workers_are_replaced_even_if_they_were_about_to_go() -> None:
    policy = scaling(min_workers=2)
    policy.wanted(Load(35, 0), current=5, now_s=0.0)
    assert policy.wanted(Load(0, 0), current=1, now_s=1.0) == 2


def test_none_is_ended_while_a_master_says_nothing() -> None:
    policy = scaling()
    policy.wanted(Load(35, 0), current=5, now_s=0.0)
    silence = Load(0, 0, is_complete=False)
    assert policy.wanted(silence, current=5, now_s=100.0) == 5
    assert policy.wanted(Load(0, 0), current=5, now_s=159.0) == 5
    assert policy.wanted(Load(0, 0), current=5, now_s=161.0) == 1
    assert policy.wanted(Load(90, 0, is_complete=False), current=1, now_s=162.0) == 10


def test_bounds_that_have_changed_hold_at_once() -> None:
    policy = scaling()
    assert policy.wanted(Load(35, 0), current=5, now_s=0.0) == 5
    policy.options = FleetOptions(min_workers=1, max_workers=3)
    assert policy.wanted(Load(35, 0), current=5, now_s=1.0) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min_workers": 0}, "min_workers: expected more than 0, found 0"),
        ({"min_workers": 3, "max_workers": 2}, "max_workers: expected at least min_workers, 3, found 2"),
        ({"busy_share": 1.5}, "busy_share: expected at most 1, found 1.5"),
        ({"scale_down_s": -1.0}, "scale_down_s: expected 0 or more, found -1.0"),
        ({"cores": 0.0}, "cores: expected more than 0, found 0.0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        FleetOptions(**options).validate()
