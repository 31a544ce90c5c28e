"""The network as a graph of values.

A *value* is a set of rows that a step computes: an input, a row-wise value (parts gathered side by side, then
kernels), or a windowed value (a window over the rows of one other value, then kernels). `lowering` creates
the values from a network's nodes, and `simplify` reduces their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pykaldi_server.kaldi.nnet3.components import Kernel, Window
from pykaldi_server.kaldi.nnet3.parts import Part, leaves_of

__all__ = ["Graph", "InputValue", "RowValue", "Value", "WindowValue", "sources_of", "strongly_connected"]


@dataclass(frozen=True, eq=False)
class InputValue:
    """Rows that are provided from outside."""

    name: str
    dim: int


@dataclass(frozen=True, eq=False)
class RowValue:
    """Parts side by side, then kernels (without kernels, the parts are the value)."""

    name: str
    dim: int
    parts: tuple[Part, ...]
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, eq=False)
class WindowValue:
    """A window over the rows of another value, then kernels."""

    name: str
    dim: int
    source: int
    window: Window
    kernels: tuple[Kernel, ...]


Value = InputValue | RowValue | WindowValue


@dataclass(frozen=True, eq=False)
class Graph:
    """A simplified network.

    Attributes:
        values: values by number; gaps are values that were simplified away.
        inputs: numbers of the inputs that are needed, by name.
        output: number of the value that is the network's output.
        components: strongly connected components in the order of computation: values that depend on each
            other through time are in one component, every other value in its own.
    """

    values: dict[int, Value]
    inputs: dict[str, int]
    output: int
    components: tuple[tuple[int, ...], ...]


def sources_of(value: Value) -> Iterator[int]:
    """Yields the numbers of the values that a value reads, once per read."""
    match value:
        case RowValue(parts=parts):
            for part in parts:
                for leaf in leaves_of(part):
                    yield leaf.source
        case WindowValue(source=source):
            yield source


def strongly_connected(values: dict[int, Value]) -> tuple[tuple[int, ...], ...]:
    """Returns the strongly connected components of the graph, sources first (Tarjan 1972)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found: list[tuple[int, ...]] = []
    for root in sorted(values):
        if root in order:
            continue
        calls = [(root, iter(sorted(set(sources_of(values[root])))))]
        order[root] = low[root] = len(order)
        path.append(root)
        on_path.add(root)
        while calls:
            node, sources = calls[-1]
            for source in sources:
                if source not in order:
                    order[source] = low[source] = len(order)
                    path.append(source)
                    on_path.add(source)
                    calls.append((source, iter(sorted(set(sources_of(values[source]))))))
                    break
                if source in on_path:
                    low[node] = min(low[node], order[source])
            else:
                calls.pop()
                if calls:
                    low[calls[-1][0]] = min(low[calls[-1][0]], low[node])
                if low[node] == order[node]:
                    start = path.index(node)
                    found.append(tuple(sorted(path[start:])))
                    on_path.difference_update(path[start:])
                    del path[start:]
    return tuple(found)
