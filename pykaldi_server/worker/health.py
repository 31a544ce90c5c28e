"""How a worker process is doing, over HTTP on a port of its own: `/healthz`, `/readyz` and `/metrics`.

It is served by the event loop that serves requests, so an answer shows that the loop turns. It is there
before the model is loaded.
"""

import logging
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from pykaldi_server.metrics import (
    DELAYS_S,
    FACTORS,
    FINAL_DELAY,
    PARTIAL_DELAY,
    build,
    counter,
    gauge,
    histogram,
    process_registry,
)
from pykaldi_server.protocols.addresses import shown_url
from pykaldi_server.protocols.messages import Status
from pykaldi_server.session.events import Event, Final
from pykaldi_server.version import __version__
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.statistics import CANCELLED, RequestStatistics, WorkerStatistics
from pykaldi_server.worker.worker import HANG_S, Worker

__all__ = ["HealthServer", "Watched", "WorkerMetrics"]

logger = logging.getLogger(__name__)

NO_ERROR = (Status.SUCCESS.name.lower(), CANCELLED)
MAX_BODY_BYTES = 1024


class Watched(Protocol):
    """What is reported of: a worker process.

    Attributes:
        statistics: of all its requests.
        load_s: how long loading the present model took, in seconds.
    """

    statistics: WorkerStatistics
    load_s: float

    @property
    def workers(self) -> Sequence[Worker]:
        """Those that serve requests. The last one takes new ones; there is none until a model is loaded."""


def slots_of(process: Watched) -> dict[str, int]:
    """Number of slots by state, see `Worker.slots`."""
    states: Counter[str] = Counter({"free": 0, "busy": 0, "disconnected": 0})
    for worker in process.workers:
        states.update(worker.slots)
    return dict(states)


class WorkerMetrics(Collector):
    """The statistics of a worker process, for Prometheus.

    Args:
        process: whose.

    Attributes:
        registry: all of it, with the process's memory, CPU time and files.
    """

    def __init__(self, process: Watched) -> None:
        self.registry = process_registry(self)
        self._process = process
        make = partial(histogram, self.registry)
        self._partial_delay = make("worker_partial_delay_seconds", PARTIAL_DELAY, DELAYS_S)
        self._final_delay = make("worker_final_delay_seconds", FINAL_DELAY, DELAYS_S)
        self._factor = make(
            "worker_real_time_factor", "CPU seconds per second of audio of a request", FACTORS
        )
        process.statistics.observe = self._observe
        process.statistics.ended = self._ended

    def describe(self) -> Iterable[Metric]:
        """Leaves it to the first scrape which metrics there are."""
        return ()

    def collect(self) -> Iterator[Metric]:
        process = self._process
        outcomes = process.statistics.outcomes
        model = {"model": process.workers[-1].model.name} if process.workers else {}
        yield build("worker_build", "version of the worker, and its model", **model)
        slots = {(state,): count for state, count in slots_of(process).items()}
        yield gauge("worker_slots", "slots by state", ("state",), slots.items())
        ended = {(outcome,): count for outcome, count in outcomes.items()}
        yield counter("worker_requests", "requests that have ended", ("outcome",), ended.items())
        errors = {(kind,): count for kind, count in outcomes.items() if kind not in NO_ERROR}
        yield counter("worker_errors", "errors by kind", ("kind",), errors.items())
        for make, name, text, value in (
            (counter, "audio_seconds", "seconds of audio recognised", process.statistics.audio_s),
            (counter, "recognition_cpu_seconds", "CPU seconds that it took", process.statistics.cpu_s),
            (gauge, "model_load_seconds", "time that loading the model took", process.load_s),
            (
                gauge,
                "longest_step_seconds",
                "time since the oldest of the steps that the recogniser is at has begun",
                _longest_step_s(process),
            ),
        ):
            yield make(f"worker_{name}", text, (), [((), value)])

    def _observe(self, event: Event, delay_s: float) -> None:
        (self._final_delay if isinstance(event, Final) else self._partial_delay).observe(delay_s)

    def _ended(self, request: RequestStatistics) -> None:
        if request.audio_s > 0:
            self._factor.observe(request.cpu_s / request.audio_s)


class HealthServer:
    """Serves the three addresses from construction until `stop`.

    Args:
        options: where to listen; 0 picks a free port.
        process: what to report of.
        may_share_port: another process may have the same port.

    Attributes:
        port: the port.

    Raises:
        OSError: the address cannot be had; the text names it.
    """

    def __init__(self, options: WorkerOptions, process: Watched, may_share_port: bool = False) -> None:
        self.metrics = WorkerMetrics(process)
        self._process = process
        self._masters = " or ".join(map(shown_url, options.url))
        shared = {"server": self}
        application = Application(
            [
                (r"/healthz", _Health, shared),
                (r"/readyz", _Readiness, shared),
                (r"/metrics", _Metrics, shared),
            ],
            log_function=_log_http,
        )
        self._server = HTTPServer(application, max_body_size=MAX_BODY_BYTES)
        host, port = options.health_host, options.health_port or 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, reuse_port=may_share_port)
        except OSError as error:
            where = f"{host or '(all addresses)'}, port {port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        listening.setblocking(False)
        self._server.add_socket(listening)
        self.port = int(listening.getsockname()[1])
        logger.info("health and metrics on %s, port %d", host, self.port)

    def stop(self) -> None:
        """Accepts no more connections."""
        self._server.stop()

    def slots(self) -> dict[str, int]:
        """Number of slots by state."""
        return slots_of(self._process)

    def faults(self) -> list[str]:
        """What is wrong with the process, so that only a restart helps; empty if it is well."""
        stuck_s = _longest_step_s(self._process)
        return [f"a recogniser has shown no progress for {stuck_s:.0f} s"] if stuck_s >= HANG_S else []

    def missing(self) -> list[str]:
        """Why no request can be served; empty if one can."""
        workers = self._process.workers
        if not workers:
            return ["the model is being loaded"]
        missing = self.faults()
        slots = self.slots()
        if workers[-1].is_draining:
            missing.append("the worker is shutting down")
        elif not slots["free"] + slots["busy"]:
            missing.append(f"no slot is connected to the master at {self._masters}")
        return missing


class _Handler(RequestHandler):
    def initialize(self, server: HealthServer) -> None:
        self._health = server


class _Health(_Handler):
    """Serves `/healthz`: 200 unless a recogniser is stuck."""

    def get(self) -> None:
        faults = self._health.faults()
        self.set_status(503 if faults else 200)
        self.write(
            {
                "status": "failing" if faults else "ok",
                "version": __version__,
                "faults": faults,
                "slots": self._health.slots(),
            }
        )

    head = get


class _Readiness(_Handler):
    """Serves `/readyz`: 200 when the model is loaded and a slot is connected to the master."""

    def get(self) -> None:
        missing = self._health.missing()
        self.set_status(503 if missing else 200)
        self.write({"ready": not missing, "missing": missing})

    head = get


class _Metrics(_Handler):
    """Serves `/metrics`, in Prometheus' text format."""

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(generate_latest(self._health.metrics.registry))

    head = get


def _log_http(handler: RequestHandler) -> None:
    request = handler.request
    logger.debug("%s %s %d", request.method, request.path, handler.get_status())


def _longest_step_s(process: Watched) -> float:
    return max((each.longest_step_s() for each in process.workers), default=0.0)
