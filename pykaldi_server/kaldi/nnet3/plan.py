"""From resolved chunks to a plan: buffers, copies and steps, determined once for all streams.

Each value has a *buffer* for the rows that a chunk needs: first the rows kept from earlier chunks, then the
rows that are provided or computed in this chunk. A `Step` computes consecutive rows of one value; values in a
recurrence are computed in several steps, each as far as their own past allows.

After the first few chunks the pattern repeats, shifted by the chunk length, so a plan has few chunks: those
before the repetition, and one for all others (``nnet3/nnet-compile-looped.cc`` finds it by comparing the
commands of successive chunks).
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet3.components.base import Index
from pykaldi_server.kaldi.nnet3.graph import Graph, RowValue, WindowValue
from pykaldi_server.kaldi.nnet3.parts import Cindex, Constant, Leaf, Use, part_dim
from pykaldi_server.kaldi.nnet3.resolve import ChunkRows, Resolver, RowInputs, UnresolvableError, reads_of
from pykaldi_server.kaldi.nnet3.rows import MISSING, row_runs

__all__ = ["ChunkPlan", "ChunkRequest", "Kept", "Move", "Plan", "Step", "plan_looped", "plan_single"]

_MAX_CHUNKS = 200
_MAX_TOTAL_ROWS = 3_000_000


class Move(NamedTuple):
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


class Step(NamedTuple):
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


class Kept(NamedTuple):
    """Rows of one value that later chunks need: ``rows`` of the buffer become rows 0, 1, ... of the next."""

    value: int
    rows: tuple[int, ...]


class ChunkPlan(NamedTuple):
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


class Plan(NamedTuple):
    """The chunks of a computation; chunk k uses ``chunks[min(k, len(chunks) - 1)]``."""

    graph: Graph
    chunks: tuple[ChunkPlan, ...]


class ChunkRequest(NamedTuple):
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

    The rows that a chunk reads are at most `reach` chunks old, except for rows at fixed times. If reach + 1
    consecutive chunks are equal except for the shift, so is the next one: it finds the rows that the last of
    them found, if the fixed times are past, so that rows there do not come to exist any more. And the rows to
    keep after the first of them are known, because all their readers have been seen.
    """

    def __init__(self, graph: Graph, chunk_length: int):
        self._graph = graph
        self._length = chunk_length
        self._resolver = Resolver(graph)
        self._signatures: list[Hashable] = []
        self._last_use: dict[Cindex, int] = {}
        self._fixed: set[Cindex] = set()
        self._last_fixed_time = max((t for _, t in self._resolver.fixed_times), default=0)
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
        reach = (latest - chunk.earliest) // self._length + 2
        self._reach = reach if number <= 1 else max(self._reach, reach)  # chunk 0 is longer than the others
        self._signatures.append(self._signature(number, chunk))
        self._last_use.update(dict.fromkeys(chunk.read, number))

    def regular_from(self) -> int | None:
        """Returns the first chunk that represents all later ones; None if it is not known yet."""
        first = len(self.chunks) - 1 - self._reach
        if first < 1 or first * self._length <= self._last_fixed_time:
            return None
        if len(set(self._signatures[first:])) != 1:
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

    def _signature(self, number: int, chunk: ChunkRows) -> Hashable:
        """Returns what determines how a chunk is computed; times and ages are relative to the chunk."""
        start = number * self._length
        rows = [
            # What a row at constant offsets reads follows from its own place.
            (value, t - start, x, None if value in self._resolver.offsets else self._inputs(inputs, number))
            for (value, (t, x)), inputs in chunk.rows.items()
        ]
        existing = self._resolver.existing
        ages = [
            (self._relative(cindex, number), cindex in self._fixed or number - existing[cindex])
            for cindex in chunk.read
        ]
        return frozenset(rows), frozenset(ages)

    def _inputs(self, inputs: RowInputs, number: int) -> Hashable:
        """Returns what a row reads, relative to the chunk."""
        uses: list[Hashable] = []
        for leaf, index in itertools.chain.from_iterable(inputs.parts):
            if isinstance(leaf, Leaf) and index is not None:
                if leaf.absolute:
                    self._fixed.add((leaf.source, index))
                uses.append((id(leaf), self._relative((leaf.source, index), number)))
            else:
                uses.append(id(leaf))
        missing = tuple(place is None for place in inputs.window)
        return tuple(uses), missing


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
    read = chunk.read.union(kept)
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
            source in component
            for member in members
            for source, _ in reads_of(graph.values[member[0]], rows[member])
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
            reads = [read for read in reads_of(graph.values[cindex[0]], rows[cindex]) if read in members]
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
