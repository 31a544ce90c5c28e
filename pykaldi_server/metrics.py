"""What the metrics of masters and workers have in common: how they are made for Prometheus."""

from collections.abc import Iterable, Sequence
from platform import python_version

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pykaldi_server.version import __version__

__all__ = [
    "DELAYS_S",
    "FACTORS",
    "FINAL_DELAY",
    "PARTIAL_DELAY",
    "Values",
    "build",
    "counter",
    "gauge",
    "histogram",
    "process_registry",
]

PREFIX = "pykaldi_server"
DELAYS_S = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
FACTORS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5)
PARTIAL_DELAY = "time from when the latest audio in a partial result had been received to when that was sent"
FINAL_DELAY = "time from when the end of a segment had been received to when its final result was sent"

Values = Iterable[tuple[tuple[str, ...], float]]
"""Values by those of the labels."""


def counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """A counter with the value for each combination of labels; its name ends in ``_total``."""
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """A gauge with the value for each combination of labels."""
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def build(name: str, text: str, **more: str) -> Metric:
    """Which versions a process has, and what else is said of it."""
    return InfoMetricFamily(
        f"{PREFIX}_{name}", text, value={"version": __version__, "python": python_version(), **more}
    )


def histogram(
    registry: CollectorRegistry, name: str, text: str, bounds: Sequence[float], *labels: str
) -> Histogram:
    """A histogram that is part of a registry."""
    return Histogram(f"{PREFIX}_{name}", text, labels, buckets=bounds, registry=registry)


def process_registry(collector: Collector) -> CollectorRegistry:
    """A registry with what a collector has, and the memory, CPU time and files of this process."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry
