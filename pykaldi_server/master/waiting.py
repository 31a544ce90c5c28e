"""Who is waiting for a worker, in which order, and who is told its place.

Each requested model has a line of its own, and clients that name no model have another one. A worker that
becomes free goes to the client that came first of all those whom it can serve; so nobody is overtaken, and
a model for which many are waiting keeps nobody from another one.

Finding who is first, coming and leaving take the same time however many are waiting. Places are not counted
at every change but all at once, at most every `PLACES_S`, and less often where many want to know theirs: a
thousand changes in a second cost no more than one, and telling takes a small share of the time.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Lines", "Waiting"]

W = TypeVar("W")

PLACES_S = 1.0
"""Shortest time in seconds between two messages to the same client about its place."""
MOST_TOLD_PER_S = 200
"""How many clients are told their places per second, in the long run."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[W]):
    """A client in line.

    Attributes:
        ticket: its number; those who came earlier have smaller ones.
        model: what it asks for; None is the default.
        worker: what it gets.
        place: called with its place in line when that has changed; 1 is the first. None: it is not told.
        told: the place of which it knows.
    """

    ticket: int
    model: str | None
    worker: "asyncio.Future[W]"
    place: Callable[[int], None] | None
    told: int = 0


class Lines(Generic[W]):
    """All who are waiting. It belongs to the pool, and to the pool's event loop.

    Args:
        wanted: returns the model that a client gets which asks for this one; None is any.
    """

    def __init__(self, wanted: Callable[[str | None], str | None]) -> None:
        self._wanted = wanted
        self._lines: dict[str | None, OrderedDict[int, Waiting[W]]] = {}
        self._num_waiting = 0
        self._num_watching = 0  # of them, those who want to know their place
        self._telling: asyncio.TimerHandle | None = None
        self._told_at_s = -math.inf

    def __len__(self) -> int:
        """How many are waiting."""
        return self._num_waiting

    def num_waiting(self, models: Iterable[str | None]) -> int:
        """How many are waiting of those who ask for one of these models."""
        return sum(len(self._lines.get(model, ())) for model in models)

    def everybody(self) -> list[Waiting[W]]:
        """All of them, line after line."""
        return [waiting for line in self._lines.values() for waiting in line.values()]

    def enter(self, waiting: Waiting[W]) -> None:
        """Puts a client in line: at the end, or where its ticket belongs."""
        line = self._lines.setdefault(waiting.model, OrderedDict())
        is_early = bool(line) and waiting.ticket < next(reversed(line))
        line[waiting.ticket] = waiting
        if is_early:  # it had a worker, and has lost it
            for ticket in sorted(line):
                line.move_to_end(ticket)
        self._num_waiting += 1
        self._num_watching += waiting.place is not None
        self._places_have_changed()

    def leave(self, waiting: Waiting[W]) -> bool:
        """Takes a client out of its line; returns whether it was in one."""
        line = self._lines.get(waiting.model)
        if line is None or line.pop(waiting.ticket, None) is None:
            return False
        if not line:
            del self._lines[waiting.model]
        self._num_waiting -= 1
        self._num_watching -= waiting.place is not None
        self._places_have_changed()
        return True

    def first(self, models: Iterable[str | None]) -> Waiting[W] | None:
        """Who came first of those who ask for one of these models."""
        firsts = [next(iter(self._lines[model].values())) for model in models if model in self._lines]
        return min(firsts, key=lambda waiting: waiting.ticket, default=None)

    def _places_have_changed(self) -> None:
        if self._num_watching and self._telling is None:
            loop = asyncio.get_running_loop()
            pause_s = max(PLACES_S, self._num_watching / MOST_TOLD_PER_S)
            self._telling = loop.call_at(max(loop.time(), self._told_at_s + pause_s), self._tell_places)

    def _tell_places(self) -> None:
        """Tells each client one more than the number of those whom a worker would serve before it.

        Somebody who takes any model is told how many came before, whatever they ask for.
        """
        self._telling, self._told_at_s = None, asyncio.get_running_loop().time()
        everybody = self.everybody()
        ahead: Counter[str | None] = Counter()
        for number, waiting in enumerate(sorted(everybody, key=lambda waiting: waiting.ticket)):
            wanted = self._wanted(waiting.model)
            place = 1 + (number if wanted is None else ahead[wanted] + ahead[None])
            ahead[wanted] += 1
            if waiting.place is not None and waiting.told != place:
                waiting.told = place
                waiting.place(place)
