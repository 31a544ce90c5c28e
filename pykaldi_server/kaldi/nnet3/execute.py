"""Running a plan: NumPy calls over preallocated buffers, for one stream or several at once.

A `Workspace` binds one chunk of a plan for a number of streams: it owns the buffers and a flat list of calls,
each a NumPy function with its arguments, so that running a chunk is a loop over that list. A buffer has the
shape (rows, streams, dim): rows of all streams at the same time index are adjacent, so that one matrix
product serves all streams, and copies between time indexes stay contiguous.

The state of a stream between chunks is a list of arrays, one per value with kept rows. It is copied into the
buffers before a chunk and out of them after it. Workspaces keep nothing of a stream in between, so any number
of streams can share a few of them. `WorkspacePool` provides them to any number of threads.
"""

import math
import threading
from collections.abc import Sequence

import numpy as np

from pykaldi_server.kaldi.nnet3.components.affine import Affine
from pykaldi_server.kaldi.nnet3.components.base import Array, Call, Kernel
from pykaldi_server.kaldi.nnet3.graph import RowValue, WindowValue
from pykaldi_server.kaldi.nnet3.plan import Move, Plan, Step
from pykaldi_server.kaldi.nnet3.rows import row_runs

__all__ = ["State", "Workspace", "WorkspacePool"]

State = list[Array]
_MAX_IDLE = 8


class _Scratch:
    """Scratch arrays; each step starts again at the first block, so that steps share memory."""

    def __init__(self) -> None:
        self._blocks: list[Array] = []
        self._next = 0

    def begin_step(self) -> None:
        self._next = 0

    def __call__(self, *shape: int) -> Array:
        size = int(np.prod(shape))
        if self._next == len(self._blocks):
            self._blocks.append(np.empty(size, np.float32))
        elif len(self._blocks[self._next]) < size:
            self._blocks[self._next] = np.empty(size, np.float32)
        self._next += 1
        return self._blocks[self._next - 1][:size].reshape(shape)


