"""Components that multiply by a matrix: y = W x + b.

W has one row per output. BlockAffine splits input and output into independent blocks; RepeatedAffine uses one
small matrix for all blocks; TdnnComponent is an affine transform of the rows at several time offsets.
Source: ``nnet3/nnet-simple-component.cc``, ``nnet3/nnet-tdnn-component.cc``.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from pykaldi_server.kaldi.nnet3.components.base import (
    INTEGER,
    INTEGERS,
    MATRIX,
    VECTOR,
    Array,
    Call,
    Component,
    Fields,
    Kernel,
    Scratch,
    component,
)
from pykaldi_server.kaldi.util.finite import find_not_finite

__all__ = ["Affine", "BlockAffine", "affine_component", "require_finite_kernels"]

_MAX_TIME_OFFSET = 10000


class Affine(Kernel):
    """y = W x + b with W (output_dim, input_dim) and b (output_dim,) or None."""

    def __init__(self, weight: Array, bias: Array | None = None):
        super().__init__(weight.shape[1], weight.shape[0])
        self.weight = weight
        self.bias = bias

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        calls: list[Call] = [(np.matmul, (x, self.weight.T, y))]
        if self.bias is not None:
            calls.append((np.add, (y, self.bias, y)))
        return calls

    def scaled_after(self, scale: Array | None, offset: Array | None) -> "Affine":
        """Returns the transform followed by y -> scale y + offset."""
        weight, bias = self.weight, self.bias
        if scale is not None:
            weight = weight * scale[:, np.newaxis]
            bias = None if bias is None else bias * scale
        if offset is not None:
            bias = offset if bias is None else bias + offset
        return Affine(weight, bias)

    def scaled_before(self, scale: Array | None, offset: Array | None) -> "Affine":
        """Returns the transform preceded by x -> scale x + offset."""
        weight, bias = self.weight, self.bias
        if offset is not None:
            shift = (weight.astype(np.float64) @ offset).astype(np.float32)
            bias = shift if bias is None else bias + shift
        return Affine(weight if scale is None else weight * scale, bias)

    def after(self, first: "Affine") -> "Affine":
        """Returns the transform that applies ``first`` and then this one."""
        second = self.weight.astype(np.float64)
        weight = (second @ first.weight).astype(np.float32)
        bias = self.bias
        if first.bias is not None:
            shift = (second @ first.bias).astype(np.float32)
            bias = shift if bias is None else bias + shift
        return Affine(weight, bias)


class BlockAffine(Kernel):
    """Each block of input times its own matrix: (blocks, output, input) weights, (blocks * output,) bias."""

    def __init__(self, weights: Array, bias: Array):
        blocks, block_output, block_input = weights.shape
        super().__init__(blocks * block_input, blocks * block_output)
        self.weights = weights
        self.bias = bias

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        blocks, block_output, block_input = self.weights.shape
        x_blocks = x.reshape(len(x), blocks, block_input).swapaxes(0, 1)
        y_blocks = y.reshape(len(y), blocks, block_output).swapaxes(0, 1)
        return [
            (np.matmul, (x_blocks, self.weights.swapaxes(1, 2), y_blocks)),
            (np.add, (y, self.bias, y)),
        ]


def require_finite_kernels(kernels: Iterable[Kernel], what: str) -> None:
    """Checks the parameters of joined affine and diagonal kernels, because products may overflow.

    Raises:
        ValueError: a parameter is not finite; the text begins with ``what``.
    """
    for kernel in kernels:
        for name in ("weight", "bias", "scale", "offset"):
            values = getattr(kernel, name, None)
            found = None if values is None else find_not_finite(values)
            if found is not None:
                raise ValueError(f"{what}: expected finite parameters, found {found} in the {name}")


def affine_component(type_name: str, weight: Array, bias: Array | None) -> Component:
    """Builds a component that is one affine transform with trained parameters."""
    count = weight.size + (0 if bias is None else bias.size)
    return Component.row_wise(type_name, Affine(weight, bias), num_parameters=count)


@component("AffineComponent", "NaturalGradientAffineComponent", LinearParams=MATRIX, BiasParams=VECTOR)
def _affine(fields: Fields) -> Component:
    weight = fields.matrix("LinearParams")
    return affine_component(fields.type_name, weight, fields.vector("BiasParams", len(weight)))


@component("FixedAffineComponent", LinearParams=MATRIX, BiasParams=VECTOR)
def _fixed_affine(fields: Fields) -> Component:
    weight = fields.matrix("LinearParams")
    return Component.row_wise(fields.type_name, Affine(weight, fields.vector("BiasParams", len(weight))))


@component("LinearComponent", Params=MATRIX)
def _linear(fields: Fields) -> Component:
    return affine_component(fields.type_name, fields.matrix("Params"), None)


@component("TdnnComponent", TimeOffsets=INTEGERS, LinearParams=MATRIX, BiasParams=VECTOR)
def _tdnn(fields: Fields) -> Component:
    weight = fields.matrix("LinearParams")
    offsets: Sequence[int] = fields.require("TimeOffsets").tolist()
    if not offsets or weight.shape[1] % len(offsets) or max(map(abs, offsets)) > _MAX_TIME_OFFSET:
        raise fields.error("time offsets that fit the matrix", f"{offsets} for {weight.shape[1]} columns")
    has_bias = len(fields.require("BiasParams")) > 0
    bias = fields.vector("BiasParams", len(weight)) if has_bias else None
    return Component(
        fields.type_name,
        weight.shape[1] // len(offsets),
        len(weight),
        (Affine(weight, bias),),
        time_offsets=tuple(offsets),
        num_parameters=weight.size + (0 if bias is None else bias.size),
    )


@component("BlockAffineComponent", NumBlocks=INTEGER, LinearParams=MATRIX, BiasParams=VECTOR)
def _block_affine(fields: Fields) -> Component:
    weight = fields.matrix("LinearParams")
    blocks = fields.integer("NumBlocks", least=1, most=len(weight))
    if len(weight) % blocks:
        raise fields.error("rows that divide into blocks", f"{len(weight)} rows, {blocks} blocks")
    kernel = BlockAffine(
        weight.reshape(blocks, -1, weight.shape[1]), fields.vector("BiasParams", len(weight))
    )
    return Component.row_wise(fields.type_name, kernel, num_parameters=weight.size + len(weight))


@component(
    "RepeatedAffineComponent",
    "NaturalGradientRepeatedAffineComponent",
    NumRepeats=INTEGER,
    LinearParams=MATRIX,
    BiasParams=VECTOR,
)
def _repeated_affine(fields: Fields) -> Component:
    weight = fields.matrix("LinearParams")
    repeats = fields.integer("NumRepeats", least=1, most=1 << 16)
    bias = np.tile(fields.vector("BiasParams", len(weight)), repeats)
    kernel = BlockAffine(np.broadcast_to(weight, (repeats, *weight.shape)), bias)
    return Component.row_wise(fields.type_name, kernel, num_parameters=weight.size + len(weight))
