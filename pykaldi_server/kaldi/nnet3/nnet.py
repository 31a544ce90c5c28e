"""Reading nnet3 networks (``nnet3/nnet-nnet.cc``).

A network file consists of a configuration in text (one line per node), an empty line, and the components:

    <Nnet3>
    input-node name=input dim=40
    component-node name=affine component=affine input=Append(Offset(input, -1), input)
    dim-range-node name=half input-node=affine dim-offset=0 dim=20
    output-node name=output input=half objective=linear

    <NumComponents> 1
    <ComponentName> affine <AffineComponent> ... </AffineComponent>
    </Nnet3>

`Nnet` contains the checked contents of the file: names exist, dimensions fit. `graph` prepares it for
computation.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pykaldi_server.kaldi.nnet3.components import Component, read_component
from pykaldi_server.kaldi.nnet3.descriptor import (
    Append,
    Const,
    Descriptor,
    Failover,
    NodeRef,
    Round,
    Sum,
    Switch,
    append_terms,
    children,
    node_names,
    parse_descriptor,
)
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = [
    "SIMPLE_INTERFACE",
    "ComponentNode",
    "DimRangeNode",
    "InputNode",
    "Nnet",
    "NnetSummary",
    "Node",
    "OutputNode",
    "read_raw_nnet",
]

_MAX_LINE_BYTES = 1 << 20
_MAX_NODES = 20000
_MAX_MODULUS = 120
SIMPLE_INTERFACE = "the inputs 'input' (and perhaps 'ivector') and the output 'output'"
"""What `Nnet.is_simple` requires of a network."""

_KEY = re.compile(r"(?:^|\s)([A-Za-z_][\w-]*)=")


@dataclass(frozen=True, slots=True)
class InputNode:
    """Rows that are provided from outside."""

    name: str
    dim: int

    def __str__(self) -> str:
        return f"input-node name={self.name} dim={self.dim}"


@dataclass(frozen=True, slots=True)
class ComponentNode:
    """A component applied to a descriptor."""

    name: str
    component: str
    input: Descriptor

    def __str__(self) -> str:
        return f"component-node name={self.name} component={self.component} input={self.input}"


@dataclass(frozen=True, slots=True)
class DimRangeNode:
    """Some of the columns of another node."""

    name: str
    input_node: str
    dim_offset: int
    dim: int

    def __str__(self) -> str:
        return (
            f"dim-range-node name={self.name} input-node={self.input_node} "
            f"dim-offset={self.dim_offset} dim={self.dim}"
        )


@dataclass(frozen=True, slots=True)
class OutputNode:
    """An output of the network."""

    name: str
    input: Descriptor
    objective: str

    def __str__(self) -> str:
        return f"output-node name={self.name} input={self.input} objective={self.objective}"


Node = InputNode | ComponentNode | DimRangeNode | OutputNode


@dataclass(frozen=True)
class NnetSummary:
    """What a network consists of.

    Attributes:
        inputs, outputs: dimensions by name.
        num_parameters: number of trained parameters.
        modulus: see `Nnet.modulus`.
        component_counts: number of components per type, most frequent first.
    """

    inputs: dict[str, int]
    outputs: dict[str, int]
    num_parameters: int
    modulus: int
    component_counts: dict[str, int]


@dataclass(frozen=True)
class Nnet:
    """A network: nodes in the order of the file, components by name, and the path, for errors."""

    nodes: dict[str, Node]
    components: dict[str, Component]
    path: str = "<memory>"

    @classmethod
    def read(cls, reader: KaldiReader) -> "Nnet":
        """Reads a network, from ``<Nnet3>`` to ``</Nnet3>``.

        Raises:
            ModelFormatError: the file is damaged, or the network is invalid.
        """
        start = reader.offset
        reader.expect_token("<Nnet3>")
        nodes = _read_config(reader)
        reader.expect_token("<NumComponents>")
        components: dict[str, Component] = {}
        for _ in range(reader.read_count("components", reader.remaining)):
            reader.expect_token("<ComponentName>")
            name = reader.read_token()
            if name in components:
                raise reader.error("components with different names", f"two named {name!r}")
            components[name] = read_component(reader)
        reader.expect_token("</Nnet3>")
        nnet = cls(nodes, components, reader.path)
        try:
            nnet.validate()
        except ValueError as error:
            raise reader.error("a network that fits together", str(error), start) from error
        return nnet

    def validate(self) -> None:
        """Checks names and dimensions.

        Raises:
            ValueError: a node is invalid; the text names it.
        """
        for node in self.nodes.values():
            if isinstance(node, DimRangeNode):
                self._check_dim_range(node)
        for node in self.nodes.values():
            if isinstance(node, ComponentNode):
                dim = self._checked_dim(node.name, node.input)
                component = self.components.get(node.component)
                if component is None:
                    raise ValueError(
                        f"node {node.name} uses the component {node.component!r}, which does not exist"
                    )
                if not component.reads_nothing and dim != component.input_dim:
                    raise ValueError(
                        f"node {node.name} gives {dim} columns to a {component.type_name} that expects "
                        f"{component.input_dim}"
                    )
            elif isinstance(node, OutputNode):
                self._checked_dim(node.name, node.input)
        if self.modulus > _MAX_MODULUS:
            raise ValueError(f"its output depends on the time modulo {self.modulus}")

    def _check_dim_range(self, node: DimRangeNode) -> None:
        source = self.nodes.get(node.input_node)
        if not isinstance(source, ComponentNode | InputNode):
            raise ValueError(
                f"node {node.name} takes columns of {node.input_node!r}, which is not a node with columns"
            )
        if isinstance(source, ComponentNode) and source.component not in self.components:
            raise ValueError(
                f"node {source.name} uses the component {source.component!r}, which does not exist"
            )
        whole = self.node_dim(node.input_node)
        if node.dim_offset < 0 or node.dim < 1 or node.dim_offset + node.dim > whole:
            raise ValueError(f"node {node.name} takes {node.dim} columns from {node.dim_offset} of {whole}")

    def _checked_dim(self, name: str, descriptor: Descriptor) -> int:
        for source in node_names(descriptor):
            node = self.nodes.get(source)
            if node is None or isinstance(node, OutputNode):
                raise ValueError(f"node {name} reads {source!r}, which is not a node that can be read")
            if isinstance(node, ComponentNode) and node.component not in self.components:
                raise ValueError(f"node {source} uses the component {node.component!r}, which does not exist")
        append_terms(descriptor)
        return self.descriptor_dim(descriptor)

    def node_dim(self, name: str) -> int:
        """Returns the number of columns of a node."""
        match self.nodes[name]:
            case InputNode(dim=dim) | DimRangeNode(dim=dim):
                return dim
            case ComponentNode(component=component):
                return self.components[component].output_dim
            case OutputNode(input=descriptor):
                return self.descriptor_dim(descriptor)

    def descriptor_dim(self, descriptor: Descriptor) -> int:
        """Returns the number of columns of a descriptor.

        Raises:
            ValueError: the parts of a sum or a choice have different numbers of columns.
        """
        match descriptor:
            case NodeRef(name):
                return self.node_dim(name)
            case Const(dim=dim):
                return dim
            case Append(sources):
                return sum(map(self.descriptor_dim, sources))
            case Sum() | Switch() | Failover():
                dims = {self.descriptor_dim(part) for part in children(descriptor)}
                if len(dims) != 1:
                    raise ValueError(f"parts with {sorted(dims)} columns in {descriptor}")
                return dims.pop()
            case _:
                return self.descriptor_dim(descriptor.source)

    def input_dim(self, name: str) -> int:
        """Returns the dimension of an input; 0 if there is no such input."""
        node = self.nodes.get(name)
        return node.dim if isinstance(node, InputNode) else 0

    def output_dim(self, name: str) -> int:
        """Returns the dimension of an output; 0 if there is no such output."""
        node = self.nodes.get(name)
        return self.descriptor_dim(node.input) if isinstance(node, OutputNode) else 0

    @cached_property
    def modulus(self) -> int:
        """The number of frames by which input and output can be shifted without changing the result."""
        modulus = 1
        for node in self.nodes.values():
            if isinstance(node, ComponentNode | OutputNode):
                modulus = math.lcm(modulus, *_moduli(node.input))
        return modulus

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters of the whole network."""
        return sum(component.num_parameters for component in self.components.values())

    def is_simple(self) -> bool:
        """Returns whether the inputs are ``input`` and optionally ``ivector``, and there is an ``output``."""
        inputs = {node.name for node in self.nodes.values() if isinstance(node, InputNode)}
        return inputs in ({"input"}, {"input", "ivector"}) and self.output_dim("output") > 0

    def summary(self) -> NnetSummary:
        """Returns what the network consists of."""
        nodes = self.nodes.values()
        types = Counter(component.type_name for component in self.components.values())
        return NnetSummary(
            inputs={node.name: node.dim for node in nodes if isinstance(node, InputNode)},
            outputs={node.name: self.node_dim(node.name) for node in nodes if isinstance(node, OutputNode)},
            num_parameters=self.num_parameters,
            modulus=self.modulus,
            component_counts=dict(types.most_common()),
        )

    def info(self) -> str:
        """Describes the network, one line per node and per component, like ``nnet3-info``."""
        lines = [f"num-parameters: {self.num_parameters}", f"modulus: {self.modulus}"]
        lines += map(str, self.nodes.values())
        for name, component in self.components.items():
            lines.append(
                f"component name={name} type={component.type_name}, input-dim={component.input_dim}, "
                f"output-dim={component.output_dim}, num-parameters={component.num_parameters}"
            )
        return "\n".join(lines)


