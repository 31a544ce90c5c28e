"""Descriptors: how a node gathers its input from other nodes (``nnet3/nnet-descriptor.h``).

A descriptor is an expression. It is evaluated at an index ``(t, x)`` (time in frames, and a second
number that only DistributeComponent uses) and evaluates to one row:

=========================  ===========================================================
``node``                   the node's row at the same index
``Offset(d, t[, x])``      d at an index shifted by t and x
``Round(d, n)``            d at the time n * floor(t / n)
``ReplaceIndex(d, t, v)``  d at the time v (or, with ``x``, at x = v)
``Switch(d0, d1, ...)``    entry number (t modulo the number of entries)
``Scale(s, d)``            s times d
``Const(v, dim)``          a row of dim numbers v
``Sum(d, ...)``            the sum; it exists if all terms exist
``Failover(a, b)``         a if it exists, otherwise b
``IfDefined(d)``           d if it exists, otherwise zero
``Append(d, ...)``         the rows side by side
=========================  ===========================================================

`parse_descriptor` builds the expression; `append_terms` moves Append to the outside, as Kaldi does.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pykaldi_server.kaldi.util.text_utils import convert_string_to_integer, convert_string_to_real

__all__ = [
    "Append",
    "Const",
    "Descriptor",
    "Failover",
    "IfDefined",
    "NodeRef",
    "Offset",
    "ReplaceIndex",
    "Round",
    "Scale",
    "Sum",
    "Switch",
    "append_terms",
    "children",
    "node_names",
    "parse_descriptor",
    "with_children",
]

_MAX_DEPTH = 40
_MAX_CONST_DIM = 1 << 18
_TOKEN = re.compile(r"\s*([(),]|[^\s(),]+)")


@dataclass(frozen=True, slots=True)
class NodeRef:
    """The row of a node at the same index."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Offset:
    """A row from another time (and another x)."""

    source: "Descriptor"
    t: int
    x: int = 0

    def __str__(self) -> str:
        return f"Offset({self.source}, {self.t}{f', {self.x}' if self.x else ''})"


@dataclass(frozen=True, slots=True)
class Round:
    """A row from the latest time that is a multiple of `modulus` and not after t."""

    source: "Descriptor"
    modulus: int

    def __str__(self) -> str:
        return f"Round({self.source}, {self.modulus})"


@dataclass(frozen=True, slots=True)
class ReplaceIndex:
    """A row whose t or x is fixed."""

    source: "Descriptor"
    variable: str
    value: int

    def __str__(self) -> str:
        return f"ReplaceIndex({self.source}, {self.variable}, {self.value})"


@dataclass(frozen=True, slots=True)
class Scale:
    """A multiple of a row."""

    scale: float
    source: "Descriptor"

    def __str__(self) -> str:
        return f"Scale({self.scale:g}, {self.source})"


@dataclass(frozen=True, slots=True)
class Const:
    """A row of equal numbers."""

    value: float
    dim: int

    def __str__(self) -> str:
        return f"Const({self.value:g}, {self.dim})"


@dataclass(frozen=True, slots=True)
class Failover:
    """The first source if it exists, otherwise the second."""

    source: "Descriptor"
    fallback: "Descriptor"

    def __str__(self) -> str:
        return f"Failover({self.source}, {self.fallback})"


@dataclass(frozen=True, slots=True)
class IfDefined:
    """The source if it exists, otherwise zero."""

    source: "Descriptor"

    def __str__(self) -> str:
        return f"IfDefined({self.source})"


