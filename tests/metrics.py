"""Reads metrics as Prometheus does."""

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Metrics", "documented", "table"]


class Metrics:
    """The samples of one scrape.

    Args:
        text: what the server has answered.
    """

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self._families
            for sample in family.samples
        }
        count = sum(len(family.samples) for family in self._families)
        assert len(self._samples) == count, "a sample appears twice"

    @property
    def families(self) -> dict[str, str]:
        """The help of each metric by its name, counters with their ``_total``."""
        return {
            f"{family.name}_total" if family.type == "counter" else family.name: family.documentation
            for family in self._families
        }

    def value(self, name: str, **labels: str) -> float:
        """The value of a sample."""
        return self._samples[f"pykaldi_server_{name}", frozenset(labels.items())]

    def count(self, name: str, **labels: str) -> float:
        """The value of a counter; 0 while nothing has been counted."""
        return self._samples.get((f"pykaldi_server_{name}", frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> set[str]:
        """All values of labels of a metric's samples."""
        return {
            value
            for family in self._families
            for sample in family.samples
            if sample.name == f"pykaldi_server_{name}"
            for value in sample.labels.values()
        }


def table(text: str) -> set[str]:
    """The lines of a table that describes the metrics of a scrape, without those of the process."""
    lines = set()
    for family in text_string_to_metric_families(text):
        if family.name.startswith("process_") or family.name.endswith("_created"):
            continue
        assert family.samples, f"no sample of {family.name}, so its labels do not show"
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        lines.add(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return lines


def documented(document: str, prefix: str) -> set[str]:
    """The lines of tables in a document about metrics whose names begin so."""
    return {line for line in document.splitlines() if line.startswith(f"| `{prefix}")}
