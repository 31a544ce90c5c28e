"""How many frames of context a network needs, and whether it depends on its own future."""

from pykaldi_server.kaldi.nnet3.components.base import Index
from pykaldi_server.kaldi.nnet3.graph import Graph, RowValue, Value, WindowValue
from pykaldi_server.kaldi.nnet3.parts import Leaf, Shift, leaves_of
from pykaldi_server.kaldi.nnet3.resolve import Resolver, UnresolvableError

__all__ = ["backward_recurrence", "compute_simple_nnet_context"]

_WINDOWS = (100, 300, 900)


def compute_simple_nnet_context(graph: Graph, modulus: int) -> tuple[int, int]:
    """Returns the input frames that an output frame requires before and after its own.

    Like ComputeSimpleNnetContext in ``nnet3/nnet-utils.cc``, this determines which outputs can be computed
    from a window of input frames, for each start of the window modulo the modulus, because the answer may
    depend on it. Optional inputs do not count.

    Raises:
        UnresolvableError: no output can be computed from a window of 900 frames.
    """
    left, right = zip(*(_context_from(graph, start, modulus) for start in range(modulus)), strict=True)
    return max(left), max(right)


def _context_from(graph: Graph, start: int, modulus: int) -> tuple[int, int]:
    for window in _WINDOWS:
        times = [(t, 0) for t in range(start, start + window)]
        ivector_times: list[Index] = [(t, 0) for t in range(min(start - modulus, 0), start + window)]
        found = Resolver(graph).computable({"input": times, "ivector": ivector_times}, times)
        if True in found:
            first = found.index(True)
            length = [*found[first:], False].index(False)
            return first, window - first - length
    raise UnresolvableError(f"no output frame can be computed from {_WINDOWS[-1]} frames of input")


def backward_recurrence(graph: Graph) -> str | None:
    """Returns the name of a value that depends on itself at a later time; None if there is none."""
    for component in graph.components:
        members = set(component)
        reads = [
            (number, source, latest)
            for number in component
            for source, latest in _latest_reads(graph.values[number])
            if source in members
        ]
        # Bellman-Ford for the longest path: without a cycle into the future, it ends after a round per
        # member.
        latest_time = dict.fromkeys(component, 0)
        for _ in range(len(component) + 1):
            changed = None
            for number, source, latest in reads:
                if latest_time[number] + latest > latest_time[source]:
                    latest_time[source] = latest_time[number] + latest
                    changed = graph.values[source].name
            if changed is None:
                break
        else:
            return changed
    return None


def _latest_reads(value: Value) -> list[tuple[int, int]]:
    """Returns the values that a value reads, each with the latest time relative to its own."""
    if isinstance(value, WindowValue):
        times, _ = value.window.input_times(0) or ((0,), ())
        return [(value.source, max(times))]
    if not isinstance(value, RowValue):
        return []
    return [(leaf.source, _latest(leaf)) for part in value.parts for leaf in leaves_of(part)]


def _latest(leaf: Leaf) -> int:
    return sum(step.dt for step in leaf.maps if isinstance(step, Shift))
