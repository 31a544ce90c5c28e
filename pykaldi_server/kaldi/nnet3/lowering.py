"""From the nodes of a network to a graph of values.

TdnnComponent becomes an affine kernel over shifted parts, DistributeComponent a choice of columns. Dim-range
nodes, and components that do nothing in test mode, disappear.
"""

from dataclasses import replace

import numpy as np

from pykaldi_server.kaldi.nnet3 import descriptor as d
from pykaldi_server.kaldi.nnet3.components import Component
from pykaldi_server.kaldi.nnet3.graph import (
    Graph,
    InputValue,
    RowValue,
    Value,
    WindowValue,
    strongly_connected,
)
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
    part_dim,
    shifted,
)
from pykaldi_server.kaldi.nnet3.simplify import simplify, simplify_kernels

__all__ = ["build_graph", "build_outline"]


def build_graph(nnet: Nnet, output: str = "output") -> Graph:
    """Builds the graph of what one output needs, ready to be computed.

    Raises:
        ValueError: the network is invalid in a way that reading it does not reveal.
    """
    outline = build_outline(nnet, output)
    return replace(outline, values=simplify_kernels(outline.values))


def build_outline(nnet: Nnet, output: str = "output") -> Graph:
    """Builds the graph of what one output needs, to see what depends on what: its kernels are not simplified.

    Raises:
        ValueError: as for `build_graph`.
    """
    builder = _Lowering(nnet)
    output_value = builder.lower(output)
    values = simplify(builder.values, output_value)
    inputs = {value.name: number for number, value in values.items() if isinstance(value, InputValue)}
    return Graph(values, inputs, output_value, strongly_connected(values))


class _Lowering:
    """Turns the nodes that an output needs into values, one to one."""

    def __init__(self, nnet: Nnet):
        self._nnet = nnet
        self._numbers: dict[str, int] = {}
        self._todo: list[str] = []
        self.values: dict[int, Value] = {}

    def lower(self, output: str) -> int:
        """Lowers an output and everything that it needs; returns its number."""
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
        """Returns the number of a new value that consists of these parts."""
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
                return Constant(_finite_product(scale, value, term), dim)
            case d.Scale(factor, source):
                return self._part(source, maps, _finite_product(scale, factor, term))
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


def _finite_product(scale: float, factor: float, term: d.Descriptor) -> float:
    product = scale * factor
    if abs(product) > np.finfo(np.float32).max:
        raise ValueError(f"expected factors with a product of single precision, found {product:g} in {term}")
    return product
