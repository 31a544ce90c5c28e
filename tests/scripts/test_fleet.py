"""The simulation of a fleet, beside Erlang's formula and beside a real master."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
LINE = re.compile(
    r"^(simulated|real): +(\d+) calls: ([\d.]+) % served at once, ([\d.]+) % after waiting .* "
    r"([\d.]+) % refused; at most (\d+) slots, (\d+) % of them busy$",
    re.MULTILINE,
)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return __import__("fleet")


def erlang_refused(streams: float, slots: int) -> float:
    """Erlang's formula B, as a sum."""
    terms = [streams**number / math.factorial(number) for number in range(slots + 1)]
    return terms[-1] / sum(terms)


@pytest.mark.parametrize(("streams", "slots"), [(5, 5), (10, 14), (40, 40)])
def test_calls_that_do_not_wait_are_refused_as_by_erlangs_formula(
    fleet: Any, streams: int, slots: int
) -> None:
    calls = fleet.calls_of(streams / 60, 60.0, 60 * 40_000 / streams, seed=3)
    outcome = fleet.simulate(calls, fleet.Fleet(slots, queue_s=0.0))
    assert outcome.calls == len(calls)
    assert outcome.refused_share == pytest.approx(erlang_refused(streams, slots), rel=0.1)
    assert outcome.waits_s == []


def test_slots_are_as_few_as_the_formula_allows(fleet: Any) -> None:
    for streams in (1, 20, 100):
        slots = fleet.erlang_slots(streams, 0.001)
        assert erlang_refused(streams, slots) <= 0.001 < erlang_refused(streams, slots - 1)


def test_who_waits_is_served_in_order_or_gives_up(fleet: Any) -> None:
    calls = [fleet.Call(at_s, 10.0) for at_s in (0.0, 1.0, 2.0, 3.0, 4.0)]
    outcome = fleet.simulate(calls, fleet.Fleet(1, queue_s=9.0, queue_length=2))
    # The first until 10 s, the second from then until 20 s; the third gives up at 11 s, others find no place.
    assert (outcome.at_once, outcome.waits_s, outcome.refused) == (1, [9.0], 3)
    assert (outcome.busy_s, outcome.slots_s) == (20.0, 20.0)


def test_an_autoscaler_adds_slots_after_a_lag_and_takes_them_away(fleet: Any) -> None:
    crowd = [fleet.Call(1.0, 100.0) for _ in range(10)] + [fleet.Call(5000.0, 1.0)]
    scaler = fleet.Scaler(target=1.0, period_s=10.0, lag_s=30.0, calm_s=60.0, step=2)
    outcome = fleet.simulate(crowd, fleet.Fleet(2, queue_s=60.0, scaler=scaler))
    assert outcome.at_once == 3
    assert outcome.waits_s == [39.0] * 8  # wanted at 10 s, ready at 40 s
    assert outcome.most_slots == 10
    assert outcome.slots_s < 2 * 5001 + 8 * 250


def test_a_day_has_quiet_and_busy_hours(fleet: Any) -> None:
    calls = fleet.calls_of(0.1, 60.0, fleet.DAY_S, seed=2, day=True)
    assert len(calls) == pytest.approx(8640, rel=0.05)
    noon = sum(abs(call.at_s - fleet.DAY_S / 2) < 3600 for call in calls)
    night = sum(call.at_s < 3600 or call.at_s > fleet.DAY_S - 3600 for call in calls)
    assert 7 * night < noon


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_master_does_with_calls_what_is_simulated() -> None:
    pytest.importorskip("psutil", reason="needs the package psutil")
    options = ["--streams", "14", "--call-s", "3", "--slots", "12", "--queue-s", "1", "--hours", "0.01"]
    command = [sys.executable, str(BENCH / "fleet.py"), "--check", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = {line[0]: [float(each) for each in line[1:]] for line in LINE.findall(ran.stdout)}
    simulated, real = lines["simulated"], lines["real"]
    assert simulated[0] == real[0] > 100
    for expected, found in zip(simulated[1:4], real[1:4], strict=True):  # at once, after waiting, refused
        assert 5 < expected < 90
        assert found == pytest.approx(expected, abs=12)


def test_the_table_says_what_numbers_of_streams_need() -> None:
    command = [sys.executable, str(BENCH / "fleet.py"), "--table"]
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert all(row in (BENCH.parents[1] / "docs" / "operations.md").read_text() for row in rows)
    cells = [[float(each.replace(",", "")) for each in row.strip("| ").split(" | ")] for row in rows]
    assert [row[0] for row in cells] == [100, 1_000, 10_000, 100_000]
    for streams, slots, cores, _, masters in cells:
        assert streams < slots < 1.3 * streams
        assert cores == math.ceil(slots * 0.025 * 1.5)
        assert masters == math.ceil(slots / 1400)
