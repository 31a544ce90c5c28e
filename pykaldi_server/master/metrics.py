"""What a master counts, for Prometheus.

Counting costs next to nothing per message: requests count for themselves (`RequestRecord`), and their sums
are made when the metrics are asked for. Labels have few values: protocols and outcomes are the program's own
names, and models are those that workers serve, never what a client asks for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pykaldi_server.master.records import Delays, RequestRecord
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
from pykaldi_server.protocols.worker import Position

__all__ = ["MasterMetrics"]

WAITS_S = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
DURATIONS_S = (1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800)
SIZES_BYTES = (1e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 1e10)

MOST_MODELS = 100
"""Further models are counted together: a worker chooses the name of its model."""
OTHER_MODELS = "other"

_SUMS: tuple[tuple[str, str, Callable[[RequestRecord], float]], ...] = (
    ("received_bytes", "bytes received in messages of clients", lambda record: record.received_bytes),
    ("sent_bytes", "bytes of results, as workers sent them", lambda record: record.sent_bytes),
    ("audio_seconds", "seconds of audio recognised", lambda record: record.audio_s),
    ("recognition_cpu_seconds", "CPU seconds that workers took for it", lambda record: record.cpu_s),
)


_Sums = dict[tuple[str, str], list[float]]
"""The numbers of `_SUMS`, by protocol and model."""


class MasterMetrics(Collector):
    """Counts requests, audio, errors and workers. It belongs to the master's event loop.

    Attributes:
        registry: what `/metrics` shows of it.
        errors: number of errors by kind.
        partials, finals: delays of all results so far.
    """

    def __init__(self) -> None:
        self.registry = process_registry(self)
        make = partial(histogram, self.registry)
        self.errors: Counter[str] = Counter()
        self.partials, self.finals = Delays(), Delays()
        self._running: set[RequestRecord] = set()
        self._models: set[str] = {""}
        self._ended: Counter[tuple[str, str, str]] = Counter()  # by protocol, model, outcome
        self._sums: _Sums = {}  # of ended requests
        self._workers_connected: Counter[str] = Counter()
        self._workers_lost: Counter[str] = Counter()
        self._queue_wait = make(
            "queue_wait_seconds", "time that a request waited for a worker", WAITS_S, "model", "outcome"
        )
        self._duration = make(
            "request_duration_seconds", "time from begin to end of a request", DURATIONS_S, "protocol"
        )
        self._size = make(
            "request_received_bytes", "bytes that a request received from its client", SIZES_BYTES, "protocol"
        )
        self._factor = make(
            "real_time_factor", "CPU seconds of the worker per second of audio of a request", FACTORS, "model"
        )
        self._partial_delay = make(
            "partial_delay_seconds",
            PARTIAL_DELAY,
            DELAYS_S,
            "protocol",
        )
        self._final_delay = make(
            "final_delay_seconds",
            FINAL_DELAY,
            DELAYS_S,
            "protocol",
        )

    def request_begins(self, record: RequestRecord) -> None:
        """A request begins to look for a worker."""
        self._running.add(record)

    def request_waited(self, model: str, seconds: float, is_served: bool) -> None:
        """A request waits no more, because it has got a worker of the model or because it never will."""
        outcome = "served" if is_served else "not_served"
        self._queue_wait.labels(self.model_label(model), outcome).observe(seconds)

    def results_sent(self, record: RequestRecord, position: Position) -> None:
        """A worker says how long its latest results took."""
        for found, total, delays_s in (
            (self._partial_delay, self.partials, position.partial_delays_s),
            (self._final_delay, self.finals, position.final_delays_s),
        ):
            total.add(delays_s)
            if delays_s:
                of_protocol = found.labels(record.protocol)
                for delay_s in delays_s:
                    of_protocol.observe(delay_s)

    def totals(self) -> dict[str, float]:
        """What has been done since the start, of which two give a rate: see `docs/protocol.md`."""
        sums = {name: 0.0 for name, _, _ in _SUMS}
        for each in self._all_sums().values():
            for (name, _, _), value in zip(_SUMS, each, strict=True):
                sums[name] += value
        return {
            "audio_s": round(sums["audio_seconds"], 3),
            "cpu_s": round(sums["recognition_cpu_seconds"], 3),
            "num_partials": self.partials.count,
            "partial_delay_s": round(self.partials.total_s, 4),
            "num_finals": self.finals.count,
            "final_delay_s": round(self.finals.total_s, 4),
        }

    def request_ends(self, record: RequestRecord) -> None:
        """A request has ended."""
        self._running.discard(record)
        model = self.model_label(record.model)
        self._ended[record.protocol, model, record.outcome] += 1
        _add(self._sums, record, model)
        if record.error:
            self.errors[record.error] += 1
        self._duration.labels(record.protocol).observe(record.duration_s)
        self._size.labels(record.protocol).observe(record.received_bytes)
        if (factor := record.real_time_factor) is not None:
            self._factor.labels(model).observe(factor)

    def worker_connects(self, model: str) -> None:
        """A worker has connected."""
        self._workers_connected[self.model_label(model)] += 1

    def worker_lost(self, model: str) -> None:
        """The connection to a worker has broken, with or without a request."""
        self._workers_lost[self.model_label(model)] += 1

    def describe(self) -> Iterable[Metric]:
        """Leaves it to the first scrape which metrics there are."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield build("build", "version of the server")
        yield from self._collect_requests()
        yield counter(
            "errors", "errors by kind", ("kind",), (((kind,), count) for kind, count in self.errors.items())
        )
        yield counter(
            "worker_connections",
            "connections of workers; each serves one request",
            ("model",),
            (((model,), count) for model, count in self._workers_connected.items()),
        )
        yield counter(
            "worker_losses",
            "connections of workers that broke, or were silent for too long",
            ("model",),
            (((model,), count) for model, count in self._workers_lost.items()),
        )

    def _collect_requests(self) -> Iterator[Metric]:
        running: Counter[tuple[str]] = Counter({(protocol,): 0 for protocol, _ in self._sums})
        running.update((record.protocol,) for record in self._running)
        sums = self._all_sums()
        yield gauge(
            "requests_running", "requests that have begun and not ended", ("protocol",), running.items()
        )
        yield counter(
            "requests", "requests that have ended", ("protocol", "model", "outcome"), self._ended.items()
        )
        for number, (name, text, _) in enumerate(_SUMS):
            values = ((key, each[number]) for key, each in sums.items())
            yield counter(name, text, ("protocol", "model"), values)

    def _all_sums(self) -> _Sums:
        """The sums over requests that have ended and those that run."""
        sums = {key: list(values) for key, values in self._sums.items()}
        for record in self._running:
            _add(sums, record, self.model_label(record.model))
        return sums

    def model_label(self, model: str) -> str:
        """The value of the label for a model that a worker serves."""
        if model in self._models:
            return model
        if len(self._models) > MOST_MODELS:
            return OTHER_MODELS
        self._models.add(model)
        return model


def _add(sums: _Sums, record: RequestRecord, model: str) -> None:
    """Adds the numbers of a request."""
    values = sums.setdefault((record.protocol, model), [0.0] * len(_SUMS))
    for number, (_, _, value) in enumerate(_SUMS):
        values[number] += value(record)