class Workspace:
    """One chunk of a plan, bound to buffers for a number of streams."""

    def __init__(self, plan: Plan, chunk: int, streams: int):
        self.key = (chunk, streams)
        self._values = plan.graph.values
        self._streams = streams
        chunk_plan = plan.chunks[chunk]
        self._buffers = {
            value: np.empty((rows, streams, self._values[value].dim), np.float32)
            for value, rows in chunk_plan.buffer_rows.items()
        }
        self._scratch = _Scratch()
        self._calls = [call for step in chunk_plan.steps for call in self._bind_step(step)]
        self._load = [
            [self._buffers[value][:rows, stream] for value, rows in chunk_plan.loaded]
            for stream in range(streams)
        ]
        self._store = [
            [self._row_views(kept.value, kept.rows, stream) for kept in chunk_plan.kept]
            for stream in range(streams)
        ]
        self._state_shapes = [(len(kept.rows), self._values[kept.value].dim) for kept in chunk_plan.kept]
        self._inputs = {
            name: self._input_views(plan.graph.inputs[name], start, places)
            for name, (start, places) in chunk_plan.inputs.items()
        }
        self._outputs = [
            self._row_views(plan.graph.output, chunk_plan.output_rows, stream) for stream in range(streams)
        ]
        self._output_shape = (len(chunk_plan.output_rows), self._values[plan.graph.output].dim)

    def _row_views(self, value: int, rows: Sequence[int], stream: int) -> list[tuple[slice, Array]]:
        """Returns rows of a stream in a buffer as views, each with the position of its rows in ``rows``."""
        buffer = self._buffers[value]
        runs = row_runs(range(len(rows)), rows)
        return [(to, buffer[origin, stream]) for to, origin in runs if origin is not None]

    def _input_views(self, value: int, start: int, places: Sequence[int]) -> list[tuple[Array, slice]]:
        """Returns views of the buffer's rows from ``start`` on, each with the input rows to copy there."""
        fresh = self._buffers[value][start:]
        runs = row_runs(range(len(places)), places)
        return [(fresh[to], origin) for to, origin in runs if origin is not None]

    @property
    def matrix_products(self) -> list[tuple[int, int, int]]:
        """Sizes (rows, inner, columns) of the matrix products of a chunk, in order."""
        operands = (arguments for function, arguments in self._calls if function is np.matmul)
        return [(math.prod(x.shape[:-1]), x.shape[-1], weight.shape[-1]) for x, weight, _ in operands]

    def run(
        self, states: Sequence[State], inputs: Sequence[dict[str, Array]]
    ) -> tuple[list[Array], list[State]]:
        """Computes the chunk.

        Args:
            states: the state of each stream after its last chunk; overwritten.
            inputs: per stream, the rows of the chunk by input name, (rows, dim) float32, or (1, dim) for the
                same row throughout.

        Returns:
            The output of each stream, (rows, dim) float32, and its new state.
        """
        for views, state in zip(self._load, states, strict=True):
            for view, kept in zip(views, state, strict=True):
                view[...] = kept
        for stream, arrays in enumerate(inputs):
            for name, runs in self._inputs.items():
                array = arrays[name]
                for view, origin in runs:
                    view[:, stream] = array if len(array) == 1 else array[origin]
        for function, arguments in self._calls:
            function(*arguments)
        outputs = [np.empty(self._output_shape, np.float32) for _ in states]
        for output, parts in zip(outputs, self._outputs, strict=True):
            for to, view in parts:
                output[to] = view
        return outputs, [self._stored(stream, state) for stream, state in enumerate(states)]

    def _stored(self, stream: int, state: State) -> State:
        if [array.shape for array in state] != self._state_shapes:
            state = [np.empty(shape, np.float32) for shape in self._state_shapes]
        for array, parts in zip(state, self._store[stream], strict=True):
            for to, view in parts:
                array[to] = view
        return state

    def _bind_step(self, step: Step) -> list[Call]:
        self._scratch.begin_step()
        value = self._values[step.value]
        rows = self._buffers[step.value][step.rows]
        flat = rows.reshape(-1, value.dim)
        match value:
            case RowValue(kernels=()):
                return self._bind_moves(step.moves, rows)
            case RowValue(kernels=kernels):
                direct = self._direct_input(step, kernels[0])
                if direct is not None:
                    return self._bind_kernels(kernels, direct, flat)
                if all(kernel.in_place for kernel in kernels):
                    return self._bind_moves(step.moves, rows) + self._bind_kernels(kernels, flat, flat)
                gathered = self._scratch(len(rows), self._streams, kernels[0].input_dim)
                calls = self._bind_moves(step.moves, gathered)
                return calls + self._bind_kernels(kernels, gathered.reshape(len(flat), -1), flat)
            case WindowValue(source=source, window=window, kernels=kernels):
                assert step.window is not None
                target = rows
                if not all(kernel.in_place for kernel in kernels):
                    target = self._scratch(len(rows), self._streams, window.output_dim)
                calls = window.bind(self._buffers[source], step.window, target, self._scratch)
                return calls + self._bind_kernels(kernels, target.reshape(len(flat), -1), flat)
        raise TypeError(f"inputs are not computed: {value}")

    def _direct_input(self, step: Step, first: Kernel) -> Array | None:
        """Returns the step's input as a view of a buffer, if it is one and the kernel can read it."""
        if len(step.moves) != 1 or first.in_place:
            return None
        (move,) = step.moves
        count = step.rows.stop - step.rows.start
        if move.source is None or move.scale != 1.0 or len(range(*move.rows.indices(count))) != count:
            return None
        source = self._buffers[move.source]
        view = source[move.source_rows]
        if len(view) != count or (self._streams > 1 and move.source_rows.step != 1):
            return None
        whole = view.shape[2] == move.source_columns.stop - move.source_columns.start
        if not isinstance(first, Affine) and not (whole and move.source_rows.step == 1):
            return None
        # Contiguous rows, or rows of one stream at a constant distance: both can be viewed as one matrix.
        flat = view.reshape(-1, view.shape[2]) if move.source_rows.step == 1 else view[:, 0]
        return flat[:, move.source_columns]

    def _bind_moves(self, moves: Sequence[Move], target: Array) -> list[Call]:
        calls: list[Call] = []
        for move in moves:
            part = target[move.rows, :, move.columns]
            scale = np.full((), move.scale, np.float32)
            if move.source is None:
                calls.append((np.add, (part, scale, part)) if move.accumulate else (np.copyto, (part, scale)))
                continue
            source = self._buffers[move.source][move.source_rows, :, move.source_columns]
            if not move.accumulate:
                copy: Call = (np.copyto, (part, source))
                calls.append(copy if move.scale == 1.0 else (np.multiply, (source, scale, part)))
            elif move.scale == 1.0:
                calls.append((np.add, (part, source, part)))
            else:
                scaled = self._scratch(*source.shape)
                calls += [(np.multiply, (source, scale, scaled)), (np.add, (part, scaled, part))]
        return calls

    def _bind_kernels(self, kernels: Sequence[Kernel], x: Array, y: Array) -> list[Call]:
        """Binds kernels in sequence; the last ones, if they work in place, do so on ``y``."""
        calls: list[Call] = []
        for number, kernel in enumerate(kernels):
            target = x
            if not kernel.in_place:
                last = all(later.in_place for later in kernels[number + 1 :])
                target = y if last else self._scratch(len(y), kernel.output_dim)
            calls += kernel.bind(x, target, self._scratch)
            x = target
        return calls


class WorkspacePool:
    """Idle workspaces of one plan; only a few, the most recently used, are kept."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._idle: list[Workspace] = []
        self._lock = threading.Lock()

    def acquire(self, chunk: int, streams: int) -> Workspace:
        """Returns a workspace for a chunk; creates one if none is idle."""
        key = (chunk, streams)
        with self._lock:
            for position in reversed(range(len(self._idle))):
                if self._idle[position].key == key:
                    return self._idle.pop(position)
        return Workspace(self._plan, chunk, streams)

    def release(self, workspace: Workspace) -> None:
        """Returns a workspace to the pool."""
        with self._lock:
            self._idle.append(workspace)
            if len(self._idle) > _MAX_IDLE:
                self._idle.pop(0)
