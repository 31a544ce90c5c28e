"""Which rows of which values a chunk computes, and from what (``nnet3/nnet-computation-graph.cc``).

Given the input rows of a chunk and the output rows that it must produce, `Resolver` finds all rows that are
needed and do not exist yet. A row *exists* if it was provided, was computed in an earlier chunk, or can be
computed because all rows that it requires exist. Rows that it can use but does not require (IfDefined,
Failover, optional inputs of a window) are used if they exist by the end of this chunk. A row is computed
once: what is missing at that time stays missing, whatever later chunks provide.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pykaldi_server.kaldi.nnet3.components.base import Index
from pykaldi_server.kaldi.nnet3.graph import Graph, InputValue, RowValue, Value, WindowValue, sources_of
from pykaldi_server.kaldi.nnet3.parts import (
    Cindex,
    FixTime,
    Leaf,
    Part,
    Shift,
    SumOf,
    Use,
    leaves_of,
    required_leaves,
    rows_at,
    uses_at,
)

__all__ = [
    "ChunkRows",
    "Resolver",
    "RowInputs",
    "UnresolvableError",
    "fixed_times",
    "reads_of",
    "required_inputs",
]

Reads = tuple[list[Cindex], list[Cindex]]
"""The rows that a row requires, and all that it may read: the same list if it requires all of them."""

PartOffsets = list[tuple[Leaf, int, int]]
"""Leaves that are added up, each with what it adds to t and x."""

# A search that finds more rows per value than this, per input or output frame, never ends.
_ROWS_PER_FRAME = 16


class RowInputs(NamedTuple):
    """What a row is computed from.

    Attributes:
        parts: per part of a row-wise value, the leaves that are added up.
        window: for a windowed value, the index of the source row at each position; None where it is missing.
    """

    parts: tuple[tuple[Use, ...], ...] = ()
    window: tuple[Index | None, ...] = ()


class ChunkRows(NamedTuple):
    """What one chunk computes.

    Attributes:
        rows: rows to compute and their inputs.
        read: the rows that they read, and the output rows.
        output: the output rows, in order.
        earliest: the earliest time at which a row was searched for, except fixed times (ReplaceIndex).
    """

    rows: dict[Cindex, RowInputs]
    read: set[Cindex]
    output: tuple[Cindex, ...]
    earliest: int


class UnresolvableError(ValueError):
    """The output cannot be computed from the input; the text says why."""


@dataclass
class Resolver:
    """Finds the rows of one chunk after another.

    Attributes:
        graph: the network.
        existing: rows that have been provided or computed so far, with the number of the chunk.
        chunks: number of chunks resolved.
        fixed_times: the values that are read at a fixed time, and the time.
        offsets: the parts of each value that reads only rows at constant offsets, as most do; what they
            read is found without the leaves' maps.
    """

    graph: Graph
    existing: dict[Cindex, int] = field(default_factory=dict)
    chunks: int = 0

    def __post_init__(self) -> None:
        self.fixed_times = fixed_times(self.graph)
        self._required_inputs = required_inputs(self.graph)
        self._provided: set[Cindex] = set()
        rows = {number: value for number, value in self.graph.values.items() if isinstance(value, RowValue)}
        self._leaves = {
            number: tuple(
                [leaf for part in value.parts for leaf in kind(part)] for kind in (required_leaves, leaves_of)
            )
            for number, value in rows.items()
        }
        self.offsets: dict[int, list[PartOffsets]] = {}
        for number, value in rows.items():
            offsets = [_constant_offsets(part) for part in value.parts]
            if None not in offsets:
                self.offsets[number] = [part for part in offsets if part is not None]
        # Values in the order of computation; None if one depends on itself through time.
        self._order: list[int] | None = [
            number for component in self.graph.components for number in component
        ]
        if any(len(component) > 1 for component in self.graph.components) or any(
            number in sources_of(value) for number, value in self.graph.values.items()
        ):
            self._order = None

    def next_chunk(self, inputs: dict[str, list[Index]], output: list[Index]) -> ChunkRows:
        """Resolves the next chunk.

        Args:
            inputs: indexes of the input rows, by name of the input.
            output: indexes of the output rows to produce.

        Raises:
            UnresolvableError: an output row cannot be computed.
        """
        wanted = [(self.graph.output, index) for index in output]
        given = self._given(inputs)
        exists = self._existence(given, wanted)
        for cindex in wanted:
            if not exists[cindex]:
                raise UnresolvableError(f"output frame {cindex[1][0]} needs input that is never provided")
        self.existing.update(dict.fromkeys(given, self.chunks))
        self._provided |= given
        rows, read = self._collect(wanted, exists)
        self.chunks += 1
        earliest = min(t for number, (t, _) in exists if (number, t) not in self.fixed_times)
        return ChunkRows(rows, read, tuple(wanted), earliest)

    def computable(self, inputs: dict[str, list[Index]], output: list[Index]) -> list[bool]:
        """Returns which output rows could be computed in the next chunk."""
        wanted = [(self.graph.output, index) for index in output]
        exists = self._existence(self._given(inputs), wanted)
        return [exists[cindex] for cindex in wanted]

    def _given(self, inputs: dict[str, list[Index]]) -> set[Cindex]:
        numbers = self.graph.inputs
        return {(numbers[name], index) for name in inputs if name in numbers for index in inputs[name]}

    def _existence(self, given: set[Cindex], wanted: list[Cindex]) -> dict[Cindex, bool]:
        """Decides whether the wanted rows, and all rows that they may read, exist.

        Depth first: a row is decided after the rows that it requires and, if these exist, after the rows that
        it may use. A recurrence may use its past without end; the search ends because each of its frames
        requires input: see `required_inputs`.
        """
        if self._order is not None:
            return self._existence_by_value(self._order, given, wanted)
        decided = dict.fromkeys(given, True)
        open_rows: dict[Cindex, Reads] = {}
        most_rows = _ROWS_PER_FRAME * len(self.graph.values) * (len(given) + len(wanted) + 100)
        stack = list(reversed(wanted))
        while stack:
            cindex = stack[-1]
            if cindex not in decided:
                verdict: bool | list[Cindex]
                if cindex in self.existing:
                    verdict = True
                else:
                    reads = open_rows.get(cindex) or self._reads(cindex, decided)
                    verdict = reads is not None and self._decide(cindex, reads, decided)
                if isinstance(verdict, list):
                    assert reads is not None
                    if not open_rows.keys().isdisjoint(verdict) or cindex in verdict:
                        raise UnresolvableError(f"{self._name(cindex)} depends on itself without a delay")
                    if len(decided) + len(open_rows) > most_rows:
                        raise UnresolvableError(f"{self._name(cindex)} reads the past without end")
                    open_rows[cindex] = reads
                    stack.extend(verdict)
                    continue
                decided[cindex] = verdict
                open_rows.pop(cindex, None)
            stack.pop()
        return decided

    def _decide(self, cindex: Cindex, reads: Reads, decided: dict[Cindex, bool]) -> bool | list[Cindex]:
        """Returns whether a row exists, or which rows have to be decided first."""
        required, possible = reads
        for rows in (required,) if possible is required else (required, possible):
            verdicts = [decided.get(row) for row in rows]
            if rows is required and False in verdicts:
                return False
            if None in verdicts:
                undecided = []
                for row, verdict in zip(rows, verdicts, strict=True):
                    if verdict is None and row in self.existing:
                        decided[row] = True
                    elif verdict is None:
                        undecided.append(row)
                if undecided:
                    return undecided
        return self._is_computable(cindex, reads, decided)

    def _is_computable(self, cindex: Cindex, reads: Reads, decided: dict[Cindex, bool]) -> bool:
        """Returns whether a row whose required rows exist, and whose others are decided, exists as well."""
        number, index = cindex
        required, possible = reads
        value = self.graph.values[number]
        if isinstance(value, WindowValue):
            return not value.window.any_suffices or any(decided[row] for row in possible)
        if isinstance(value, RowValue) and len(possible) > len(required):
            return all(uses_at(part, index, decided.__getitem__) is not None for part in value.parts)
        return True

    def _existence_by_value(
        self, order: list[int], given: set[Cindex], wanted: list[Cindex]
    ) -> dict[Cindex, bool]:
        """As `_existence`, for a network without recurrences, of whose values each is looked at once.

        First, from the output to the inputs, which rows of each value are read; then, in the other direction,
        which of them exist.
        """
        decided = dict.fromkeys(given, True)
        provided: dict[int, set[Index]] = {number: set() for number in self.graph.inputs.values()}
        for number, index in itertools.chain(given, self._provided):
            provided[number].add(index)
        needed: dict[int, set[Index]] = {number: set() for number in order}
        for number, index in wanted:
            needed[number].add(index)
        shifted: dict[int, list[Cindex]] = {}  # rows of values that read nothing but constant offsets
        others: dict[int, list[tuple[Cindex, Reads]]] = {}
        for number in reversed(order):
            rows = [(number, index) for index in needed[number]]
            old = [row for row in rows if row in decided or row in self.existing]
            if old:
                decided.update(dict.fromkeys(old, True))
                rows = [row for row in rows if row not in decided]
            parts = self.offsets.get(number)
            if parts is not None and all(
                provided[source].issuperset([(t + dt, x) for _, (t, x) in rows])
                for source, dt in self._required_inputs[number]
            ):
                shifted[number] = rows
                for leaf, dt, dx in itertools.chain.from_iterable(parts):
                    needed[leaf.source].update([(t + dt, x + dx) for _, (t, x) in rows])
                continue
            others[number] = []
            for row in rows:
                reads = self._reads(row, decided)
                if reads is None:
                    decided[row] = False
                    continue
                others[number].append((row, reads))
                for source, index in itertools.chain(reads[0], reads[1]):
                    needed[source].add(index)
        incomplete: set[int] = set()  # values of which a row that is read does not exist
        for number in order:
            if number in shifted:
                rows = shifted[number]
                sources = {leaf.source for part in self.offsets[number] for leaf, _, _ in part}
                if incomplete.isdisjoint(sources):
                    decided.update(dict.fromkeys(rows, True))
                    continue
                others[number] = [
                    (row, reads) for row in rows if (reads := self._reads(row, decided)) is not None
                ]
            for row, reads in others.get(number, ()):
                decided[row] = all(decided[read] for read in reads[0]) and self._is_computable(
                    row, reads, decided
                )
            if not all(decided[number, index] for index in needed[number]):
                incomplete.add(number)
        return decided

    def _reads(self, cindex: Cindex, decided: dict[Cindex, bool]) -> Reads | None:
        """Returns the rows that a row requires, and all that it may read.

        None if there is no such row, or if it requires input that was not given.
        """
        number, index = cindex
        t, x = index
        for source, dt in self._required_inputs[number]:
            row = (source, (t + dt, x))
            if row not in decided and row not in self.existing:
                return None
        parts = self.offsets.get(number)
        if parts is not None:
            required = [(leaf.source, (t + dt, x + dx)) for part in parts for leaf, dt, dx in part]
            return required, required
        value = self.graph.values[number]
        if isinstance(value, RowValue):
            required_leaves, leaves = self._leaves[number]
            required = rows_at(required_leaves, index)
            return required, required if len(required_leaves) == len(leaves) else rows_at(leaves, index)
        if isinstance(value, WindowValue) and (reads := value.window.input_times(index[0])) is not None:
            rows = [(value.source, (t, index[1])) for t in reads[0]]
            return [row for row, needed in zip(rows, reads[1], strict=True) if needed], rows
        return None

    def _collect(
        self, wanted: list[Cindex], exists: dict[Cindex, bool]
    ) -> tuple[dict[Cindex, RowInputs], set[Cindex]]:
        """Finds the rows that the wanted rows actually use, and marks them as existing.

        Returns:
            The rows to compute with their inputs, and all rows that are read.
        """
        rows: dict[Cindex, RowInputs] = {}
        read = set(wanted)
        todo = list(wanted)
        while todo:
            cindex = todo.pop()
            if cindex in self.existing:
                continue
            self.existing[cindex] = self.chunks
            number, index = cindex
            t, x = index
            parts = self.offsets.get(number)
            if parts is not None:
                shifted = [tuple([(leaf, (t + dt, x + dx)) for leaf, dt, dx in part]) for part in parts]
                rows[cindex] = RowInputs(tuple(shifted))
                reads = [(leaf.source, place) for part in shifted for leaf, place in part]
            else:
                rows[cindex] = self._inputs(cindex, exists)
                reads = reads_of(self.graph.values[number], rows[cindex])
            todo.extend([source for source in reads if source not in read])
            read.update(reads)
        return rows, read

    def _inputs(self, cindex: Cindex, exists: dict[Cindex, bool]) -> RowInputs:
        """Returns what a row is computed from; ``exists`` says which rows there are."""
        number, index = cindex
        value = self.graph.values[number]
        if isinstance(value, WindowValue):
            times, _ = value.window.input_times(index[0]) or ((), ())
            places = [(t, index[1]) for t in times]
            return RowInputs(window=tuple(place if exists[value.source, place] else None for place in places))
        assert isinstance(value, RowValue)
        return RowInputs(tuple(uses_at(part, index, exists.__getitem__) or () for part in value.parts))

    def _name(self, cindex: Cindex) -> str:
        number, (t, _) = cindex
        return f"{self.graph.values[number].name} at frame {t}"


def reads_of(value: Value, inputs: RowInputs) -> list[Cindex]:
    """Returns the rows that a row is computed from."""
    if isinstance(value, WindowValue):
        return [(value.source, place) for place in inputs.window if place is not None]
    return [
        (leaf.source, index)
        for uses in inputs.parts
        for leaf, index in uses
        if index is not None and isinstance(leaf, Leaf)
    ]


def required_inputs(graph: Graph) -> dict[int, tuple[tuple[int, int], ...]]:
    """Returns, per value, the earliest and latest frame of each input that it requires.

    Frames are relative to the value's own, and x does not change. Only requirements through constant offsets
    are followed; there may be others.
    """
    bounds: dict[int, dict[int, tuple[int, int]]] = {number: {} for number in graph.values}
    for component in graph.components:
        for _ in component:
            for number in component:
                _require(graph.values[number], number, bounds)
    return {
        number: tuple({(source, dt): None for source, ends in inputs.items() for dt in ends})
        for number, inputs in bounds.items()
    }


def _require(value: Value, number: int, bounds: dict[int, dict[int, tuple[int, int]]]) -> None:
    if isinstance(value, InputValue):
        bounds[number][number] = (0, 0)
    for source, first, last in _required_offsets(value):
        for name, (earliest, latest) in bounds[source].items():
            ends = bounds[number].get(name, (earliest + first, latest + last))
            bounds[number][name] = (min(ends[0], earliest + first), max(ends[1], latest + last))


def _required_offsets(value: Value) -> Iterator[tuple[int, int, int]]:
    """Yields the values that a value requires, with the first and last offset in time."""
    if isinstance(value, WindowValue):
        times, needed = value.window.input_times(0) or ((), ())
        offsets = [t for t, need in zip(times, needed, strict=True) if need]
        if offsets and not value.window.any_suffices:
            yield value.source, min(offsets), max(offsets)
    elif isinstance(value, RowValue):
        for leaf in (leaf for part in value.parts for leaf in required_leaves(part)):
            shifts = [step for step in leaf.maps if isinstance(step, Shift) and step.dx == 0]
            if len(shifts) == len(leaf.maps):
                offset = sum(step.dt for step in shifts)
                yield leaf.source, offset, offset


def _constant_offsets(part: Part) -> PartOffsets | None:
    """Returns the leaves of a part that is one or a sum of them; None if one does more than shift t and x."""
    leaves = part.terms if isinstance(part, SumOf) else (part,)
    offsets = []
    for leaf in leaves:
        if not isinstance(leaf, Leaf) or not all(isinstance(step, Shift) for step in leaf.maps):
            return None
        shifts = [step for step in leaf.maps if isinstance(step, Shift)]
        offsets.append((leaf, sum(step.dt for step in shifts), sum(step.dx for step in shifts)))
    return offsets


def fixed_times(graph: Graph) -> set[tuple[int, int]]:
    """Returns the values that are read at a fixed time, and the time."""
    return {
        (leaf.source, step.t)
        for value in graph.values.values()
        if isinstance(value, RowValue)
        for part in value.parts
        for leaf in leaves_of(part)
        for step in leaf.maps
        if isinstance(step, FixTime)
    }
