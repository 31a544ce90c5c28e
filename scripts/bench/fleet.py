"""How many slots, cores and masters a service needs: simulated calls come, wait, are served or refused.

    calls (a Poisson process, its rate even or that of a day) -> a free slot, or the line -> served
                                           the line is full, or --queue-s is over -> refused

Slots are fixed, or an autoscaler (--scale) changes their number: every --period-s it wants as many as busy
slots and people in line need at a share of --target; those that it adds are ready after --lag-s, and those
that nobody has needed for --calm-s go. With --check, a real master whose workers recognise nothing serves the
same calls, and both results are printed. --table prints what numbers of live streams need, from figures that
`load.py` and `relay.py` measure.

Usage: fleet.py [--streams N] [--call-s S] [--slots N] [--queue-s S] [--hours H] [--day] [--scale] [--check]
    fleet.py --table
"""

import argparse
import heapq
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.scaling import Load, Scaling

__all__ = ["Call", "Fleet", "Outcome", "Scaler", "calls_of", "erlang_slots", "simulate"]

DAY_S = 86_400.0
DAY_SWING = 0.8
"""The rate at the busiest hour of a day is 1 + this times the mean, at the quietest 1 - this."""
FLEET_STREAMS = (100, 1_000, 10_000, 100_000)
REFUSED = 0.001
MASTER_SHARE = 0.7
"""How much of its core a master may use before packets wait for each other."""


@dataclass(frozen=True)
class Call:
    """A request: when it comes, and for how long it is served."""

    at_s: float
    length_s: float


@dataclass(frozen=True)
class Scaler:
    """An autoscaler: that of `pykaldi-server ray`, which is Kubernetes' rule, too (its names in brackets).

    Attributes:
        target: share of the slots that is to be busy.
        period_s: how often it looks (sync period).
        lag_s: until a slot that it adds is ready: a machine, a container, a model.
        calm_s: how long fewer slots must have been enough (stabilisation window).
        step: slots come and go in multiples of this: those of a worker process.
    """

    target: float = 0.7
    period_s: float = 15.0
    lag_s: float = 60.0
    calm_s: float = 300.0
    step: int = 25

    def scaling(self) -> Scaling:
        """The rule, at its beginning."""
        options = FleetOptions(busy_share=self.target, scale_down_s=self.calm_s, max_workers=sys.maxsize)
        return Scaling(options, self.step)


@dataclass(frozen=True)
class Fleet:
    """Slots and the line in front of them.

    Attributes:
        slots: at the beginning, or always.
        queue_s: how long a call waits at most.
        queue_length: how many calls wait at most.
        scaler: changes the number of slots; None leaves it.
    """

    slots: int
    queue_s: float = 10.0
    queue_length: int = 100
    scaler: Scaler | None = None


@dataclass
class Outcome:
    """What became of the calls.

    Attributes:
        at_once: how many were served without waiting.
        waits_s: how long those waited that were served after waiting.
        refused: how many were not served.
        busy_s: seconds for which slots were busy, in all.
        slots_s: seconds for which there were slots, in all.
        most_slots: the most slots at a time.
    """

    at_once: int = 0
    waits_s: list[float] = field(default_factory=list)
    refused: int = 0
    busy_s: float = 0.0
    slots_s: float = 0.0
    most_slots: int = 0

    @property
    def calls(self) -> int:
        return self.at_once + len(self.waits_s) + self.refused

    @property
    def waiting_share(self) -> float:
        """Of the calls, how many waited and were served."""
        return len(self.waits_s) / max(1, self.calls)

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.calls)

    def __str__(self) -> str:
        waits_s = sorted(self.waits_s)
        p95_s = waits_s[int(0.95 * len(waits_s))] if waits_s else 0.0
        return (
            f"{self.calls} calls: {100 * self.at_once / max(1, self.calls):.2f} % served at once, "
            f"{100 * self.waiting_share:.2f} % after waiting (95 % of them within {p95_s:.1f} s), "
            f"{100 * self.refused_share:.2f} % refused; at most {self.most_slots} slots, "
            f"{100 * self.busy_s / max(1e-9, self.slots_s):.0f} % of them busy"
        )


def calls_of(rate_per_s: float, mean_s: float, seconds: float, seed: int, day: bool = False) -> list[Call]:
    """Calls that come by chance, with lengths that are distributed exponentially.

    Args:
        rate_per_s: how many come per second, on average.
        mean_s: their mean length.
        seconds: for how long they come.
        seed: of the chance.
        day: the rate rises and falls as it does in a day.
    """
    rng = random.Random(seed)
    swing = DAY_SWING if day else 0.0
    calls, at_s = [], 0.0
    while (at_s := at_s + rng.expovariate(rate_per_s * (1 + swing))) < seconds:
        rate = 1 - swing * math.cos(2 * math.pi * at_s / DAY_S)  # quietest at midnight
        if rng.random() * (1 + swing) < rate:
            calls.append(Call(at_s, rng.expovariate(1 / mean_s)))
    return calls