def read_raw_nnet(path: str | os.PathLike[str]) -> Nnet:
    """Reads a file that contains only a network (``final.raw``, as ``nnet3-copy`` writes it).

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is damaged or of another kind.
    """
    reader = KaldiReader.open(path)
    nnet = Nnet.read(reader)
    reader.expect_end()
    return nnet


def _moduli(descriptor: Descriptor) -> Iterator[int]:
    if isinstance(descriptor, Round):
        yield descriptor.modulus
    if isinstance(descriptor, Switch):
        yield len(descriptor.sources)
    for part in children(descriptor):
        yield from _moduli(part)


def _read_config(reader: KaldiReader) -> dict[str, Node]:
    """Reads the lines up to the empty line."""
    nodes: dict[str, Node] = {}
    if reader.read_line(_MAX_LINE_BYTES).strip():
        raise reader.error("a line break after <Nnet3>", "other text")
    while True:
        start = reader.offset
        line = reader.read_line(_MAX_LINE_BYTES).strip()
        if not line:
            return nodes
        try:
            node = _parse_node(line)
        except ValueError as error:
            raise reader.error("a line that describes a node", str(error), start) from error
        if node.name in nodes or len(nodes) == _MAX_NODES:
            raise reader.error(f"at most {_MAX_NODES} nodes with different names", repr(node.name), start)
        nodes[node.name] = node


def _parse_node(line: str) -> Node:
    kind, _, rest = line.partition(" ")
    pieces = _KEY.split(rest)
    values = {key: value.strip() for key, value in zip(pieces[1::2], pieces[2::2], strict=True)}

    def integer(key: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", values.get(key, "")):
            raise ValueError(f"{key}={values.get(key)} in {line[:200]!r}")
        return int(values[key])

    try:
        match kind:
            case "input-node":
                if integer("dim") < 1:
                    raise ValueError(f"an input without columns in {line[:200]!r}")
                return InputNode(values["name"], integer("dim"))
            case "component-node":
                return ComponentNode(values["name"], values["component"], parse_descriptor(values["input"]))
            case "dim-range-node":
                return DimRangeNode(
                    values["name"], values["input-node"], integer("dim-offset"), integer("dim")
                )
            case "output-node":
                descriptor = parse_descriptor(values["input"])
                return OutputNode(values["name"], descriptor, values.get("objective", "linear"))
    except KeyError as error:
        raise ValueError(f"no {error.args[0]}= in {line[:200]!r}") from None
    raise ValueError(repr(line[:200]))
