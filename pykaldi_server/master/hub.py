"""What the handlers of one master share."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pykaldi_server.master.access.access import Access
from pykaldi_server.master.connections import Connections
from pykaldi_server.master.limits import Sessions
from pykaldi_server.master.listeners import Listeners
from pykaldi_server.master.metrics import MasterMetrics
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.pool import Wait, WorkerPool
from pykaldi_server.protocols.client_secrets import ClientSecrets
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.store import StoreBudget
from pykaldi_server.protocols.worker import WorkerInfo

if TYPE_CHECKING:  # SQLAlchemy is loaded only by masters that keep states
    from pykaldi_server.master.request_log import RequestLog
    from pykaldi_server.master.states import StateKeeper

__all__ = ["Hub", "OpenRequest", "OpenSocket", "WorkerConnection"]


LARGE_MESSAGES = 2
"""For how many messages of the largest size there is memory while they arrive."""


class OpenSocket(Protocol):
    """A connection as the master's shutdown and metrics see it.

    Attributes:
        kind: what it is for, in a word.
        closed: see `close`.
    """

    kind: str
    closed: asyncio.Event

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Starts to close it; `closed` is set when that is done."""


class OpenRequest(Protocol):
    """A request as the master's shutdown and metrics see it."""

    @property
    def stored_bytes(self) -> int:
        """Bytes of the client's messages that wait for the worker."""

    async def cut_off(self, reason: str, patience_s: float) -> None:
        """Ends it with the words that its worker finds in the audio that it has; the client is told why."""


class WorkerConnection(Protocol):
    """A connected worker as a relay sees it. It serves one request."""

    info: WorkerInfo

    def begin(self, request: RequestInfo, position_bytes: int) -> bool:
        """Starts the request; False when the worker turns out to be gone."""

    def send(self, message: str | bytes) -> None:
        """Sends a message; it is dropped when the worker is gone."""

    async def read(self) -> str | bytes | None:
        """The next event or position; None when the worker has closed or is lost."""

    @property
    def is_closed_properly(self) -> bool:
        """Whether the worker has sent a close frame with no code or with that of a normal end."""

    @property
    def is_going_away(self) -> bool:
        """Whether the worker has closed because it is shutting down."""

    def release(self) -> None:
        """The request needs this worker no more; if the worker is still at it, this tells it to stop."""


@dataclass
class Hub:
    """State of a master. It lives as long as the master and is touched by its event loop only.

    Attributes:
        options: settings.
        access: who may do what.
        pool: connected workers.
        models: what the last worker of each named model has said about itself.
        listeners: programs that follow telephone calls.
        requests: every request that has begun and not ended.
        client_secrets: keys that clients of OpenAI's realtime API have been given.
        states: keeps the adaptation to users; None if it is not to be kept.
        request_log: writes requests down; None if that is not wanted.
        metrics: counts what happens.
        sockets: every open WebSocket and TCP connection, to be closed at shutdown.
        sessions: how many requests each caller has.
        stored: how much audio is stored for all requests.
        arriving: how much memory large messages and bodies take that are on their way.
        connections: how many connections are open.
        is_ending: no more requests begin, because the master is shutting down.
    """

    options: MasterOptions
    pool: WorkerPool[WorkerConnection] = field(default_factory=WorkerPool)
    models: dict[str, WorkerInfo] = field(default_factory=dict)
    listeners: Listeners = field(default_factory=Listeners)
    requests: set[OpenRequest] = field(default_factory=set)
    client_secrets: ClientSecrets = field(default_factory=ClientSecrets)
    states: "StateKeeper | None" = None
    request_log: "RequestLog | None" = None
    metrics: MasterMetrics = field(default_factory=MasterMetrics)
    sockets: set[OpenSocket] = field(default_factory=set)
    sessions: Sessions = field(default_factory=Sessions)
    stored: StoreBudget = field(init=False)
    arriving: StoreBudget = field(init=False)
    connections: Connections = field(init=False)
    is_ending: bool = False
    access: Access = field(init=False)

    def __post_init__(self) -> None:
        self.access = Access(self.options, self.client_secrets)
        self.pool.default_model = self.options.default_model
        self.stored = StoreBudget(self.options.store_total_bytes)
        self.arriving = StoreBudget(LARGE_MESSAGES * self.options.max_message_bytes)
        self.connections = Connections(lambda: self.options)
        self.pool.listen_to_waits(self._note_wait)

    def _note_wait(self, wait: Wait) -> None:
        """Counts a wait, under the name of the model if a worker has ever served that."""
        model = wait.model if wait.model in self.models else ""
        self.metrics.request_waited(model, wait.seconds, wait.is_served)

    def use(self, options: MasterOptions) -> None:
        """Changes the settings, for what comes from now on."""
        self.options = options
        self.stored.limit_bytes = options.store_total_bytes
        self.arriving.limit_bytes = LARGE_MESSAGES * options.max_message_bytes

    def forget_model(self, name: str) -> None:
        """A model is served no more: clients that ask for it are told that there is none of its name."""
        self.models.pop(name, None)
        self.pool.forget_model(name)
