"""Which workers are connected, which of them are free, and how many requests there have been.

A worker's socket is *free* from when it connects until a client gets it; then it is *busy* until it closes,
because one socket serves one request. The pool belongs to the master's event loop; no other thread uses it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A picture of the pool.

    Attributes:
        available: number of free workers.
        busy: number of requests that are being served.
        processed: number of requests that have ended since the master started.
        refused: number of times that a client found no free worker since the master started.
        accepting: False while no client gets a worker, at start and at shutdown.
        models: for each model with a connected worker, the number of free workers and of busy ones.
    """

    available: int
    busy: int
    processed: int
    refused: int
    accepting: bool
    models: dict[str, tuple[int, int]]

    @property
    def can_serve(self) -> bool:
        """True when a client would get a worker now."""
        return self.accepting and self.available > 0


class WorkerPool(Generic[W]):
    """The workers of a master, keyed by the model that they serve.

    Attributes:
        default_model: what a client gets that names no model; None gives it any free worker. Workers of the
            original project name no model (""): those serve only clients that name none, without a default.
    """

    def __init__(self, default_model: str | None = None) -> None:
        self.default_model = default_model
        self._free: dict[W, str] = {}
        self._busy: dict[W, str] = {}
        self._processed = 0
        self._refused = 0
        self._accepting = True
        self._listeners: list[Callable[[], None]] = []

    @property
    def accepting(self) -> bool:
        """Whether clients get workers; at start and at shutdown they do not."""
        return self._accepting

    @accepting.setter
    def accepting(self, accepting: bool) -> None:
        self._accepting = accepting
        self._changed()

    def add(self, worker: W, model: str) -> None:
        """A worker has connected and is free."""
        self._free[worker] = model
        self._changed()

    def acquire(self, model: str | None = None) -> W | None:
        """Takes the free worker of a model (None: the default) that has waited longest, if there is one."""
        wanted = model if model is not None else self.default_model
        for worker, its_model in self._free.items():
            if self._accepting and wanted in (None, its_model):
                del self._free[worker]
                self._busy[worker] = its_model
                self._changed()
                return worker
        self._refused += 1
        return None

    def remove(self, worker: W) -> None:
        """A worker's socket has closed or will; its request, if any, has ended. May be called again."""
        if self._busy.pop(worker, None) is not None:
            self._processed += 1
        elif self._free.pop(worker, None) is None:
            return
        self._changed()

    def status(self) -> PoolStatus:
        """A picture of the present state."""
        free, busy = Counter(self._free.values()), Counter(self._busy.values())
        models = {model: (free[model], busy[model]) for model in sorted({*free, *busy})}
        return PoolStatus(
            available=len(self._free),
            busy=len(self._busy),
            processed=self._processed,
            refused=self._refused,
            accepting=self._accepting,
            models=models,
        )

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has `listener` called after every change; the function that this returns ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener()
