"""Components that combine columns of the same row: norms, products, sums, permutation, pooling
(``nnet3/nnet-simple-component.cc``, ``nnet-normalize-component.cc``).

NormalizeComponent scales each block of a row to the root mean square ``target_rms``; with ``add_log_stddev``,
it appends the logarithm of the block's original root mean square.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet3.components.base import (
    BOOL,
    INTEGER,
    INTEGERS,
    MAX_DIM,
    NUMBER,
    Array,
    Call,
    Component,
    Fields,
    Kernel,
    Scratch,
    component,
    maximum_call,
)

__all__ = ["ElementwiseProduct", "MaxOfColumns", "Normalize", "Pnorm", "SumBlock", "SumGroup", "TakeColumns"]

_SQUARED_NORM_FLOOR = np.full((), 2.0**-66, np.float32)
_MINUS_HALF = np.full((), -0.5, np.float32)


class Normalize(Kernel):
    """Blocks scaled to a root mean square; see the module's docstring."""

    def __init__(self, dim: int, block_dim: int, target_rms: float, add_log_stddev: bool):
        self.blocks = dim // block_dim
        self.block_dim = block_dim
        self.target_rms = target_rms
        self.add_log_stddev = add_log_stddev
        super().__init__(dim, dim + self.blocks * add_log_stddev)

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        rows = len(x)
        blocks = x.reshape(rows, self.blocks, self.block_dim)
        squares = scratch(rows, self.blocks, self.block_dim)
        norm = scratch(rows, self.blocks, 1)
        shape = (rows, self.blocks, self.block_dim + self.add_log_stddev)
        out = y.reshape(shape)
        weight = np.full((), 1.0 / (self.block_dim * self.target_rms**2), np.float32)
        # norm becomes target_rms / (rms of the block).
        calls: list[Call] = [
            (np.multiply, (blocks, blocks, squares)),
            (np.sum, (squares, 2, None, norm, True)),
            (np.multiply, (norm, weight, norm)),
            maximum_call(norm, _SQUARED_NORM_FLOOR, norm),
            (np.power, (norm, _MINUS_HALF, norm)),
            (np.multiply, (blocks, norm, out[:, :, : self.block_dim])),
        ]
        if self.add_log_stddev:
            log_target = np.full((), math.log(self.target_rms), np.float32)
            calls += [
                (np.log, (norm, norm)),
                (np.subtract, (log_target, norm, out[:, :, self.block_dim :])),
            ]
        return calls


class Pnorm(Kernel):
    """The Euclidean norm of each group of neighbouring columns."""

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        groups = x.reshape(len(x), self.output_dim, -1)
        squares = scratch(*groups.shape)
        return [
            (np.multiply, (groups, groups, squares)),
            (np.sum, (squares, 2, None, y)),
            (np.sqrt, (y, y)),
        ]


class ElementwiseProduct(Kernel):
    """The product of the blocks of a row."""

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        dim = self.output_dim
        blocks = [x[:, start : start + dim] for start in range(0, self.input_dim, dim)]
        if len(blocks) == 1:
            return [(np.copyto, (y, x))]
        calls: list[Call] = [(np.multiply, (blocks[0], blocks[1], y))]
        return calls + [(np.multiply, (y, block, y)) for block in blocks[2:]]


class SumBlock(Kernel):
    """A multiple of the sum of the blocks of a row."""

    def __init__(self, input_dim: int, output_dim: int, scale: float):
        super().__init__(input_dim, output_dim)
        self.scale = np.full((), scale, np.float32)

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        blocks = x.reshape(len(x), -1, self.output_dim)
        return [(np.sum, (blocks, 1, None, y)), (np.multiply, (y, self.scale, y))]


class SumGroup(Kernel):
    """The sum of each group of neighbouring columns; groups may differ in size."""

    def __init__(self, sizes: NDArray[np.int32]):
        super().__init__(int(sizes.sum()), len(sizes))
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        return [(np.add.reduceat, (x, self.starts, 1, None, y))]


class TakeColumns(Kernel):
    """Columns selected by number: y[:, i] = x[:, columns[i]]."""

    def __init__(self, input_dim: int, columns: NDArray[np.intp]):
        super().__init__(input_dim, len(columns))
        self.columns = columns

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        return [(np.take, (x, self.columns, 1, y, "clip"))]


class MaxOfColumns(Kernel):
    """The maximum over several selections of columns, (selections, output_dim)."""

    def __init__(self, input_dim: int, columns: NDArray[np.intp]):
        super().__init__(input_dim, columns.shape[1])
        self.columns = columns

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        patches = scratch(len(x), *self.columns.shape)
        return [(np.take, (x, self.columns, 1, patches, "clip")), (np.amax, (patches, 1, y))]


@component(
    "NormalizeComponent",
    InputDim=INTEGER,
    Dim=INTEGER,
    BlockDim=INTEGER,
    TargetRms=NUMBER,
    AddLogStddev=BOOL,
)
def _normalize(fields: Fields) -> Component:
    dim = fields.dim("InputDim", "Dim")
    block_dim = fields.integer("BlockDim", least=1, most=dim, default=dim)
    target_rms = fields.number("TargetRms", 1.0)
    if dim % block_dim or target_rms <= 0:
        raise fields.error("whole blocks and a positive target", f"{dim} / {block_dim}, {target_rms}")
    weight = 1.0 / (block_dim * target_rms**2) if target_rms**2 > 0 else math.inf
    fields.derived(np.array(weight), "1 / <TargetRms> squared")
    kernel = Normalize(dim, block_dim, target_rms, bool(fields.get("AddLogStddev", False)))
    return Component.row_wise(fields.type_name, kernel)


@component("PnormComponent", InputDim=INTEGER, OutputDim=INTEGER)
def _pnorm(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Pnorm(*_block_dims(fields)))


@component("ElementwiseProductComponent", InputDim=INTEGER, OutputDim=INTEGER)
def _elementwise_product(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, ElementwiseProduct(*_block_dims(fields)))


@component("SumBlockComponent", InputDim=INTEGER, OutputDim=INTEGER, Scale=NUMBER)
def _sum_block(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, SumBlock(*_block_dims(fields), fields.number("Scale", 1.0)))


@component("SumGroupComponent", Sizes=INTEGERS)
def _sum_group(fields: Fields) -> Component:
    sizes = fields.require("Sizes")
    if len(sizes) == 0 or sizes.min() < 1 or sizes.sum(dtype=np.int64) > MAX_DIM:
        raise fields.error("positive group sizes", str(sizes[:8].tolist()))
    return Component.row_wise(fields.type_name, SumGroup(sizes))


@component("PermuteComponent", ColumnMap=INTEGERS)
def _permute(fields: Fields) -> Component:
    columns = fields.require("ColumnMap")
    if len(columns) == 0 or not np.array_equal(np.sort(columns), np.arange(len(columns))):
        raise fields.error("a permutation of the columns", str(columns[:8].tolist()))
    return Component.row_wise(fields.type_name, TakeColumns(len(columns), columns.astype(np.intp)))


def _block_dims(fields: Fields) -> tuple[int, int]:
    input_dim, output_dim = fields.dim("InputDim"), fields.dim("OutputDim")
    if input_dim % output_dim:
        raise fields.error("an input of whole blocks", f"{input_dim} and {output_dim}")
    return input_dim, output_dim
