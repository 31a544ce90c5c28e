"""Components that combine columns of the same row: norms, products, sums, permutation, pooling
(``nnet3/nnet-simple-component.cc``, ``nnet-normalize-component.cc``).

NormalizeComponent scales each block of a row to the root mean square ``target_rms``; with ``add_log_stddev``,
it appends the logarithm of the block's original root mean square.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import NnetComputation, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import (
    BOOL,
    INTEGER,
    INTEGERS,
    MAX_DIM,
    NUMBER,
    Component,
    Fields,
    Kernel,
    Scratch,
    component,
)
from pykaldi_server.kaldi.nnet3.sub_matrices import column_range

__all__ = ["ElementwiseProduct", "MaxOfColumns", "Normalize", "Pnorm", "SumBlock", "SumGroup", "TakeColumns"]


class Normalize(Kernel):
    """Blocks scaled to a root mean square; see the module's docstring."""

    def __init__(self, dim: int, block_dim: int, target_rms: float, add_log_stddev: bool):
        self.blocks = dim // block_dim
        self.block_dim = block_dim
        self.target_rms = target_rms
        self.add_log_stddev = add_log_stddev
        super().__init__(dim, dim + self.blocks * add_log_stddev)

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.normalize(x, y, self.block_dim, self.target_rms, self.add_log_stddev)


class Pnorm(Kernel):
    """The Euclidean norm of each group of neighbouring columns."""

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.pnorm(x, y)


class ElementwiseProduct(Kernel):
    """The product of the blocks of a row."""

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        dim = self.output_dim
        first, *others = (column_range(x, start, start + dim) for start in range(0, self.input_dim, dim))
        if not others:
            commands.copy(first, y)
        for block in others:
            commands.multiply(first, block, y)
            first = y


class SumBlock(Kernel):
    """A multiple of the sum of the blocks of a row."""

    def __init__(self, input_dim: int, output_dim: int, scale: float):
        super().__init__(input_dim, output_dim)
        self.scale = scale

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.sum_blocks(x, y, self.scale)


class SumGroup(Kernel):
    """The sum of each group of neighbouring columns; groups may differ in size."""

    def __init__(self, sizes: NDArray[np.int32]):
        super().__init__(int(sizes.sum()), len(sizes))
        self.sizes: list[int] = sizes.tolist()

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.sum_groups(x, y, self.sizes)


class TakeColumns(Kernel):
    """Columns selected by number: y[:, i] = x[:, columns[i]]."""

    def __init__(self, input_dim: int, columns: NDArray[np.intp]):
        super().__init__(input_dim, len(columns))
        self.columns = columns

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.max_of_columns(x, y, self.columns[np.newaxis])


class MaxOfColumns(Kernel):
    """The maximum over several selections of columns, (selections, output_dim)."""

    def __init__(self, input_dim: int, columns: NDArray[np.intp]):
        super().__init__(input_dim, columns.shape[1])
        self.columns = columns

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.max_of_columns(x, y, self.columns)


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
