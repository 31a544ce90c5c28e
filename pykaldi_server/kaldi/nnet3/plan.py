"""From resolved chunks to a plan: buffers, copies and steps, determined once for all streams.

Each value has a *buffer* for the rows that a chunk needs: first the rows kept from earlier chunks, then the
rows that are provided or computed in this chunk. A `Step` computes consecutive rows of one value; values in a
recurrence are computed in several steps, each as far as their own past allows.

After the first few chunks the pattern repeats, shifted by the chunk length, so a plan has few chunks: those
before the repetition, and one for all others (``nnet3/nnet-compile-looped.cc`` finds it by comparing the
commands of successive chunks).
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet3.components.base import Index
from pykaldi_server.kaldi.nnet3.graph import Graph, RowValue, WindowValue
from pykaldi_server.kaldi.nnet3.parts import Cindex, Constant, Leaf, Use, part_dim
from pykaldi_server.kaldi.nnet3.resolve import ChunkRows, Resolver, RowInputs, UnresolvableError
from pykaldi_server.kaldi.nnet3.rows import MISSING, row_runs

__all__ = ["ChunkPlan", "ChunkRequest", "Kept", "Move", "Plan", "Step", "plan_looped", "plan_single"]

_MAX_CHUNKS = 200
_MAX_TOTAL_ROWS = 3_000_000


@dataclass(frozen=True, slots=True)
class Move:
    """A copy into a step's input: ``rows`` are set to, or incremented by, ``scale`` times rows of a buffer.

    Attributes:
        rows: target rows, counted from the first row of the step.
        columns: target columns.
        source: number of the value read; None: the rows are filled with `scale`.
        source_rows: rows of the source's buffer: as many as target rows, or one for all of them.
        source_columns: columns of the source.
        scale: the factor.
        accumulate: add to the current contents.
    """

    rows: slice
    columns: slice
    source: int | None
    source_rows: slice
    source_columns: slice
    scale: float
    accumulate: bool


@dataclass(frozen=True)
class Step:
    """The computation of some rows of one value.

    Attributes:
        value: number of the value.
        rows: the rows of its buffer.
        moves: the copies that assemble the input of a row-wise value.
        window: for a windowed value, rows of the source's buffer, (rows, positions), -1 where one is missing.
    """

    value: int
    rows: slice
    moves: tuple[Move, ...]
    window: NDArray[np.intp] | None


@dataclass(frozen=True)
class Kept:
    """Rows of one value that later chunks need: ``rows`` of the buffer become rows 0, 1, ... of the next."""

    value: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class ChunkPlan:
    """How to compute one chunk.

    Attributes:
        buffer_rows: number of rows of each value's buffer.
        loaded: number of kept rows per value that has some, in the order of the previous chunk's `kept`.
        inputs: per input name, where its rows start in the buffer and which of the chunk's input rows
            (counted from the first one) they are.
        steps: the steps in order.
        output_rows: rows of the output's buffer, in order.
        kept: the rows that the next chunk loads.
    """

    buffer_rows: dict[int, int]
    loaded: tuple[tuple[int, int], ...]
    inputs: dict[str, tuple[int, tuple[int, ...]]]
    steps: tuple[Step, ...]
    output_rows: tuple[int, ...]
    kept: tuple[Kept, ...]


@dataclass(frozen=True)
class Plan:
    """The chunks of a computation; chunk k uses ``chunks[min(k, len(chunks) - 1)]``."""

    graph: Graph
    chunks: tuple[ChunkPlan, ...]


@dataclass(frozen=True)
class ChunkRequest:
    """The input of a chunk and its required output: indexes by input name, and indexes of the output."""

    inputs: dict[str, list[Index]]
    output: list[Index]


def plan_single(graph: Graph, request: ChunkRequest) -> Plan:
    """Plans a computation of one chunk.

    Raises:
        UnresolvableError: the output cannot be computed from the input.
    """
    rows = Resolver(graph).next_chunk(request.inputs, request.output)
    return Plan(graph, (_plan_chunk(graph, rows, request, [], []),))


def plan_looped(graph: Graph, request: Callable[[int], ChunkRequest], chunk_length: int) -> Plan:
    """Plans an endless computation.

    Args:
        graph: the network.
        request: returns the request of chunk 0, 1, ...; from 1 on, each is the previous one, shifted.
        chunk_length: frames between chunks.

    Raises:
        UnresolvableError: the output cannot be computed, or the pattern does not repeat soon enough.
    """
    history = _History(graph, chunk_length)
    while (first := history.regular_from()) is None:
        if len(history.chunks) > _MAX_CHUNKS or history.total_rows > _MAX_TOTAL_ROWS:
            raise UnresolvableError("a chunk depends on too much of the past: the pattern does not repeat")
        history.extend(request(len(history.chunks)))
    plans = []
    for number in range(first + 1):
        loaded = history.kept_after(number - 1) if number else []
        kept = history.kept_after(number)
        plans.append(_plan_chunk(graph, history.chunks[number], history.requests[number], loaded, kept))
    return Plan(graph, tuple(plans))


class _History:
    """The chunks resolved so far, from which the start of the repetition is found.

    The rows that a chunk reads are at most `reach` chunks old. If 2 reach + 1 consecutive chunks are equal
    except for the shift, so is the next one, because it reads equal rows; and the rows to keep after the
    first of them are known, because all their readers have been seen.
    """

    def __init__(self, graph: Graph, chunk_length: int):
        self._graph = graph
        self._length = chunk_length
        self._resolver = Resolver(graph)
        self._signatures: list[Hashable] = []
        self._last_use: dict[Cindex, int] = {}
        self._fixed: set[Cindex] = set()
        self._absolute: dict[int, bool] = {}  # by the identity of the leaf
        self._reach = 0
        self.chunks: list[ChunkRows] = []
        self.requests: list[ChunkRequest] = []
        self.total_rows = 0

    def extend(self, request: ChunkRequest) -> None:
        """Resolves one more chunk."""
        number = len(self.chunks)
        chunk = self._resolver.next_chunk(request.inputs, request.output)
        self.chunks.append(chunk)
        self.requests.append(request)
        self.total_rows += len(chunk.rows)
        latest = max(
            [t for _, (t, _) in chunk.rows] + [t for times in request.inputs.values() for t, _ in times]
        )
        self._reach = (latest - chunk.earliest) // self._length + 2
        self._signatures.append(frozenset(self._row_signatures(number, chunk)))

    def regular_from(self) -> int | None:
        """Returns the first chunk that represents all later ones; None if it is not known yet."""
        first = len(self.chunks) - 1 - 2 * self._reach
        if first < 1 or len(set(self._signatures[first:])) != 1:
            return None
        before = {self._relative(cindex, first) for cindex in self.kept_after(first - 1)}
        after = {self._relative(cindex, first + 1) for cindex in self.kept_after(first)}
        return first if before == after else None

    def kept_after(self, number: int) -> list[Cindex]:
        """Returns the rows that exist after a chunk and are read later, those at fixed times first."""
        existing = self._resolver.existing
        kept = [
            cindex
            for cindex, last_use in self._last_use.items()
            if existing[cindex] <= number and (last_use > number or cindex in self._fixed)
        ]
        return sorted(kept, key=lambda cindex: (cindex[0], cindex not in self._fixed, cindex[1]))

    def _relative(self, cindex: Cindex, number: int) -> Hashable:
        value, (t, x) = cindex
        return cindex if cindex in self._fixed else (value, t - number * self._length, x, "moves")

    def _row_signatures(self, number: int, chunk: ChunkRows) -> Iterator[Hashable]:
        """Yields what determines the computation of each row; times and ages are relative to the chunk."""
        start = number * self._length
        existing, last_use = self._resolver.existing, self._last_use
        for (value, (t, x)), inputs in chunk.rows.items():
            reads: list[Hashable] = []
            for leaf, cindex in _leaf_reads(self._graph, value, inputs):
                last_use[cindex] = number
                if leaf is not None and self._is_absolute(leaf):
                    self._fixed.add(cindex)
                    reads.append((id(leaf), cindex))
                else:
                    source, (source_t, source_x) = cindex
                    reads.append((id(leaf), source, source_t - start, source_x, number - existing[cindex]))
            missing = tuple(place is None for place in inputs.window)
            constants = tuple(id(leaf) for uses in inputs.parts for leaf, index in uses if index is None)
            yield value, t - start, x, tuple(reads), missing, constants

    def _is_absolute(self, leaf: Leaf) -> bool:
        known = self._absolute.get(id(leaf))
        if known is None:
            known = self._absolute[id(leaf)] = leaf.absolute
        return known


def _leaf_reads(graph: Graph, number: int, inputs: RowInputs) -> Iterator[tuple[Leaf | None, Cindex]]:
    """Yields what a row reads, with the leaf that reads it (None in a window)."""
    value = graph.values[number]
    if isinstance(value, WindowValue):
        for place in inputs.window:
            if place is not None:
                yield None, (value.source, place)
    for uses in inputs.parts:
        for leaf, index in uses:
            if isinstance(leaf, Leaf) and index is not None:
                yield leaf, (leaf.source, index)


# One chunk


def _plan_chunk(
    graph: Graph,
    chunk: ChunkRows,
    request: ChunkRequest,
    loaded: list[Cindex],
    kept: list[Cindex],
) -> ChunkPlan:
    layout = _Layout(graph)
    for cindex in loaded:
        layout.place(cindex)
    load_counts = tuple(layout.buffer_rows.items())
    read = {
        cindex for (value, _), inputs in chunk.rows.items() for _, cindex in _leaf_reads(graph, value, inputs)
    }
    read.update(kept, chunk.output)
    inputs: dict[str, tuple[int, tuple[int, ...]]] = {}
    for name, indexes in request.inputs.items():
        value = graph.inputs.get(name)
        if value is None:
            continue
        needed = [place for place, index in enumerate(indexes) if (value, index) in read]
        inputs[name] = (layout.buffer_rows.get(value, 0), tuple(needed))
        for place in needed:
            layout.place((value, indexes[place]))
    steps = [layout.step(value, indexes, chunk.rows) for value, indexes in _ordered_rows(graph, chunk.rows)]
    return ChunkPlan(
        buffer_rows=dict(layout.buffer_rows),
        loaded=load_counts,
        inputs=inputs,
        steps=tuple(steps),
        output_rows=tuple(layout.row_of[cindex] for cindex in chunk.output),
        kept=tuple(layout.kept(kept)),
    )


def _ordered_rows(graph: Graph, rows: dict[Cindex, RowInputs]) -> Iterator[tuple[int, list[Index]]]:
    """Yields values with rows that can be computed at once, in a valid order."""
    by_value: dict[int, list[Index]] = defaultdict(list)
    for value, index in rows:
        by_value[value].append(index)
    for component in graph.components:
        present = [value for value in component if value in by_value]
        members = {(value, index) for value in present for index in by_value[value]}
        if not any(
            cindex[0] in component
            for member in members
            for _, cindex in _leaf_reads(graph, member[0], rows[member])
        ):
            for value in present:
                yield value, sorted(by_value[value])
            continue
        levels: dict[tuple[int, int], list[Index]] = defaultdict(list)
        for (value, index), level in _levels(graph, rows, members).items():
            levels[level, value].append(index)
        for (_, value), indexes in sorted(levels.items()):
            yield value, sorted(indexes)


def _levels(graph: Graph, rows: dict[Cindex, RowInputs], members: set[Cindex]) -> dict[Cindex, int]:
    """Returns, per member, how many other members must be computed before it, one after another."""
    level: dict[Cindex, int] = {}
    for root in sorted(members):
        stack = [root]
        while stack:
            cindex = stack[-1]
            reads = [read for _, read in _leaf_reads(graph, cindex[0], rows[cindex]) if read in members]
            open_reads = [read for read in reads if read not in level]
            if open_reads:
                stack.extend(open_reads)
                continue
            level[cindex] = 1 + max((level[read] for read in reads), default=-1)
            stack.pop()
    return level


class _Layout:
    """Assigns each row a position in the buffer of its value, and writes steps in terms of positions."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self.row_of: dict[Cindex, int] = {}
        self.buffer_rows: dict[int, int] = {}

    def place(self, cindex: Cindex) -> int:
        """Assigns a row the next position in its value's buffer."""
        row = self.row_of[cindex] = self.buffer_rows.get(cindex[0], 0)
        self.buffer_rows[cindex[0]] = row + 1
        return row

    def kept(self, cindexes: list[Cindex]) -> Iterator[Kept]:
        """Yields the positions of the kept rows, value by value."""
        by_value: dict[int, list[int]] = defaultdict(list)
        for cindex in cindexes:
            by_value[cindex[0]].append(self.row_of[cindex])
        for value, rows in by_value.items():
            yield Kept(value, tuple(rows))

    def step(self, number: int, indexes: list[Index], rows: dict[Cindex, RowInputs]) -> Step:
        """Places rows of one value and writes the step that computes them."""
        start = self.buffer_rows.get(number, 0)
        for index in indexes:
            self.place((number, index))
        inputs = [rows[number, index] for index in indexes]
        value = self._graph.values[number]
        target = slice(start, start + len(indexes))
        if isinstance(value, WindowValue):
            window = [
                [MISSING if place is None else self.row_of[value.source, place] for place in row.window]
                for row in inputs
            ]
            return Step(number, target, (), np.array(window, np.intp))
        assert isinstance(value, RowValue)
        moves: list[Move] = []
        column = 0
        for position, part in enumerate(value.parts):
            columns = slice(column, column + part_dim(part))
            moves += self._moves([row.parts[position] for row in inputs], columns)
            column = columns.stop
        return Step(number, target, tuple(moves), None)

    def _moves(self, uses: Sequence[tuple[Use, ...]], columns: slice) -> Iterator[Move]:
        """Yields the copies that fill some columns, given the terms of each row."""
        rows_by_leaves: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, row_uses in enumerate(uses):
            rows_by_leaves[tuple(id(leaf) for leaf, _ in row_uses)].append(row)
        for rows in rows_by_leaves.values():
            terms = len(uses[rows[0]])
            if terms == 0:
                yield from self._fill(rows, columns, 0.0, accumulate=False)
            for term in range(terms):
                leaf = uses[rows[0]][term][0]
                if isinstance(leaf, Constant):
                    yield from self._fill(rows, columns, leaf.value, accumulate=term > 0)
                    continue
                sources = [self.row_of[leaf.source, uses[row][term][1]] for row in rows]  # type: ignore[index]
                source_columns = slice(leaf.column, leaf.column + leaf.dim)
                for target, origin in row_runs(rows, sources):
                    assert origin is not None
                    yield Move(target, columns, leaf.source, origin, source_columns, leaf.scale, term > 0)

    @staticmethod
    def _fill(rows: list[int], columns: slice, number: float, accumulate: bool) -> Iterator[Move]:
        for target, _ in row_runs(rows, [MISSING] * len(rows)):
            yield Move(target, columns, None, slice(0), slice(0), number, accumulate)
