"""Which workers are connected, which of them are free, who waits for one, and how many requests there have
been.

A worker's socket is *free* from when it connects until a client gets it; then it is *busy* until it closes,
because one socket serves one request. A client that finds no free worker waits in line (`waiting`): a slot
comes back some milliseconds after the answer of the request before. The pool belongs to the master's event
loop; no other thread uses it.
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.master.waiting import Lines, Waiting

__all__ = [
    "NOT_AVAILABLE",
    "PoolStatus",
    "UnavailableError",
    "UnknownModelError",
    "Wait",
    "WorkerPool",
    "retry_s",
]

W = TypeVar("W")

SHORTEST_RETRY_S, LONGEST_RETRY_S = 1, 120
UNKNOWN_DURATION_S = 5.0
"""How long a request of a model is taken to last before any has ended."""
NEWEST_WEIGHT = 0.1
"""Weight of the newest request in the mean duration of requests."""
NOT_AVAILABLE = "No decoder available, try again later"  # as the original says it


def retry_s(seconds: float) -> int:
    """Makes an estimate one that a client can be given: whole seconds within bounds."""
    return min(max(math.ceil(seconds), SHORTEST_RETRY_S), LONGEST_RETRY_S)


class UnavailableError(PykaldiServerError):
    """No worker has become free in time.

    Attributes:
        retry_after_s: after how many seconds it is worth trying again; 0 if it never is.
    """

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class UnknownModelError(UnavailableError):
    """No worker has ever served the model that a client asks for, and none is expected to."""


class Wait(NamedTuple):
    """How long a client has waited for a worker.

    Attributes:
        model: that of the worker, or what a client asked for that got none; "" if that has no name.
        seconds: time in line; 0 for a client that was served or refused at once.
        is_served: whether it got a worker in the end. One that leaves did not.
    """

    model: str
    seconds: float
    is_served: bool


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A picture of the pool.

    Attributes:
        available: number of free workers that a client can get: none while no client gets any, and not those
            that name no model where clients that name none get the default.
        busy: number of requests that are being served.
        waiting: number of requests that wait for a worker.
        processed: number of requests that have ended since the master started.
        refused: number of requests that got no worker since the master started.
        accepting: False while no client gets a worker, at start and at shutdown.
        models: for each model with a connected worker, the number of free workers and of busy ones.
    """

    available: int
    busy: int
    waiting: int
    processed: int
    refused: int
    accepting: bool
    models: dict[str, tuple[int, int]]

    @property
    def can_serve(self) -> bool:
        """True when a client would get a worker now."""
        return self.available > 0


