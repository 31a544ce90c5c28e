"""Descriptors lowered to what a plan needs: where each element of an input row comes from.

An input row is a sequence of *parts* side by side. A part is an expression over *leaves*; a leaf specifies a
value (the rows that a step computes, see `graph`), some of its columns, a factor, and how the index of the
wanted row maps to the index of the value's row. Offset, Round, ReplaceIndex and Switch all become such maps,
so that only Sum, Failover, IfDefined and the choice of Switch combine leaves.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pykaldi_server.kaldi.nnet3.components.base import Index

__all__ = [
    "Cindex",
    "Constant",
    "FirstOf",
    "FixTime",
    "FixX",
    "IndexMap",
    "Leaf",
    "OneOf",
    "Optional",
    "Part",
    "RoundDown",
    "SelectTime",
    "Shift",
    "SplitX",
    "SumOf",
    "Use",
    "leaves_of",
    "map_leaves",
    "part_dim",
    "required_leaves",
    "rows_at",
    "shifted",
    "uses_at",
]


@dataclass(frozen=True, slots=True)
class Shift:
    """(t, x) becomes (t + dt, x + dx)."""

    dt: int
    dx: int

    def __call__(self, index: Index) -> Index | None:
        return index[0] + self.dt, index[1] + self.dx


@dataclass(frozen=True, slots=True)
class RoundDown:
    """t becomes the largest multiple of `modulus` that is at most t."""

    modulus: int

    def __call__(self, index: Index) -> Index | None:
        return index[0] - index[0] % self.modulus, index[1]


@dataclass(frozen=True, slots=True)
class FixTime:
    """t becomes a constant."""

    t: int

    def __call__(self, index: Index) -> Index | None:
        return self.t, index[1]


@dataclass(frozen=True, slots=True)
class FixX:
    """x becomes a constant."""

    x: int

    def __call__(self, index: Index) -> Index | None:
        return index[0], self.x


@dataclass(frozen=True, slots=True)
class SelectTime:
    """Passes only indexes with t = remainder modulo `modulus` (an entry of Switch)."""

    modulus: int
    remainder: int

    def __call__(self, index: Index) -> Index | None:
        return index if index[0] % self.modulus == self.remainder else None


@dataclass(frozen=True, slots=True)
class SplitX:
    """Block `block` of a row that DistributeComponent splits: x becomes x // blocks, for these x only."""

    blocks: int
    block: int

    def __call__(self, index: Index) -> Index | None:
        return (index[0], index[1] // self.blocks) if index[1] % self.blocks == self.block else None


IndexMap = Shift | RoundDown | FixTime | FixX | SelectTime | SplitX


@dataclass(frozen=True, slots=True)
class Leaf:
    """Columns ``column`` to ``column + dim`` of a value, times ``scale``, at a mapped index.

    Attributes:
        source: the number of the value.
        maps: applied in order to the index of the wanted row.
    """

    source: int
    column: int
    dim: int
    scale: float = 1.0
    maps: tuple[IndexMap, ...] = ()

    def index(self, index: Index) -> Index | None:
        """Returns the index of the value's row; None if this leaf does not apply."""
        mapped: Index | None = index
        for step in self.maps:
            mapped = step(mapped)  # type: ignore[arg-type]
            if mapped is None:
                return None
        return mapped

    @property
    def absolute(self) -> bool:
        """Whether it always reads the same time, so that the row must be kept forever."""
        return any(isinstance(step, FixTime) for step in self.maps)

    @property
    def plain(self) -> bool:
        """Whether it reads the row at the same index without any change."""
        return not self.maps and self.scale == 1.0


@dataclass(frozen=True, slots=True)
class Constant:
    """Equal numbers."""

    value: float
    dim: int


@dataclass(frozen=True, slots=True)
class SumOf:
    """The sum; it exists where all terms exist."""

    terms: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first term that exists (Failover)."""

    terms: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Optional:
    """The term; zero if it does not exist (IfDefined)."""

    term: "Part"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The leaf whose maps pass the index (Switch, DistributeComponent)."""

    leaves: tuple[Leaf, ...]


Part = Leaf | Constant | SumOf | FirstOf | Optional | OneOf

Cindex = tuple[int, Index]
"""A value's number and an index: one row of the network (Kaldi's term)."""

Use = tuple[Leaf | Constant, Index | None]
"""A leaf and the index of the row it reads (None for a constant)."""


def part_dim(part: Part) -> int:
    """Returns the number of columns of a part."""
    match part:
        case Leaf(dim=dim) | Constant(dim=dim):
            return dim
        case SumOf(terms) | FirstOf(terms):
            return part_dim(terms[0])
        case Optional(term):
            return part_dim(term)
        case OneOf(leaves):
            return leaves[0].dim


def leaves_of(part: Part) -> Iterator[Leaf]:
    """Yields the leaves of a part from left to right."""
    match part:
        case Leaf():
            yield part
        case SumOf(terms) | FirstOf(terms):
            for term in terms:
                yield from leaves_of(term)
        case Optional(term):
            yield from leaves_of(term)
        case OneOf(leaves):
            yield from leaves


def map_leaves(part: Part, change: Callable[[Leaf], Leaf]) -> Part:
    """Returns the part with each leaf replaced."""
    match part:
        case Leaf():
            return change(part)
        case Constant():
            return part
        case SumOf(terms):
            return SumOf(tuple(map_leaves(term, change) for term in terms))
        case FirstOf(terms):
            return FirstOf(tuple(map_leaves(term, change) for term in terms))
        case Optional(term):
            return Optional(map_leaves(term, change))
        case OneOf(leaves):
            return OneOf(tuple(change(leaf) for leaf in leaves))


def shifted(part: Part, dt: int) -> Part:
    """Returns the part as seen from ``dt`` frames earlier."""
    if dt == 0:
        return part
    return map_leaves(part, lambda leaf: replace(leaf, maps=(Shift(dt, 0), *leaf.maps)))


def required_leaves(part: Part) -> Iterator[Leaf]:
    """Yields the leaves that the part requires where their maps pass the index."""
    match part:
        case Leaf():
            yield part
        case SumOf(terms):
            for term in terms:
                yield from required_leaves(term)
        case OneOf(leaves):
            yield from leaves


def rows_at(leaves: Iterable[Leaf], index: Index) -> list[Cindex]:
    """Returns the rows that leaves read at an index."""
    return [(leaf.source, mapped) for leaf in leaves if (mapped := leaf.index(index)) is not None]


def uses_at(part: Part, index: Index, exists: Callable[[Cindex], bool]) -> tuple[Use, ...] | None:
    """Returns the terms that the part adds up at an index; None if it does not exist there.

    Args:
        part: the part.
        index: the index of the wanted row.
        exists: returns whether a row has been or can be computed.
    """
    match part:
        case Leaf():
            mapped = part.index(index)
            return ((part, mapped),) if mapped is not None and exists((part.source, mapped)) else None
        case Constant():
            return ((part, None),)
        case SumOf(terms):
            total: tuple[Use, ...] = ()
            for term in terms:
                uses = uses_at(term, index, exists)
                if uses is None:
                    return None
                total += uses
            return total
        case FirstOf(terms):
            return next((uses for term in terms if (uses := uses_at(term, index, exists)) is not None), None)
        case Optional(term):
            return uses_at(term, index, exists) or ()
        case OneOf(leaves):
            return next((uses for leaf in leaves if (uses := uses_at(leaf, index, exists)) is not None), None)
