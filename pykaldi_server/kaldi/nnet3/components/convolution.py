"""Convolution and pooling (``nnet3/nnet-convolutional-component.h``, ``nnet3/convolution.h``,
``nnet3/nnet-simple-component.cc``).

TimeHeightConvolutionComponent treats a row as an image column: ``height`` positions with ``filters`` elements
each, in which the filter index varies fastest. Output (t, h) is the bias plus, for each offset (dt, dh), a
matrix times input (t + dt, h * subsampling + dh); heights outside the input count as zero. Time offsets that
are not ``required`` count as zero if the input is missing.

ConvolutionComponent and MaxpoolingComponent treat a row as a small tensor (x, y, z) and slide a box over it.
"""

import itertools
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import NnetComputation, PackedProduct, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import (
    INTEGER,
    INTEGERS,
    MATRIX,
    MAX_DIM,
    PAIRS,
    VECTOR,
    Array,
    Component,
    Fields,
    Kernel,
    Scratch,
    Window,
    component,
    plain_array,
)
from pykaldi_server.kaldi.nnet3.components.groups import MaxOfColumns
from pykaldi_server.kaldi.nnet3.sub_matrices import reshaped

__all__ = ["BoxConvolution", "TimeHeightConvolution"]

_MAX_OFFSET = 10000
_YZX, _ZYX = 0, 1


class TimeHeightConvolution(Window):
    """See the module's docstring.

    Attributes:
        offsets: (time, height) of each block of the matrix's columns.
        weight: (filters_out, offsets * filters_in).
        required: whether each time offset must exist.
    """

    def __init__(
        self,
        weight: Array,
        bias: Array,
        heights: tuple[int, int, int],
        offsets: Sequence[tuple[int, int]],
        required: frozenset[int],
    ):
        self.height_in, self.height_out, self.height_step = heights
        self.filters_out = len(weight)
        self.filters_in = weight.shape[1] // len(offsets)
        super().__init__(self.height_in * self.filters_in, self.height_out * self.filters_out)
        self.weight = weight
        self.bias = bias
        self.offsets = tuple(offsets)
        self.times = sorted({time for time, _ in offsets})
        self.required = [time in required for time in self.times]

    def input_times(self, t: int) -> tuple[Sequence[int], Sequence[bool]]:
        return [t + offset for offset in self.times], self.required

    @cached_property
    def product(self) -> PackedProduct:
        """The matrix in the order of its use, and the bias."""
        return PackedProduct(plain_array(self.weight), plain_array(self.bias))

    def bind(
        self,
        source: SubMatrix,
        rows: NDArray[np.intp],
        y: SubMatrix,
        commands: NnetComputation,
        scratch: Scratch,
    ) -> None:
        patch_dim = len(self.offsets) * self.filters_in
        patches = scratch(y.num_rows, self.height_out * patch_dim)
        offsets = [(self.times.index(time), height) for time, height in self.offsets]
        commands.patches(
            source,
            rows,
            patches,
            self.height_in,
            self.height_out,
            self.height_step,
            self.filters_in,
            offsets,
        )
        commands.affine(self.product, reshaped(patches, patch_dim), reshaped(y, self.filters_out))


class BoxConvolution(Kernel):
    """A matrix times the columns under each position of a box: ``columns`` (positions, box size)."""

    def __init__(self, input_dim: int, columns: NDArray[np.intp], weight: Array, bias: Array):
        super().__init__(input_dim, len(columns) * len(weight))
        self.columns = columns
        self.weight = weight
        self.bias = bias

    @cached_property
    def product(self) -> PackedProduct:
        """The matrix in the order of its use, and the bias."""
        return PackedProduct(plain_array(self.weight), plain_array(self.bias))

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        box_size = self.columns.shape[1]
        patches = scratch(x.num_rows, self.columns.size)
        commands.max_of_columns(x, patches, self.columns.reshape(1, -1))
        commands.affine(self.product, reshaped(patches, box_size), reshaped(y, len(self.weight)))


