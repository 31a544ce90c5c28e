"""The network as a graph of values, simplified without changing what Kaldi computes.

A *value* is a set of rows that a step computes: an input, a row-wise value (parts gathered side by side, then
kernels), or a windowed value (a window over the rows of one other value, then kernels). Nodes that only
rename, cut or pass on rows (dim-range, dropout in test mode, NoOp) leave no value behind. What is simplified:

* TdnnComponent becomes an affine kernel over shifted parts, DistributeComponent a choice of columns;
* a value that passes one other value on is replaced by that, and one that passes several parts to a single
  reader is put into the reader's parts;
* a value with a single reader at the same index takes over the reader's kernels (affine, rectifier and batch
  normalization become one step);
* scales and offsets are multiplied into the affine kernel before or after them, and affine kernels in
  sequence into one where that saves work.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pykaldi_server.kaldi.nnet3 import descriptor as d
from pykaldi_server.kaldi.nnet3.components import Component, Kernel, Window
from pykaldi_server.kaldi.nnet3.components.affine import Affine
from pykaldi_server.kaldi.nnet3.components.elementwise import Diagonal
from pykaldi_server.kaldi.nnet3.nnet import ComponentNode, DimRangeNode, InputNode, Nnet, OutputNode
from pykaldi_server.kaldi.nnet3.parts import (
    Constant,
    FirstOf,
    FixTime,
    FixX,
    IndexMap,
    Leaf,
    OneOf,
    Optional,
    Part,
    RoundDown,
    SelectTime,
    Shift,
    SplitX,
    SumOf,
    leaves_of,
    map_leaves,
    part_dim,
    shifted,
)


@dataclass(frozen=True, eq=False)
class InputValue:
    """Rows that come from outside."""

    name: str
    dim: int


@dataclass(frozen=True, eq=False)
class RowValue:
    """Parts side by side, then kernels (none: the parts are the value)."""

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
        values: by number; gaps in the numbers are values that were simplified away.
        inputs: numbers of the inputs by name (those that are needed).
        output: number of the value that is the network's output.
        components: strongly connected components in the order of computation: values that depend on each
            other through time are together, all others alone.
    """

    values: dict[int, Value]
    inputs: dict[str, int]
    output: int
    components: tuple[tuple[int, ...], ...]


def build_graph(nnet: Nnet, output: str = "output") -> Graph:
    """Builds the graph of what one output needs.

    Raises:
        ValueError: the network makes no sense in a way that reading it does not show.
    """
    builder = _Lowering(nnet)
    output_value = builder.lower(output)
    values = _simplify(builder.values, output_value)
    inputs = {value.name: number for number, value in values.items() if isinstance(value, InputValue)}
    return Graph(values, inputs, output_value, strongly_connected(values))


def sources_of(value: Value) -> Iterator[int]:
    """Yields the numbers of the values that a value reads, repeated as often as it does."""
    match value:
        case RowValue(parts=parts):
            for part in parts:
                for leaf in leaves_of(part):
                    yield leaf.source
        case WindowValue(source=source):
            yield source