class WorkerPool(Generic[W]):
    """The workers of a master, keyed by the model that they serve.

    Args:
        default_model: see the property.
        clock: tells the time in seconds, from any beginning.
    """

    def __init__(self, default_model: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._default_model = default_model
        self._free: OrderedDict[W, str] = OrderedDict()
        self._free_of: dict[str, OrderedDict[W, None]] = {}
        self._busy: dict[W, tuple[str, float]] = {}  # the model, and since when
        self._busy_of: Counter[str] = Counter()
        self._lines: Lines[W] = Lines(self._wanted)
        self._next_ticket = 0
        self._known_models: set[str] = set()  # of workers that are, were, or will be connected
        self._expected_models: set[str] = set()
        self._mean_s: dict[str, float] = {}  # of known models
        self._processed = 0
        self._refused = 0
        self._accepting = True
        self._end = ""  # why no client gets a worker any more
        self._listeners: list[Callable[[], None]] = []
        self._wait_listeners: list[Callable[[Wait], None]] = []

    @property
    def default_model(self) -> str | None:
        """What a client gets that names no model; None gives it any free worker.

        Workers of the original project name no model (""): those serve only clients that name none, without
        a default.
        """
        return self._default_model

    @default_model.setter
    def default_model(self, model: str | None) -> None:
        self._default_model = model
        self._serve_lines()

    @property
    def accepting(self) -> bool:
        """Whether clients get workers; at start and at shutdown they do not."""
        return self._accepting

    @accepting.setter
    def accepting(self, accepting: bool) -> None:
        self._accepting = accepting
        self._serve_lines()
        self._changed()

    @property
    def expects_models(self) -> bool:
        """Whether there are models of which no worker has connected so far."""
        return bool(self._expected_models)

    def expect_model(self, model: str) -> None:
        """A model will be served: clients that ask for it wait for a worker."""
        if model not in self._known_models:
            self._known_models.add(model)
            self._expected_models.add(model)

    def end(self, reason: str) -> None:
        """Gives no client a worker any more: who waits is refused now, and who comes later at once."""
        self._end = reason
        self.accepting = False
        for waiting in self._lines.everybody():
            if not waiting.worker.done():
                waiting.worker.cancel()

    def add(self, worker: W, model: str) -> None:
        """A worker has connected and is free."""
        self._put_free(worker, model)
        self._known_models.add(model)
        self._expected_models.discard(model)
        self._changed()

    def ticket(self) -> int:
        """Draws a number: who has a smaller one is served earlier, whenever it comes to the line."""
        self._next_ticket += 1
        return self._next_ticket

    async def acquire(
        self,
        model: str | None = None,
        wait_s: float = 0.0,
        *,
        length: int | None = None,
        ticket: int | None = None,
        place: Callable[[int], None] | None = None,
    ) -> W:
        """Takes the free worker of a model that has waited longest; first come, first served.

        Args:
            model: the model that the client asks for; None is the default.
            wait_s: how long to wait for a worker to become free.
            length: how many may wait for this model; None is any number.
            ticket: the client's, if it has been in line before; None draws one.
            place: called with the place in line, once in a while when it has changed. It must return at once.

        Raises:
            UnknownModelError: there is no such model; the text says which there are.
            UnavailableError: no worker has become free in time, or too many wait for one already.
        """
        if model is not None and self._known_models and model not in self._known_models:
            self._refused += 1
            raise UnknownModelError(f"there is no model {model!r}; {self._models_text()}", 0)
        worker = self._take_free(model)
        if worker is not None:
            self._changed()
            self._note_wait(Wait(self._busy[worker][0], 0.0, True))
            return worker
        num_waiting = self.num_waiting_for(model)
        is_full = length is not None and num_waiting >= length
        if wait_s <= 0 or is_full or self._end:
            self._refused += 1
            self._changed()
            self._note_wait(Wait(self._wanted(model) or "", 0.0, False))
            why = f": {num_waiting} requests are waiting already" if is_full and wait_s > 0 else ""
            why = f": {self._end}" if self._end else why
            raise UnavailableError(f"{NOT_AVAILABLE}{why}", self.retry_after_s(model))
        return await self._wait(model, wait_s, self.ticket() if ticket is None else ticket, place)

    def is_free(self, worker: W) -> bool:
        """Whether a worker waits for a request."""
        return worker in self._free

    def remove(self, worker: W) -> None:
        """A worker's socket has closed or will; its request, if any, has ended. May be called again."""
        if (busy := self._busy.pop(worker, None)) is not None:
            model, since_s = busy
            self._busy_of[model] -= 1
            self._processed += 1
            lasted_s = self._clock() - since_s
            mean_s = self._mean_s.setdefault(model, lasted_s)
            self._mean_s[model] = mean_s + NEWEST_WEIGHT * (lasted_s - mean_s)
        elif worker in self._free:
            self._pop_free(worker)
        else:
            return
        self._changed()

    def is_wanted(self, model: str) -> bool:
        """Whether somebody is waiting for a worker of this model."""
        return self._lines.first(self._served_by(model)) is not None

    def retry_after_s(self, model: str | None) -> int:
        """Estimates how long somebody who comes now would have to wait for a worker of a model.

        From how long requests have lasted lately, how many are waiting and how many slots there are; never
        below a second or above two minutes.
        """
        models = self._serving(model)
        slots = sum(len(self._free_of.get(each, ())) + self._busy_of[each] for each in models)
        return retry_s(self.mean_duration_s(model) * (self.num_waiting_for(model) + 1) / max(1, slots))

    def num_waiting_for(self, model: str | None) -> int:
        """How many wait for workers that serve a model; while nobody has served it, how many wait at all."""
        wanted = self._wanted(model)
        if wanted is not None and wanted not in self._known_models:
            return len(self._lines)
        return self._lines.num_waiting({wanted, *(() if wanted is None else self._served_by(wanted))})

    def mean_duration_s(self, model: str | None) -> float:
        """How long requests for a model have lasted lately, in seconds."""
        known_s = [self._mean_s[each] for each in self._serving(model) if each in self._mean_s]
        return sum(known_s) / len(known_s) if known_s else UNKNOWN_DURATION_S

    def forget_model(self, model: str) -> None:
        """A model is served no more: clients that ask for it are told so at once."""
        self._known_models.discard(model)
        self._expected_models.discard(model)

    def status(self) -> PoolStatus:
        """A picture of the current state."""
        names = sorted({*self._free_of, *(name for name, number in self._busy_of.items() if number)})
        counts = {name: (len(self._free_of.get(name, ())), self._busy_of[name]) for name in names}
        available = sum(free for model, (free, _) in counts.items() if self._can_be_had(model))
        return PoolStatus(
            available=available if self._accepting else 0,
            busy=len(self._busy),
            waiting=len(self._lines),
            processed=self._processed,
            refused=self._refused,
            accepting=self._accepting,
            models=counts,
        )

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has `listener` called after every change; the function that this returns ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def listen_to_waits(self, listener: Callable[[Wait], None]) -> Callable[[], None]:
        """Has `listener` called with every wait that has ended; the function that this returns ends it."""
        self._wait_listeners.append(listener)
        return lambda: self._wait_listeners.remove(listener)

    async def _wait(
        self, model: str | None, wait_s: float, ticket: int, place: Callable[[int], None] | None
    ) -> W:
        """Waits in line; see `acquire`."""
        worker: asyncio.Future[W] = asyncio.get_running_loop().create_future()
        waiting = Waiting(ticket, model, worker, place)
        begin_s = self._clock()
        self._lines.enter(waiting)
        self._changed()
        try:
            await asyncio.wait([worker], timeout=wait_s)
        except asyncio.CancelledError:
            self._note_wait(Wait(self._wanted(model) or "", self._clock() - begin_s, False))
            if worker.done() and not worker.cancelled():
                self._take_back(worker.result())
            raise
        finally:
            if self._lines.leave(waiting):
                self._changed()
        waited_s = self._clock() - begin_s
        if worker.done() and not worker.cancelled():
            self._note_wait(Wait(self._busy_model(worker.result()), waited_s, True))
            return worker.result()
        self._refused += 1
        self._changed()
        self._note_wait(Wait(self._wanted(model) or "", waited_s, False))
        why = f": {self._end}" if self._end else ""
        raise UnavailableError(f"{NOT_AVAILABLE}{why}", self.retry_after_s(model))

    def _wanted(self, model: str | None) -> str | None:
        """The model whose workers serve a client that asks for `model`; None is any."""
        return model if model is not None else self._default_model

    def _serving(self, model: str | None) -> set[str]:
        """The models that serve a client that asks for `model`, of those that have or had workers."""
        wanted = self._wanted(model)
        return {*self._free_of, *self._busy_of} if wanted is None else {wanted}

    def _served_by(self, model: str) -> tuple[str | None, ...]:
        """What clients ask for that a worker of this model can serve."""
        return (model, None) if self._default_model in (None, model) else (model,)

    def _serve_lines(self) -> None:
        """Gives free workers to those who are waiting for them."""
        if self._accepting and self._lines:
            for worker, model in tuple(self._free.items()):
                self._hand_over(worker, model)

    def _hand_over(self, worker: W, model: str) -> None:
        """Gives a free worker to who came first, if anybody is waiting for it."""
        waiting = self._lines.first(self._served_by(model))
        if waiting is not None:
            self._begin(worker)
            waiting.worker.set_result(worker)
            self._lines.leave(waiting)

    def _put_free(self, worker: W, model: str) -> None:
        self._free[worker] = model
        self._free_of.setdefault(model, OrderedDict())[worker] = None
        if self._accepting and self._lines:
            self._hand_over(worker, model)

    def _pop_free(self, worker: W) -> str:
        model = self._free.pop(worker)
        del self._free_of[model][worker]
        if not self._free_of[model]:
            del self._free_of[model]
        return model

    def _take_free(self, model: str | None) -> W | None:
        """Takes a free worker for a client that comes; those who are waiting can have none of them."""
        wanted = self._wanted(model)
        fitting = self._free if wanted is None else self._free_of.get(wanted)
        if not self._accepting or not fitting:
            return None
        worker = next(iter(fitting))
        self._begin(worker)
        return worker

    def _begin(self, worker: W) -> None:
        model = self._pop_free(worker)
        self._busy[worker] = model, self._clock()
        self._busy_of[model] += 1

    def _take_back(self, worker: W) -> None:
        """A client has left with a worker that it does not know of yet: the next one may have it."""
        busy = self._busy.pop(worker, None)
        if busy is not None:
            self._busy_of[busy[0]] -= 1
            self._put_free(worker, busy[0])
            self._changed()

    def _busy_model(self, worker: W) -> str:
        """The model of a worker that a client has just got; "" if the worker has left since."""
        return self._busy[worker][0] if worker in self._busy else ""

    def _can_be_had(self, model: str) -> bool:
        """Whether there may be clients that get a worker of this model."""
        return bool(model) or self._default_model is None

    def _models_text(self) -> str:
        named = ", ".join(sorted(filter(None, self._known_models)))
        return f"those that there are: {named}" if named else "the workers of this server name none"

    def _note_wait(self, wait: Wait) -> None:
        for listener in tuple(self._wait_listeners):
            listener(wait)

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener()