@component(
    "TimeHeightConvolutionComponent",
    NumFiltersIn=INTEGER,
    NumFiltersOut=INTEGER,
    HeightIn=INTEGER,
    HeightOut=INTEGER,
    HeightSubsampleOut=INTEGER,
    Offsets=PAIRS,
    RequiredTimeOffsets=INTEGERS,
    LinearParams=MATRIX,
    BiasParams=VECTOR,
)
def _time_height_convolution(fields: Fields) -> Component:
    heights = (fields.dim("HeightIn"), fields.dim("HeightOut"), fields.dim("HeightSubsampleOut"))
    filters_in, filters_out = fields.dim("NumFiltersIn"), fields.dim("NumFiltersOut")
    offsets = [(int(time), int(height)) for time, height in fields.require("Offsets")]
    weight = fields.matrix("LinearParams", filters_out)
    if not offsets or max(abs(n) for pair in offsets for n in pair) > _MAX_OFFSET:
        raise fields.error("offsets of a filter", str(offsets[:8]))
    if weight.shape[1] != len(offsets) * filters_in:
        raise fields.error(f"<LinearParams> with {len(offsets) * filters_in} columns", str(weight.shape[1]))
    if max(heights[0] * filters_in, heights[1] * filters_out) > MAX_DIM:
        raise fields.error("an image of credible size", f"{heights} x {filters_in}, {filters_out}")
    required = frozenset(fields.require("RequiredTimeOffsets").tolist())
    bias = fields.vector("BiasParams", filters_out)
    window = TimeHeightConvolution(weight, bias, heights, offsets, required)
    return Component(
        fields.type_name,
        window.input_dim,
        window.output_dim,
        window=window,
        num_parameters=weight.size + bias.size,
    )


@component(
    "ConvolutionComponent",
    InputXDim=INTEGER,
    InputYDim=INTEGER,
    InputZDim=INTEGER,
    FiltXDim=INTEGER,
    FiltYDim=INTEGER,
    FiltXStep=INTEGER,
    FiltYStep=INTEGER,
    InputVectorization=INTEGER,
    FilterParams=MATRIX,
    BiasParams=VECTOR,
)
def _convolution(fields: Fields) -> Component:
    size = np.array([fields.dim(f"Input{axis}Dim") for axis in "XYZ"])
    box = np.array([fields.dim("FiltXDim"), fields.dim("FiltYDim"), size[2]])
    step = np.array([fields.dim("FiltXStep"), fields.dim("FiltYStep"), 1])
    weight = fields.matrix("FilterParams")
    _check_box(fields, size, box, step)
    if weight.shape[1] != box.prod():
        raise fields.error(f"<FilterParams> with {box.prod()} columns", str(weight.shape[1]))
    vectorization = fields.integer("InputVectorization", least=_YZX, most=_ZYX)
    # In a row, x varies slowest; the vectorization determines the order of the other two.
    strides = (size[1] * size[2], size[2], 1) if vectorization == _ZYX else (size[1] * size[2], 1, size[1])
    positions, cells = _box_columns(size, box, step, strides)
    bias = fields.vector("BiasParams", len(weight))
    kernel = BoxConvolution(int(size.prod()), positions[:, np.newaxis] + cells, weight, bias)
    return Component.row_wise(fields.type_name, kernel, num_parameters=weight.size + bias.size)


@component(
    "MaxpoolingComponent",
    **{f"Input{axis}Dim": INTEGER for axis in "XYZ"},
    **{f"Pool{axis}{what}": INTEGER for axis in "XYZ" for what in ("Size", "Step")},
)
def _max_pooling(fields: Fields) -> Component:
    size = np.array([fields.dim(f"Input{axis}Dim") for axis in "XYZ"])
    box = np.array([fields.dim(f"Pool{axis}Size") for axis in "XYZ"])
    step = np.array([fields.dim(f"Pool{axis}Step") for axis in "XYZ"])
    _check_box(fields, size, box, step)
    positions, cells = _box_columns(size, box, step, (size[1] * size[2], size[2], 1))
    kernel = MaxOfColumns(int(size.prod()), cells[:, np.newaxis] + positions)
    return Component.row_wise(fields.type_name, kernel)


def _check_box(fields: Fields, size: NDArray[np.int_], box: NDArray[np.int_], step: NDArray[np.int_]) -> None:
    steps = (size - box) // step + 1
    if (box > size).any() or ((size - box) % step).any() or size.prod() > MAX_DIM:
        raise fields.error("a box that fits the tensor", f"{box} in {size} with steps {step}")
    if steps.prod() * box.prod() > 64 * MAX_DIM:
        raise fields.error("a convolution of credible size", f"{steps} positions of {box}")


def _box_columns(
    size: NDArray[np.int_], box: NDArray[np.int_], step: NDArray[np.int_], strides: Sequence[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the column of the box's first cell at each position, and the offset of each cell from it."""
    steps = (size - box) // step + 1
    positions = [np.dot(place * step, strides) for place in _grid(steps)]
    cells = [np.dot(cell, strides) for cell in _grid(box)]
    return np.array(positions, np.intp), np.array(cells, np.intp)


def _grid(shape: NDArray[np.int_]) -> list[NDArray[np.int_]]:
    return [np.array(place) for place in itertools.product(*(range(n) for n in shape))]
