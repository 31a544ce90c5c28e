"""Components that multiply by a matrix: y = W x + b.

W has one row per output. BlockAffine splits input and output into independent blocks; RepeatedAffine uses one
small matrix for all blocks; TdnnComponent is an affine transform of the rows at several time offsets.
Source: ``nnet3/nnet-simple-component.cc``, ``nnet3/nnet-tdnn-component.cc``.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from pykaldi_server.kaldi._core import NnetComputation, PackedProduct, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import (
    INTEGER,
    INTEGERS,
    MATRIX,
    VECTOR,
    Array,
    Component,
    Fields,
    Kernel,
    Scratch,
    component,
    plain_array,
)
from pykaldi_server.kaldi.nnet3.sub_matrices import column_range
from pykaldi_server.kaldi.util.finite import find_not_finite

__all__ = ["Affine", "BlockAffine", "affine_component", "require_finite_kernels"]

_MAX_TIME_OFFSET = 10000


class Affine(Kernel):
    """y = W x + b with W (output_dim, input_dim) and b (output_dim,) or None.

    What follows it may become part of it (`fuse_kernels`): max(y, 0) if `rectify`, then scale y + offset,
    where None means 1 or 0.
    """

    def __init__(
        self,
        weight: Array,
        bias: Array | None = None,
        rectify: bool = False,
        scale: Array | None = None,
        offset: Array | None = None,
    ):
        super().__init__(weight.shape[1], weight.shape[0])
        self.weight = weight
        self.bias = bias
        self.rectify = rectify
        self.scale = scale
        self.offset = offset

    @cached_property
    def product(self) -> PackedProduct:
        """The matrix in the order of its use, with all the rest."""
        bias, scale, offset = (
            None if vector is None else plain_array(vector) for vector in (self.bias, self.scale, self.offset)
        )
        return PackedProduct(plain_array(self.weight), bias, self.rectify, scale, offset)

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.affine(self.product, x, y)

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
    """Each block of input times its own matrix: (blocks, output, input) weights, (blocks * output,) bias.

    All blocks have the same matrix and bias if `repeated`.
    """

    def __init__(self, weights: Array, bias: Array, repeated: bool = False):
        blocks, block_output, block_input = weights.shape
        super().__init__(blocks * block_input, blocks * block_output)
        self.weights = weights
        self.bias = bias
        self.repeated = repeated

    @cached_property
    def products(self) -> list[PackedProduct]:
        """The matrix of each block; one for all if they are the same."""
        blocks = len(self.weights)
        biases = self.bias.reshape(blocks, -1)
        if self.repeated:
            return [PackedProduct(plain_array(self.weights[0]), plain_array(biases[0]))] * blocks
        return [
            PackedProduct(plain_array(weight), plain_array(bias))
            for weight, bias in zip(self.weights, biases, strict=True)
        ]

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        _, block_output, block_input = self.weights.shape
        for block, product in enumerate(self.products):
            x_block = column_range(x, block * block_input, (block + 1) * block_input)
            y_block = column_range(y, block * block_output, (block + 1) * block_output)
            commands.affine(product, x_block, y_block)


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
    kernel = BlockAffine(np.broadcast_to(weight, (repeats, *weight.shape)), bias, repeated=True)
    return Component.row_wise(fields.type_name, kernel, num_parameters=weight.size + len(weight))
