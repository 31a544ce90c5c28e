"""From a plan to computations that the core runs: places in memory, and commands.

Each value's buffer is a matrix in the memory of the computation, from the first step that writes it to the
last one that reads it; then its place is free for others, so that a chunk fits into the processor's cache.
Steps become commands of `NnetComputation`. A step whose input is in one piece somewhere reads it from there;
other inputs are assembled first.

The state of a stream between chunks consists of the kept rows of all values, one after the other.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import NnetComputation, NnetMemoryPool, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import Kernel
from pykaldi_server.kaldi.nnet3.graph import RowValue, WindowValue
from pykaldi_server.kaldi.nnet3.plan import ChunkPlan, Move, Plan, Step
from pykaldi_server.kaldi.nnet3.rows import row_runs
from pykaldi_server.kaldi.nnet3.sub_matrices import column_range, row_slice

__all__ = ["INPUTS", "compile_chunk"]

INPUTS = ("input", "ivector")
"""The inputs of a computation, in the order in which it takes them."""

_ALIGNMENT = 16  # floats in a cache line


def compile_chunk(
    plan: Plan,
    chunk: int,
    pool: NnetMemoryPool,
    log_priors: NDArray[np.float32] | None,
    acoustic_scale: float,
) -> NnetComputation:
    """Compiles one chunk of a plan.

    Args:
        plan: the plan.
        chunk: number of the chunk.
        pool: memory for this and other computations.
        log_priors: (output dim,) float32, subtracted from each output row; None: nothing.
        acoustic_scale: the rest of an output row is multiplied by this.
    """
    return _Compiler(plan, chunk, pool).compile(log_priors, acoustic_scale)


class _Memory:
    """Assigns places in memory: the first free one that is large enough."""

    def __init__(self) -> None:
        self._free = [(0, 1 << 62)]

    def allocate(self, num_rows: int, num_cols: int) -> SubMatrix:
        """Returns a contiguous matrix."""
        size = _aligned_size(num_rows, num_cols)
        place = next(place for place, (_, free) in enumerate(self._free) if free >= size)
        offset, free = self._free[place]
        self._free[place : place + 1] = [(offset + size, free - size)] if free > size else []
        return SubMatrix(offset, num_rows, num_cols, num_cols)

    def release(self, matrix: SubMatrix) -> None:
        """Frees a place; `matrix` is what `allocate` returned."""
        blocks = sorted([*self._free, (matrix.offset, _aligned_size(matrix.num_rows, matrix.num_cols))])
        self._free = blocks[:1]
        for offset, size in blocks[1:]:
            last, last_size = self._free[-1]
            if last + last_size == offset:
                self._free[-1] = (last, last_size + size)
            else:
                self._free.append((offset, size))


def _aligned_size(num_rows: int, num_cols: int) -> int:
    return -(-num_rows * num_cols // _ALIGNMENT) * _ALIGNMENT


class _Compiler:
    """Compiles one chunk."""

    def __init__(self, plan: Plan, chunk: int, pool: NnetMemoryPool):
        self._graph = plan.graph
        self._values = plan.graph.values
        self._plan: ChunkPlan = plan.chunks[chunk]
        self._memory = _Memory()
        self._buffers: dict[int, SubMatrix] = {}
        self._scratch_blocks: list[SubMatrix] = []
        self._commands = NnetComputation(pool)

    def compile(self, log_priors: NDArray[np.float32] | None, acoustic_scale: float) -> NnetComputation:
        """Returns the finished computation."""
        for value, rows in self._plan.loaded:
            self._commands.load(row_slice(self._buffer(value), slice(rows)))
        for name, (start, places) in self._plan.inputs.items():
            if places:
                self._add_input(INPUTS.index(name), self._buffer(self._graph.inputs[name]), start, places)
        last_use = self._last_uses()
        for number, step in enumerate(self._plan.steps):
            self._add_step(step)
            for block in self._scratch_blocks:
                self._memory.release(block)
            self._scratch_blocks.clear()
            for value in [value for value in self._buffers if last_use.get(value, number) == number]:
                self._memory.release(self._buffers.pop(value))
        self._add_output(log_priors, acoustic_scale)
        for kept in self._plan.kept:
            for _, run in row_runs(range(len(kept.rows)), kept.rows):
                assert run is not None
                self._commands.store(row_slice(self._buffers[kept.value], run))
        self._commands.finish()
        return self._commands

    def _buffer(self, value: int) -> SubMatrix:
        """Returns the buffer of a value; assigns it a place at its first use."""
        if value not in self._buffers:
            rows = self._plan.buffer_rows[value]
            self._buffers[value] = self._memory.allocate(rows, self._values[value].dim)
        return self._buffers[value]

    def _scratch(self, num_rows: int, num_cols: int) -> SubMatrix:
        """Returns a matrix for use within the current step."""
        self._scratch_blocks.append(self._memory.allocate(num_rows, num_cols))
        return self._scratch_blocks[-1]

    def _last_uses(self) -> dict[int, int]:
        """Returns the last step that reads or writes each value; past the last step if it is needed then."""
        last_use: dict[int, int] = {}
        for number, step in enumerate(self._plan.steps):
            last_use[step.value] = number
            last_use.update((move.source, number) for move in step.moves if move.source is not None)
            value = self._values[step.value]
            if isinstance(value, WindowValue):
                last_use[value.source] = number
        end = len(self._plan.steps)
        last_use[self._graph.output] = end
        last_use.update((kept.value, end) for kept in self._plan.kept)
        return last_use

    def _add_input(self, number: int, buffer: SubMatrix, start: int, places: Sequence[int]) -> None:
        fresh = row_slice(buffer, slice(start, start + len(places)))
        for target, origin in row_runs(range(len(places)), places):
            assert origin is not None
            self._commands.input(number, origin.start, origin.step, row_slice(fresh, target))

    def _add_output(self, log_priors: NDArray[np.float32] | None, acoustic_scale: float) -> None:
        buffer = self._buffer(self._graph.output)
        rows = self._plan.output_rows
        output = self._scratch(len(rows), buffer.num_cols)
        for target, origin in row_runs(range(len(rows)), rows):
            assert origin is not None
            part = row_slice(output, target)
            self._commands.copy(row_slice(buffer, origin, part.num_rows), part, acoustic_scale)
        if log_priors is not None:
            self._commands.scale_and_offset(output, None, log_priors * np.float32(-acoustic_scale))
        self._commands.output(output)

    def _add_step(self, step: Step) -> None:
        value = self._values[step.value]
        rows = row_slice(self._buffer(step.value), step.rows)
        match value:
            case RowValue(kernels=()):
                self._add_moves(step.moves, rows)
            case RowValue(kernels=kernels):
                direct = self._direct_input(step.moves, rows.num_rows)
                if direct is not None and not kernels[0].in_place:
                    self._add_kernels(kernels, direct, rows)
                elif all(kernel.in_place for kernel in kernels):
                    self._add_moves(step.moves, rows)
                    self._add_kernels(kernels, rows, rows)
                else:
                    gathered = self._scratch(rows.num_rows, kernels[0].input_dim)
                    self._add_moves(step.moves, gathered)
                    self._add_kernels(kernels, gathered, rows)
            case WindowValue(source=source, window=window, kernels=kernels):
                assert step.window is not None
                target = rows
                if not all(kernel.in_place for kernel in kernels):
                    target = self._scratch(rows.num_rows, window.output_dim)
                window.bind(self._buffer(source), step.window, target, self._commands, self._scratch)
                self._add_kernels(kernels, target, rows)
            case _:
                raise TypeError(f"inputs are not computed: {value}")

    def _direct_input(self, moves: Sequence[Move], num_rows: int) -> SubMatrix | None:
        """Returns the input as part of a buffer, if it is one unchanged."""
        if len(moves) != 1:
            return None
        (move,) = moves
        if move.source is None or move.scale != 1.0 or len(range(*move.rows.indices(num_rows))) != num_rows:
            return None
        return self._source(move, num_rows)

    def _source(self, move: Move, num_rows: int) -> SubMatrix:
        assert move.source is not None
        rows = row_slice(self._buffer(move.source), move.source_rows, num_rows)
        return column_range(rows, move.source_columns.start, move.source_columns.stop)

    def _add_moves(self, moves: Sequence[Move], target: SubMatrix) -> None:
        for move in moves:
            rows = row_slice(target, move.rows)
            part = column_range(rows, move.columns.start, move.columns.stop)
            if move.source is None:
                self._commands.fill(part, move.scale, move.accumulate)
            else:
                source = self._source(move, part.num_rows)
                self._commands.copy(source, part, move.scale, move.accumulate)

    def _add_kernels(self, kernels: Sequence[Kernel], x: SubMatrix, y: SubMatrix) -> None:
        """Adds kernels in sequence; the last ones, if they work in place, do so on ``y``."""
        for number, kernel in enumerate(kernels):
            target = x
            if not kernel.in_place:
                last = all(later.in_place for later in kernels[number + 1 :])
                target = y if last else self._scratch(y.num_rows, kernel.output_dim)
            kernel.bind(x, target, self._commands, self._scratch)
            x = target