@dataclass(frozen=True, slots=True)
class Switch:
    """One of the sources, alternating over time."""

    sources: tuple["Descriptor", ...]

    def __str__(self) -> str:
        return f"Switch({', '.join(map(str, self.sources))})"


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of the sources."""

    sources: tuple["Descriptor", ...]

    def __str__(self) -> str:
        return f"Sum({', '.join(map(str, self.sources))})"


@dataclass(frozen=True, slots=True)
class Append:
    """The sources side by side."""

    sources: tuple["Descriptor", ...]

    def __str__(self) -> str:
        return f"Append({', '.join(map(str, self.sources))})"


Descriptor = (
    NodeRef | Offset | Round | ReplaceIndex | Scale | Const | Failover | IfDefined | Switch | Sum | Append
)


def parse_descriptor(text: str) -> Descriptor:
    """Parses the text after ``input=`` in a network's configuration.

    Raises:
        ValueError: the text is not a descriptor; the message says what was expected and found.
    """
    return _Parser(text).parse()


def children(descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """Returns the direct operands of an expression."""
    match descriptor:
        case Switch(sources) | Sum(sources) | Append(sources):
            return sources
        case Failover(source, fallback):
            return (source, fallback)
        case NodeRef() | Const():
            return ()
        case _:
            return (descriptor.source,)


def with_children(descriptor: Descriptor, parts: tuple[Descriptor, ...]) -> Descriptor:
    """Returns the same expression with other operands."""
    match descriptor:
        case Switch() | Sum() | Append():
            return replace(descriptor, sources=parts)
        case Failover():
            return Failover(*parts)
        case NodeRef() | Const():
            return descriptor
        case _:
            return replace(descriptor, source=parts[0])


def node_names(descriptor: Descriptor) -> Iterator[str]:
    """Yields the names of the nodes that an expression reads, in the order of the text."""
    if isinstance(descriptor, NodeRef):
        yield descriptor.name
    for part in children(descriptor):
        yield from node_names(part)


def append_terms(descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """Splits an expression into the terms of the outermost Append, each free of Append.

    ``Offset(Append(a, b), 1)`` gives ``Offset(a, 1)`` and ``Offset(b, 1)``.

    Raises:
        ValueError: operands of a Sum, Failover or Switch have different numbers of terms.
    """
    if isinstance(descriptor, Append):
        return tuple(term for part in descriptor.sources for term in append_terms(part))
    split = [append_terms(part) for part in children(descriptor)]
    if not split:
        return (descriptor,)
    if len({len(terms) for terms in split}) != 1:
        raise ValueError(f"operands with different numbers of Append terms in {descriptor}")
    return tuple(with_children(descriptor, parts) for parts in zip(*split, strict=True))


class _Parser:
    """A recursive-descent parser for the tokens of one descriptor."""

    def __init__(self, text: str):
        self._text = text
        self._tokens: list[str] = _TOKEN.findall(text)
        self._next = 0

    def parse(self) -> Descriptor:
        descriptor = self._descriptor(0)
        if self._next != len(self._tokens):
            raise ValueError(f"expected the end of a descriptor, found {self._tokens[self._next]!r}")
        return descriptor

    def _take(self, what: str) -> str:
        if self._next == len(self._tokens):
            raise ValueError(f"expected {what}, found the end of {self._text!r}")
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, token: str) -> None:
        found = self._take(repr(token))
        if found != token:
            raise ValueError(f"expected {token!r} in a descriptor, found {found!r}")

    def _integer(self, least: int = -(2**31), most: int = 2**31 - 1) -> int:
        word = self._take("an integer")
        try:
            value = convert_string_to_integer(word)
        except ValueError as error:
            raise ValueError(f"in a descriptor: {error}") from None
        if not least <= value <= most:
            raise ValueError(f"expected an integer from {least} to {most} in a descriptor, found {word!r}")
        return value

    def _float(self) -> float:
        word = self._take("a number")
        try:
            value = convert_string_to_real(word)
        except ValueError as error:
            raise ValueError(f"in a descriptor: {error}") from None
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number in a descriptor, found {word!r}")
        return value

    def _at(self, token: str) -> bool:
        return self._next < len(self._tokens) and self._tokens[self._next] == token

    def _list(self, depth: int) -> tuple[Descriptor, ...]:
        items = [self._descriptor(depth)]
        while self._at(","):
            self._next += 1
            items.append(self._descriptor(depth))
        return tuple(items)

    def _descriptor(self, depth: int) -> Descriptor:
        if depth > _MAX_DEPTH:
            raise ValueError(f"expected a descriptor at most {_MAX_DEPTH} levels deep, found a deeper one")
        word = self._take("a descriptor")
        if word in "(),":
            raise ValueError(f"expected a descriptor, found {word!r}")
        if not self._at("("):
            return NodeRef(word)
        self._next += 1
        descriptor = self._call(word, depth + 1)
        self._expect(")")
        return descriptor

    def _call(self, word: str, depth: int) -> Descriptor:
        if word in ("Append", "Sum", "Switch"):
            sources = self._list(depth)
            return Append(sources) if word == "Append" else Sum(sources) if word == "Sum" else Switch(sources)
        if word == "Scale":
            scale = self._float()
            self._expect(",")
            return Scale(scale, self._descriptor(depth))
        if word == "Const":
            value = self._float()
            self._expect(",")
            return Const(value, self._integer(1, _MAX_CONST_DIM))
        source = self._descriptor(depth)
        if word == "IfDefined":
            return IfDefined(source)
        if word not in ("Offset", "Round", "ReplaceIndex", "Failover"):
            raise ValueError(f"expected a kind of descriptor, found {word!r}")
        self._expect(",")
        if word == "Failover":
            return Failover(source, self._descriptor(depth))
        if word == "Round":
            return Round(source, self._integer(1))
        if word == "ReplaceIndex":
            variable = self._take("t or x")
            if variable not in ("t", "x"):
                raise ValueError(f"expected t or x in ReplaceIndex, found {variable!r}")
            self._expect(",")
            return ReplaceIndex(source, variable, self._integer())
        t = self._integer()
        if not self._at(","):
            return Offset(source, t)
        self._next += 1
        return Offset(source, t, self._integer())