class _Lowering:
    """Turns the nodes that an output needs into values, one for one."""

    def __init__(self, nnet: Nnet):
        self._nnet = nnet
        self._numbers: dict[str, int] = {}
        self._todo: list[str] = []
        self.values: dict[int, Value] = {}

    def lower(self, output: str) -> int:
        """Lowers an output and all that it needs; returns its number."""
        number = self._number(output)
        while self._todo:
            name = self._todo.pop()
            self._lower_node(name)
        return number

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers)
            self._todo.append(name)
        return self._numbers[name]

    def _lower_node(self, name: str) -> None:
        number = self._numbers[name]
        match self._nnet.nodes[name]:
            case InputNode(dim=dim):
                self.values[number] = InputValue(name, dim)
            case OutputNode(input=descriptor):
                parts = self._parts(descriptor)
                self.values[number] = RowValue(name, sum(map(part_dim, parts)), parts, ())
            case ComponentNode(component=component, input=descriptor):
                self._lower_component(name, number, self._nnet.components[component], descriptor)

    def _lower_component(
        self, name: str, number: int, component: Component, descriptor: d.Descriptor
    ) -> None:
        dim = component.output_dim
        if component.reads_nothing:
            ones = Constant(1.0, component.input_dim)
            self.values[number] = RowValue(name, dim, (ones,), component.kernels)
            return
        parts = self._parts(descriptor)
        if component.time_offsets is not None:
            if not all(isinstance(part, Leaf) for part in parts):
                parts = (Leaf(self._gathered(name, parts), 0, component.input_dim),)
            parts = tuple(shifted(part, offset) for offset in component.time_offsets for part in parts)
        if component.num_blocks is not None:
            source = self._gathered(name, parts)
            blocks = component.num_blocks
            choice = tuple(
                Leaf(source, block * dim, dim, maps=(SplitX(blocks, block),)) for block in range(blocks)
            )
            parts = (OneOf(choice),)
        if component.window is not None:
            source = self._gathered(name, parts)
            self.values[number] = WindowValue(name, dim, source, component.window, ())
        else:
            self.values[number] = RowValue(name, dim, parts, component.kernels)

    def _gathered(self, name: str, parts: tuple[Part, ...]) -> int:
        """Returns the number of a value that is these parts."""
        number = self._numbers[f"{name}/input"] = len(self._numbers)
        self.values[number] = RowValue(f"{name}/input", sum(map(part_dim, parts)), parts, ())
        return number

    def _parts(self, descriptor: d.Descriptor) -> tuple[Part, ...]:
        return tuple(self._part(term, (), 1.0) for term in d.append_terms(descriptor))

    def _part(self, term: d.Descriptor, maps: tuple[IndexMap, ...], scale: float) -> Part:
        match term:
            case d.NodeRef(name):
                column, dim = 0, self._nnet.node_dim(name)
                node = self._nnet.nodes[name]
                if isinstance(node, DimRangeNode):
                    name, column = node.input_node, node.dim_offset
                return Leaf(self._number(name), column, dim, scale, maps)
            case d.Const(value, dim):
                return Constant(scale * value, dim)
            case d.Scale(factor, source):
                return self._part(source, maps, scale * factor)
            case d.Offset(source, t, x):
                return self._part(source, (*maps, Shift(t, x)) if t or x else maps, scale)
            case d.Round(source, modulus):
                return self._part(source, (*maps, RoundDown(modulus)), scale)
            case d.ReplaceIndex(source, variable, value):
                return self._part(source, (*maps, (FixTime if variable == "t" else FixX)(value)), scale)
            case d.Sum(sources):
                terms = tuple(self._part(source, maps, scale) for source in sources)
                return terms[0] if len(terms) == 1 else SumOf(terms)
            case d.Failover(source, fallback):
                return FirstOf((self._part(source, maps, scale), self._part(fallback, maps, scale)))
            case d.IfDefined(source):
                return Optional(self._part(source, maps, scale))
            case d.Switch(sources):
                entries = [
                    self._part(source, (*maps, SelectTime(len(sources), entry)), scale)
                    for entry, source in enumerate(sources)
                ]
                if not all(isinstance(entry, Leaf | OneOf) for entry in entries):
                    raise ValueError(f"a Switch over sums, which Kaldi does not allow: {term}")
                return OneOf(tuple(leaf for entry in entries for leaf in leaves_of(entry)))
        raise ValueError(f"Append inside another expression: {term}")


# Simplification


def _simplify(values: dict[int, Value], output: int) -> dict[int, Value]:
    changed = True
    while changed:
        changed = False
        for simplify in (_skip_passing_values, _inline_gathered_parts, _join_chains):
            changed |= simplify(values, output)
    for number, value in values.items():
        if not isinstance(value, InputValue):
            values[number] = replace(value, kernels=join_kernels(value.kernels))
    return {number: values[number] for number in _reachable(values, output)}


def _reachable(values: dict[int, Value], output: int) -> list[int]:
    found, todo = {output}, [output]
    while todo:
        for source in sources_of(values[todo.pop()]):
            if source not in found:
                found.add(source)
                todo.append(source)
    return sorted(found)


