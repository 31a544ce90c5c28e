"""Which workers are connected, which of them are free, who waits for one, and how many requests there have
been.

A worker's socket is *free* from when it connects until a client gets it; then it is *busy* until it closes,
because one socket serves one request. A client that finds no free worker waits in a queue for a short time: a
slot comes back some milliseconds after the answer of the request before. The pool belongs to the master's
event loop; no other thread uses it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pykaldi_server.errors import PykaldiServerError

__all__ = ["PoolStatus", "UnavailableError", "UnknownModelError", "WorkerPool"]

W = TypeVar("W")


class UnavailableError(PykaldiServerError):
    """No worker has become free in time."""


class UnknownModelError(UnavailableError):
    """No worker has ever served the model that a client asks for."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[W]):
    """A client in the queue."""

    model: str | None
    worker: "asyncio.Future[W]"


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
        self._queue: list[_Waiting[W]] = []
        self._known_models: set[str] = set()
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
        self._serve_queue()
        self._changed()

    def add(self, worker: W, model: str) -> None:
        """A worker has connected and is free."""
        self._free[worker] = model
        self._known_models.add(model)
        self._serve_queue()
        self._changed()

    async def acquire(self, model: str | None = None, wait_s: float = 0.0) -> W:
        """Takes the free worker of a model that has waited longest; first come, first served.

        Args:
            model: the model that the client asks for; None is the default.
            wait_s: how long to wait for a worker to become free.

        Raises:
            UnknownModelError: there is no such model; the text says which there are.
            UnavailableError: no worker has become free in time.
        """
        if model is not None and self._known_models and model not in self._known_models:
            self._refused += 1
            raise UnknownModelError(f"there is no model {model!r}; {self._models_text()}")
        waiting: _Waiting[W] = _Waiting(model, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._serve_queue()
        self._changed()
        try:
            if not waiting.worker.done():
                await asyncio.wait([waiting.worker], timeout=wait_s)
            if waiting.worker.done():
                return waiting.worker.result()
        except asyncio.CancelledError:
            if waiting.worker.done():
                self._take_back(waiting.worker.result())
            raise
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
                self._changed()
        self._refused += 1
        raise UnavailableError("No decoder available, try again later")

    def remove(self, worker: W) -> None:
        """A worker's socket has closed or will; its request, if any, has ended. May be called again."""
        if self._busy.pop(worker, None) is not None:
            self._processed += 1
        elif self._free.pop(worker, None) is None:
            return
        self._changed()

    def status(self) -> PoolStatus:
        """A picture of the current state."""
        free, busy = Counter(self._free.values()), Counter(self._busy.values())
        models = {model: (free[model], busy[model]) for model in sorted({*free, *busy})}
        return PoolStatus(
            available=sum(map(self._can_be_had, self._free.values())) if self._accepting else 0,
            busy=len(self._busy),
            waiting=len(self._queue),
            processed=self._processed,
            refused=self._refused,
            accepting=self._accepting,
            models=models,
        )

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has `listener` called after every change; the function that this returns ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _serve_queue(self) -> None:
        """Gives free workers to the clients that wait for them, in the order in which they came."""
        if not self._accepting:
            return
        for waiting in tuple(self._queue):
            wanted = waiting.model if waiting.model is not None else self.default_model
            worker = next((w for w, model in self._free.items() if wanted in (None, model)), None)
            if worker is not None and not waiting.worker.done():
                self._busy[worker] = self._free.pop(worker)
                self._queue.remove(waiting)
                waiting.worker.set_result(worker)

    def _take_back(self, worker: W) -> None:
        """A client has left with a worker that it does not know of yet: the next one may have it."""
        model = self._busy.pop(worker, None)
        if model is not None:
            self._free[worker] = model
            self._serve_queue()
            self._changed()

    def _can_be_had(self, model: str) -> bool:
        """Whether there may be clients that get a worker of this model."""
        return bool(model) or self.default_model is None

    def _models_text(self) -> str:
        named = ", ".join(sorted(filter(None, self._known_models)))
        return f"those that there are: {named}" if named else "the workers of this server name none"

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener()
