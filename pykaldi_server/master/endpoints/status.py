"""How the server is doing: for people (status socket), orchestrators (health) and Prometheus (metrics)."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from tornado.ioloop import PeriodicCallback
from tornado.web import RequestHandler
from tornado.websocket import WebSocketClosedError

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.access import Part
from pykaldi_server.master.access.visitors import visitor_of
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.metrics import counter, gauge
from pykaldi_server.protocols.gstreamer import parse_query
from pykaldi_server.protocols.messages import POLICY_VIOLATION, Message, dumps, excerpt
from pykaldi_server.version import __version__

__all__ = [
    "HealthHandler",
    "HubCollector",
    "MetricsHandler",
    "ReadinessHandler",
    "StatusSocket",
    "status_message",
]

SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 1.0, 3600.0


def status_message(hub: Hub) -> Message:
    """What the status socket says; the first two are the original's."""
    status = hub.pool.status()
    return {
        "num_workers_available": status.available,
        "num_requests_processed": status.processed,
        "num_requests_active": status.busy,
        "num_requests_waiting": status.waiting,
        "models": {
            model: {"available": free, "busy": busy, "waiting": hub.pool.num_waiting_for(model)}
            for model, (free, busy) in status.models.items()
        },
        "languages": {info.model: info.language for info in hub.models.values() if info.language},
        "default_model": hub.pool.default_model or "",
    }


class StatusSocket(LiveSocket):
    """Serves `/client/ws/status`: the status on connect and on every change.

    Who asks for it (``?every=SECONDS``) is sent it at that interval, too, with sums that give rates.
    A slow listener is sent the newest status when it has taken the last one, not every one between.
    """

    kind = "status"
    PART = Part.STATUS

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self._unlisten: Callable[[], None] | None = None
        self._sending = False
        self._stale = False
        self._clock: PeriodicCallback | None = None
        self._totals: Message = {}  # of the last tick; a sum over all requests is too much at each change

    async def opened(self) -> None:
        try:
            every_s = _parse_interval(parse_query(self.request.query).get("every"))
        except ProtocolError as error:
            self.close(POLICY_VIOLATION, str(error))
            return
        self._unlisten = self.hub.pool.listen(self._send)
        if every_s is None:
            self._send()
            return
        self._clock = PeriodicCallback(self._tick, 1000 * every_s)
        self._clock.start()
        self._tick()

    def ended(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
        if self._clock is not None:
            self._clock.stop()

    def _tick(self) -> None:
        self._totals = {"totals": {"time_s": round(time.monotonic(), 3), **self.hub.metrics.totals()}}
        self._send()

    def _send(self) -> None:
        if self._sending:
            self._stale = True
            return
        try:
            written = self.write_message(dumps({**status_message(self.hub), **self._totals}))
        except WebSocketClosedError:
            return
        self._sending, self._stale = True, False
        written.add_done_callback(self._sent)

    def _sent(self, written: "asyncio.Future[Any]") -> None:
        self._sending = False
        if not written.cancelled() and written.exception() is None and self._stale:
            self._send()


def _parse_interval(text: str | None) -> float | None:
    """Reads an interval in seconds; None if there is none.

    Raises:
        ProtocolError: it is something else, or out of bounds.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST_INTERVAL_S <= seconds <= LONGEST_INTERVAL_S:
        bounds = f"{SHORTEST_INTERVAL_S:g} to {LONGEST_INTERVAL_S:g}"
        raise ProtocolError(f"every: expected seconds from {bounds}, found {excerpt(text)}")
    return seconds


class _OpenHandler(RequestHandler):
    """The base of addresses that say more to those for whom the status is."""

    PART = Part.HEALTH

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub

    @property
    def is_for_status(self) -> bool:
        """Whether the status is for who asks."""
        return self.hub.access.refusal(visitor_of(self.request), Part.STATUS) is None


class HealthHandler(_OpenHandler):
    """Serves `/healthz`: 200 as long as the process can answer."""

    def get(self) -> None:
        """Says ok, and which version to those for whom the status is."""
        self.write({"status": "ok", **({"version": __version__} if self.is_for_status else {})})

    head = get


class ReadinessHandler(_OpenHandler):
    """Serves `/readyz`: 200 when a worker is connected, free or busy, and the master is not shutting down."""

    def get(self) -> None:
        """Says whether requests can be served at all."""
        status = self.hub.pool.status()
        ready = status.accepting and status.available + status.busy > 0
        self.set_status(200 if ready else 503)
        self.write({"ready": ready, **(status_message(self.hub) if self.is_for_status else {})})

    head = get


class HubCollector(Collector):
    """The present state of a master as Prometheus metrics."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def describe(self) -> Iterable[Metric]:
        """Leaves it to the scrape which metrics there are."""
        return ()

    def collect(self) -> Iterator[Metric]:
        hub = self._hub
        status = hub.pool.status()
        slots: Counter[tuple[str, ...]] = Counter()
        for model, (free, busy) in status.models.items():
            label = hub.metrics.model_label(model)
            slots[label, "free"] += free
            slots[label, "busy"] += busy
        yield gauge(
            "slots",
            "requests that the connected workers can serve at once",
            ("model", "state"),
            slots.items(),
        )
        yield gauge("requests_waiting", "requests that wait for a worker", (), [((), status.waiting)])
        connections = Counter((each.kind,) for each in hub.sockets)
        yield gauge("connections", "open WebSocket and TCP connections", ("kind",), connections.items())
        stored_bytes = sum(each.stored_bytes for each in hub.requests)
        yield gauge(
            "stored_bytes",
            "bytes received from clients that wait for their workers",
            (),
            [((), stored_bytes)],
        )
        if hub.request_log is not None:
            log = hub.request_log
            yield gauge(
                "request_log_waiting", "requests that wait to be written down", (), [((), log.num_waiting)]
            )
            yield counter(
                "request_log_rows",
                "requests written down, or dropped because the database was gone for too long",
                ("result",),
                [(("written",), log.num_written), (("dropped",), log.num_dropped)],
            )
            yield gauge(
                "request_log_up",
                "whether the last use of the request log's database succeeded",
                (),
                [((), not log.failure)],
            )
        if hub.states is not None:
            is_up = not hub.states.failure
            yield gauge("database_up", "whether the last use of the database succeeded", (), [((), is_up)])
            yield counter(
                "database_failures", "uses of the database that failed", (), [((), hub.states.num_failures)]
            )


class MetricsHandler(RequestHandler):
    """Serves `/metrics`."""

    PART = Part.METRICS

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self._hub = hub

    def get(self) -> None:
        """The metrics in Prometheus' text format."""
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        present = CollectorRegistry()
        present.register(HubCollector(self._hub))
        self.write(generate_latest(present) + generate_latest(self._hub.metrics.registry))

    head = get