def _reader_counts(values: dict[int, Value], output: int) -> Counter[int]:
    counts = Counter([output])
    for number in _reachable(values, output):
        counts.update(sources_of(values[number]))
    return counts


def _skip_passing_values(values: dict[int, Value], output: int) -> bool:
    """Lets the readers of a value that is another one (or a constant) read that instead."""
    changed = False
    for number, value in list(values.items()):
        if not isinstance(value, RowValue) or value.kernels or len(value.parts) != 1 or number == output:
            continue
        (part,) = value.parts
        if isinstance(part, Leaf) and part.plain and part.source != number:
            changed |= _replace_source(values, number, part, values[part.source].dim)
        elif isinstance(part, Constant):
            changed |= _replace_by_constant(values, number, part.value)
    return changed


def _replace_source(values: dict[int, Value], number: int, by: Leaf, source_dim: int) -> bool:
    changed = False

    def change(leaf: Leaf) -> Leaf:
        if leaf.source != number:
            return leaf
        return replace(leaf, source=by.source, column=by.column + leaf.column)

    for reader, value in values.items():
        if number not in sources_of(value):
            continue
        if isinstance(value, RowValue):
            values[reader] = replace(value, parts=tuple(map_leaves(part, change) for part in value.parts))
            changed = True
        elif isinstance(value, WindowValue) and by.column == 0 and by.dim == source_dim:
            values[reader] = replace(value, source=by.source)
            changed = True
    return changed


def _replace_by_constant(values: dict[int, Value], number: int, constant: float) -> bool:
    changed = False
    for reader, value in values.items():
        if isinstance(value, RowValue):
            parts = tuple(
                Constant(part.scale * constant, part.dim)
                if isinstance(part, Leaf) and part.source == number
                else part
                for part in value.parts
            )
            if parts != value.parts:
                values[reader] = replace(value, parts=parts)
                changed = True
    return changed


def _inline_gathered_parts(values: dict[int, Value], output: int) -> bool:
    """Puts the parts of a value without kernels into the parts of its only reader."""
    counts = _reader_counts(values, output)
    for number, value in list(values.items()):
        if not isinstance(value, RowValue):
            continue
        for position, part in enumerate(value.parts):
            if not isinstance(part, Leaf) or not part.plain or counts[part.source] != 1:
                continue
            source = values[part.source]
            if isinstance(source, RowValue) and not source.kernels and part.dim == source.dim:
                parts = (*value.parts[:position], *source.parts, *value.parts[position + 1 :])
                values[number] = replace(value, parts=parts)
                return True
    return False


def _join_chains(values: dict[int, Value], output: int) -> bool:
    """Lets a value take over the kernels of its only reader, when that reads nothing else."""
    counts = _reader_counts(values, output)
    changed = False
    for number in _reachable(values, output):
        value = values[number]
        if not isinstance(value, RowValue) or len(value.parts) != 1:
            continue
        (part,) = value.parts
        if not isinstance(part, Leaf) or not part.plain or counts[part.source] != 1 or part.source == number:
            continue
        source = values[part.source]
        if isinstance(source, InputValue) or part.dim != source.dim:
            continue
        values[number] = replace(source, dim=value.dim, kernels=source.kernels + value.kernels)
        values[part.source] = RowValue(source.name, source.dim, (Constant(0.0, source.dim),), ())
        changed = True
    return changed


def join_kernels(kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """Joins neighbouring affine and diagonal kernels where that saves work."""
    joined: list[Kernel] = []
    for kernel in kernels:
        if joined and (both := _joined(joined[-1], kernel)) is not None:
            joined[-1] = both
        else:
            joined.append(kernel)
    return tuple(joined)


def _joined(first: Kernel, second: Kernel) -> Kernel | None:
    match first, second:
        case Diagonal(), Diagonal():
            return second.after(first)
        case Affine(), Diagonal():
            return first.scaled_after(second.scale, second.offset)
        case Diagonal(), Affine():
            return second.scaled_before(first.scale, first.offset)
        case Affine(), Affine():
            if first.input_dim * second.output_dim <= first.weight.size + second.weight.size:
                return second.after(first)
    return None


# Order of computation


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
