"""How the server is doing: for people (status socket), orchestrators (health) and Prometheus (metrics)."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from tornado.web import RequestHandler
from tornado.websocket import WebSocketClosedError

from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.pool import PoolStatus
from pykaldi_server.protocols.messages import Message, dumps
from pykaldi_server.version import __version__

__all__ = [
    "HealthHandler",
    "MetricsHandler",
    "PoolCollector",
    "ReadinessHandler",
    "StatusSocket",
    "status_message",
]


def status_message(status: PoolStatus) -> Message:
    """What the status socket says; the first two are the original's."""
    return {
        "num_workers_available": status.available,
        "num_requests_processed": status.processed,
        "num_requests_active": status.busy,
        "num_requests_waiting": status.waiting,
        "models": {model: {"available": free, "busy": busy} for model, (free, busy) in status.models.items()},
    }


class StatusSocket(LiveSocket):
    """Serves `/client/ws/status`: the status on connect and on every change.

    A slow listener is sent the newest status when it has taken the last one, not every one between.
    """

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self._unlisten: Callable[[], None] | None = None
        self._sending = False
        self._stale = False

    async def opened(self) -> None:
        self._unlisten = self.hub.pool.listen(self._send)
        self._send()

    def ended(self) -> None:
        if self._unlisten is not None:
            self._unlisten()

    def _send(self) -> None:
        if self._sending:
            self._stale = True
            return
        try:
            written = self.write_message(dumps(status_message(self.hub.pool.status())))
        except WebSocketClosedError:
            return
        self._sending, self._stale = True, False
        written.add_done_callback(self._sent)

    def _sent(self, written: "asyncio.Future[Any]") -> None:
        self._sending = False
        if not written.cancelled() and written.exception() is None and self._stale:
            self._send()


class HealthHandler(RequestHandler):
    """Serves `/healthz`: 200 as long as the process can answer."""

    def get(self) -> None:
        """Says ok, and which version."""
        self.write({"status": "ok", "version": __version__})

    head = get


class ReadinessHandler(RequestHandler):
    """Serves `/readyz`: 200 when a worker is connected, free or busy, and the master is not shutting down."""

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub

    def get(self) -> None:
        """Says whether requests can be served at all."""
        status = self.hub.pool.status()
        ready = status.accepting and status.available + status.busy > 0
        self.set_status(200 if ready else 503)
        self.write({"ready": ready, **status_message(status)})

    head = get


class PoolCollector(Collector):
    """The pool's numbers as Prometheus metrics."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        status = self._hub.pool.status()
        free = GaugeMetricFamily("pykaldi_server_workers_available", "free workers", labels=["model"])
        busy = GaugeMetricFamily("pykaldi_server_requests_active", "requests being served", labels=["model"])
        for model, (free_count, busy_count) in status.models.items():
            free.add_metric([model], free_count)
            busy.add_metric([model], busy_count)
        yield free
        yield busy
        yield CounterMetricFamily(
            "pykaldi_server_requests_processed", "requests ended", value=status.processed
        )
        yield CounterMetricFamily(
            "pykaldi_server_requests_refused", "requests without a free worker", value=status.refused
        )
        if self._hub.states is not None:
            yield GaugeMetricFamily(
                "pykaldi_server_database_up",
                "whether the last use of the database succeeded",
                value=not self._hub.states.failure,
            )
            yield CounterMetricFamily(
                "pykaldi_server_database_failures",
                "uses of the database that failed",
                value=self._hub.states.num_failures,
            )


class MetricsHandler(RequestHandler):
    """Serves `/metrics`."""

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self._registry = CollectorRegistry()
        self._registry.register(PoolCollector(hub))

    def get(self) -> None:
        """The metrics in Prometheus' text format."""
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(generate_latest(self._registry))

    head = get