class Simulation:
    """One run, see the module's text."""

    def __init__(self, calls: list[Call], fleet: Fleet) -> None:
        self.outcome = Outcome(most_slots=fleet.slots)
        self._fleet = fleet
        self._slots, self._busy, self._coming = fleet.slots, 0, 0
        self._line: deque[Call] = deque()
        self._now_s = 0.0
        self._number = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for call in calls:
            self._at(call.at_s, self._come(call))
        self._end_s = calls[-1].at_s if calls else 0.0
        if fleet.scaler is not None:
            self._scaling = fleet.scaler.scaling()
            self._at(fleet.scaler.period_s, self._look)

    def run(self) -> Outcome:
        while self._events:
            at_s, _, event = heapq.heappop(self._events)
            self.outcome.busy_s += (at_s - self._now_s) * self._busy
            self.outcome.slots_s += (at_s - self._now_s) * self._slots
            self._now_s = at_s
            event()
        return self.outcome

    def _at(self, at_s: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_s, self._number, event))

    def _come(self, call: Call) -> Callable[[], None]:
        def come() -> None:
            if self._busy < self._slots:
                self.outcome.at_once += 1
                self._serve(call)
            elif len(self._line) < self._fleet.queue_length and self._fleet.queue_s > 0:
                self._line.append(call)
                self._at(self._now_s + self._fleet.queue_s, lambda: self._give_up(call))
            else:
                self.outcome.refused += 1

        return come

    def _serve(self, call: Call) -> None:
        self._busy += 1
        self._at(self._now_s + call.length_s, self._free)

    def _give_up(self, call: Call) -> None:
        if self._line and self._line[0] is call:  # who came first gives up first
            self._line.popleft()
            self.outcome.refused += 1

    def _free(self) -> None:
        self._busy -= 1
        self._fill()

    def _fill(self) -> None:
        while self._line and self._busy < self._slots:
            call = self._line.popleft()
            self.outcome.waits_s.append(self._now_s - call.at_s)
            self._serve(call)

    def _look(self) -> None:
        """The autoscaler looks."""
        scaler = self._fleet.scaler
        assert scaler is not None
        current = self._slots + self._coming
        load = Load(self._busy, len(self._line))
        more = scaler.step * self._scaling.wanted(load, current // scaler.step, self._now_s) - current
        if more > 0:
            self._coming += more
            self._at(self._now_s + scaler.lag_s, lambda: self._add(more))
        # A worker that is to go serves its calls to their end, and takes no new ones.
        fewer = min(-more, self._slots - self._busy)
        self._slots -= max(0, fewer // scaler.step * scaler.step)
        if self._now_s < self._end_s:
            self._at(self._now_s + scaler.period_s, self._look)

    def _add(self, slots: int) -> None:
        self._coming -= slots
        self._slots += slots
        self.outcome.most_slots = max(self.outcome.most_slots, self._slots)
        self._fill()


def simulate(calls: list[Call], fleet: Fleet) -> Outcome:
    """What becomes of calls."""
    return Simulation(calls, fleet).run()


def erlang_slots(streams: float, refused: float) -> int:
    """How many slots refuse no more than a share of calls that do not wait (Erlang's formula B).

    Args:
        streams: how many are live on average, if none were refused.
        refused: the share.
    """
    slots, share = 0, 1.0
    while share > refused:
        slots += 1
        share = streams * share / (slots + streams * share)
    return slots


def table(args: argparse.Namespace) -> Iterator[str]:
    """What numbers of live streams need, as a table in Markdown."""
    yield "| live streams, on average | slots | cores for workers | their memory, GiB | masters |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    per_master = 1000 * MASTER_SHARE / (args.packet_ms * args.packets_per_s)
    for streams in FLEET_STREAMS:
        slots = erlang_slots(streams, REFUSED)
        cores = math.ceil(slots * args.cpu / args.load)
        memory_mib = cores * args.worker_mib + slots * args.stream_mib
        masters = math.ceil(slots / per_master)
        yield f"| {streams:,} | {slots:,} | {cores:,} | {memory_mib / 1024:,.1f} | {masters:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=float, default=100.0, help="live streams, on average")
    parser.add_argument("--call-s", type=float, default=180.0, help="mean length of a call")
    parser.add_argument("--slots", type=int, help="default: refuse 0.1 % of calls that do not wait")
    parser.add_argument("--queue-s", type=float, default=10.0)
    parser.add_argument("--queue-length", type=int, default=100)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--day", action="store_true", help="the rate rises and falls as it does in a day")
    parser.add_argument("--scale", action="store_true", help="an autoscaler changes the number of slots")
    parser.add_argument("--target", type=float, default=0.7, help="share of slots that is to be busy")
    parser.add_argument("--period-s", type=float, default=15.0, help="how often the autoscaler looks")
    parser.add_argument("--lag-s", type=float, default=60.0, help="until a slot that it adds is ready")
    parser.add_argument("--calm-s", type=float, default=300.0, help="how long fewer slots must be enough")
    parser.add_argument("--step", type=int, default=25, help="slots of a worker process")
    parser.add_argument("--check", action="store_true", help="a real master serves the same calls, too")
    parser.add_argument("--table", action="store_true", help="only print what numbers of streams need")
    parser.add_argument("--cpu", type=float, default=0.025, help="worker's CPU seconds per second of audio")
    parser.add_argument("--load", type=float, default=2 / 3, help="share of a core that may be used")
    parser.add_argument("--worker-mib", type=float, default=110.0, help="memory of a worker per core")
    parser.add_argument("--stream-mib", type=float, default=4.0, help="memory of a stream")
    parser.add_argument("--packet-ms", type=float, default=0.1, help="master's CPU per packet")
    parser.add_argument("--packets-per-s", type=float, default=5.0, help="of a stream")
    args = parser.parse_args()
    if args.table:
        print("\n".join(table(args)))
        return
    scaler = Scaler(args.target, args.period_s, args.lag_s, args.calm_s, args.step) if args.scale else None
    slots = args.slots or erlang_slots(args.streams, REFUSED)
    fleet = Fleet(slots, args.queue_s, args.queue_length, scaler)
    calls = calls_of(args.streams / args.call_s, args.call_s, 3600 * args.hours, args.seed, args.day)
    print(f"simulated: {simulate(calls, fleet)}")
    if args.check:
        from fleet_check import serve_calls

        real = Outcome(most_slots=fleet.slots)
        serve_calls(calls, fleet, real)
        print(f"real:      {real}")


if __name__ == "__main__":
    main()
