"""Components that process each element, or each row, independently (``nnet3/nnet-simple-component.cc``,
``nnet-normalize-component.cc``), and those that do nothing in test mode.

Batch normalisation in test mode is y = (x - mean) / sqrt(variance + epsilon) * target_rms, that is, a scale
and an offset per column. In test mode, DropoutComponent multiplies by 1 - proportion; the other kinds do
nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pykaldi_server.kaldi._core import NnetComputation, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import (
    BOOL,
    INTEGER,
    NOTHING,
    NUMBER,
    VECTOR,
    Array,
    Component,
    Fields,
    Kernel,
    Scratch,
    component,
    plain_array,
)

__all__ = ["Constant", "Diagonal", "Rectifier", "Sigmoid", "Softmax", "Tanh"]


class Diagonal(Kernel):
    """y = scale x + offset, element by element; None means 1 or 0."""

    in_place = True

    def __init__(self, scale: Array | None, offset: Array | None):
        dim = len(scale) if scale is not None else len(offset) if offset is not None else 0
        super().__init__(dim, dim)
        self.scale = scale
        self.offset = offset

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        scale, offset = (None if v is None else plain_array(v) for v in (self.scale, self.offset))
        commands.scale_and_offset(y, scale, offset)

    def after(self, first: "Diagonal") -> "Diagonal":
        """Returns ``first`` followed by this one."""
        scale, offset = first.scale, first.offset
        if self.scale is not None:
            scale = self.scale if scale is None else self.scale * scale
            offset = None if offset is None else self.scale * offset
        if self.offset is not None:
            offset = self.offset if offset is None else self.offset + offset
        return Diagonal(scale, offset)


class _InPlace(Kernel):
    in_place = True

    def __init__(self, dim: int):
        super().__init__(dim, dim)


class Rectifier(_InPlace):
    """y = max(x, 0)."""

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.rectify(y)


class Tanh(_InPlace):
    """y = tanh(x)."""

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.tanh(y)


class Sigmoid(_InPlace):
    """y = 1 / (1 + exp(-x))."""

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.sigmoid(y)


class Softmax(_InPlace):
    """y = exp(x) / sum exp(x), at least 1e-20 (or its logarithm)."""

    def __init__(self, dim: int, log: bool):
        super().__init__(dim)
        self.log = log

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        if self.log:
            commands.log_softmax(y)
        else:
            commands.softmax(y)


class Constant(Kernel):
    """The same row for any input."""

    def __init__(self, input_dim: int, row: Array):
        super().__init__(input_dim, len(row))
        self.row = row

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.set_rows(y, plain_array(self.row))


@component("RectifiedLinearComponent", Dim=INTEGER, BlockDim=INTEGER)
def _rectifier(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Rectifier(fields.dim("Dim")))


@component("SigmoidComponent", Dim=INTEGER, BlockDim=INTEGER)
def _sigmoid(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Sigmoid(fields.dim("Dim")))


@component("TanhComponent", Dim=INTEGER, BlockDim=INTEGER)
def _tanh(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Tanh(fields.dim("Dim")))


@component("SoftmaxComponent", Dim=INTEGER, BlockDim=INTEGER)
def _softmax(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Softmax(fields.dim("Dim"), log=False))


@component("LogSoftmaxComponent", Dim=INTEGER, BlockDim=INTEGER)
def _log_softmax(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Softmax(fields.dim("Dim"), log=True))


@component("FixedScaleComponent", Scales=VECTOR)
def _fixed_scale(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Diagonal(fields.vector("Scales"), None))


@component("FixedBiasComponent", Bias=VECTOR)
def _fixed_bias(fields: Fields) -> Component:
    return Component.row_wise(fields.type_name, Diagonal(None, fields.vector("Bias")))


@component("PerElementScaleComponent", "NaturalGradientPerElementScaleComponent", Params=VECTOR)
def _per_element_scale(fields: Fields) -> Component:
    scale = fields.vector("Params")
    return Component.row_wise(fields.type_name, Diagonal(scale, None), num_parameters=len(scale))


@component("PerElementOffsetComponent", Offsets=VECTOR, Dim=INTEGER)
def _per_element_offset(fields: Fields) -> Component:
    offsets = fields.vector("Offsets")
    (offset,) = _tiled(fields, fields.get("Dim", len(offsets)), offsets)
    return Component.row_wise(fields.type_name, Diagonal(None, offset), num_parameters=len(offsets))


@component("ScaleAndOffsetComponent", Dim=INTEGER, Scales=VECTOR, Offsets=VECTOR)
def _scale_and_offset(fields: Fields) -> Component:
    scales = fields.vector("Scales")
    offsets = fields.vector("Offsets", len(scales))
    scale, offset = _tiled(fields, fields.dim("Dim"), scales, offsets)
    return Component.row_wise(fields.type_name, Diagonal(scale, offset), num_parameters=2 * len(scales))


@component(
    "BatchNormComponent",
    Dim=INTEGER,
    BlockDim=INTEGER,
    Epsilon=NUMBER,
    TargetRms=NUMBER,
    Count=NUMBER,
    StatsMean=VECTOR,
    StatsVar=VECTOR,
)
def _batch_norm(fields: Fields) -> Component:
    mean = fields.vector("StatsMean").astype(np.float64)
    variance = fields.vector("StatsVar", len(mean)).astype(np.float64)
    epsilon, target_rms = fields.number("Epsilon"), fields.number("TargetRms")
    if fields.number("Count") <= 0 or epsilon <= 0:
        raise fields.error(
            "statistics of training data, which test mode needs,",
            f"<Count> {fields.number('Count'):g}, <Epsilon> {epsilon:g}",
        )
    # As in Kaldi, a variance made negative by rounding counts as 0.
    scale = target_rms / np.sqrt(np.maximum(variance, 0.0) + epsilon)
    with np.errstate(over="ignore", invalid="ignore"):
        offset = -mean * scale
    tiled = _tiled(
        fields, fields.dim("Dim"), fields.derived(scale, "the scale"), fields.derived(offset, "the offset")
    )
    return Component.row_wise(fields.type_name, Diagonal(*tiled))


@component("DropoutComponent", Dim=INTEGER, DropoutProportion=NUMBER)
def _dropout(fields: Fields) -> Component:
    scale = np.full(fields.dim("Dim"), 1.0 - fields.number("DropoutProportion"), np.float32)
    return Component.row_wise(fields.type_name, Diagonal(scale, None))


@component("BackpropTruncationComponent", Dim=INTEGER, Scale=NUMBER)
def _backprop_truncation(fields: Fields) -> Component:
    dim, scale = fields.dim("Dim"), fields.number("Scale", 1.0)
    if scale == 1.0:
        return Component(fields.type_name, dim, dim)
    return Component.row_wise(fields.type_name, Diagonal(np.full(dim, scale, np.float32), None))


# The two masks write <TestMode> without a value.
@component("NoOpComponent", "ClipGradientComponent", Dim=INTEGER)
@component(
    "GeneralDropoutComponent",
    "SpecAugmentTimeMaskComponent",
    Dim=INTEGER,
    BlockDim=INTEGER,
    DropoutProportion=NUMBER,
    TestMode=NOTHING,
)
def _identity(fields: Fields) -> Component:
    dim = fields.dim("Dim")
    return Component(fields.type_name, dim, dim)


@component("DropoutMaskComponent", OutputDim=INTEGER, DropoutProportion=NUMBER)
def _dropout_mask(fields: Fields) -> Component:
    scale = np.full(fields.dim("OutputDim"), 1.0 - fields.number("DropoutProportion"), np.float32)
    return replace(Component.row_wise(fields.type_name, Diagonal(scale, None)), reads_nothing=True)


@component("ConstantFunctionComponent", InputDim=INTEGER, Output=VECTOR, UseNaturalGradient=BOOL)
def _constant_function(fields: Fields) -> Component:
    row = fields.vector("Output")
    return Component.row_wise(
        fields.type_name, Constant(fields.dim("InputDim"), row), num_parameters=len(row)
    )


@component("ConstantComponent", Output=VECTOR, UseNaturalGradient=BOOL)
def _constant(fields: Fields) -> Component:
    row = fields.vector("Output")
    constant = Component.row_wise(fields.type_name, Constant(len(row), row), num_parameters=len(row))
    return replace(constant, reads_nothing=True)


@component("DistributeComponent", InputDim=INTEGER, OutputDim=INTEGER)
def _distribute(fields: Fields) -> Component:
    input_dim, output_dim = fields.dim("InputDim"), fields.dim("OutputDim")
    if input_dim % output_dim:
        raise fields.error("an input that divides into outputs", f"{input_dim} and {output_dim}")
    return Component(fields.type_name, input_dim, output_dim, num_blocks=input_dim // output_dim)


@component("CompositeComponent")
def _composite(fields: Fields) -> Component:
    parts: Sequence[Component] = fields.require("NumComponents")
    if not parts or any(p.window or p.time_offsets or p.num_blocks or p.reads_nothing for p in parts):
        raise fields.error("one or more row-wise components", str([p.type_name for p in parts]))
    for first, second in pairwise(parts):
        if first.output_dim != second.input_dim:
            raise fields.error("components that fit", f"{first.output_dim} before {second.input_dim}")
    return Component(
        fields.type_name,
        parts[0].input_dim,
        parts[-1].output_dim,
        tuple(kernel for part in parts for kernel in part.kernels),
        num_parameters=sum(part.num_parameters for part in parts),
    )


def _tiled(fields: Fields, dim: int, *vectors: Array) -> tuple[Array, ...]:
    """Repeats vectors of one block until they have ``dim`` elements."""
    block = len(vectors[0])
    if dim < 1 or dim % block or dim > block * 4096:
        raise fields.error("a dimension of whole blocks", f"{dim} with blocks of {block}")
    return tuple(np.tile(vector, dim // block) if dim > block else vector for vector in vectors)
