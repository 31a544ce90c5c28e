"""The types of layers, built from the fields in a file (``nnet2/nnet-component.cc``).

`BUILDERS` maps Kaldi's name of a type to the function that builds such a layer. These functions raise
`KeyError` with the name of a missing field, and `ValueError` with what was found if it is invalid.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from pykaldi_server.kaldi._core import PackedProduct
from pykaldi_server.kaldi.nnet2.component import (
    MAX_CONTEXT_FRAMES,
    MAX_DIM,
    PROBABILITY_FLOOR,
    Component,
    FloatFrames,
)
from pykaldi_server.kaldi.util.finite import require_finite

__all__ = ["BUILDERS", "Fields"]

Fields = dict[str, Any]

# Lower limit of the mean square by which NormalizeComponent divides (kNormFloor).
_NORM_FLOOR = 2.0**-66
# Powers outside 2^-20 to 2^20, or their reciprocals, exceed single precision immediately.
_SMALLEST_POWER = 2.0**-20

BUILDERS: dict[str, Callable[[str, Fields], Component]] = {}


def _builds(*type_names: str) -> Callable[[Callable[[str, Fields], Component]], Any]:
    def register(builder: Callable[[str, Fields], Component]) -> Callable[[str, Fields], Component]:
        BUILDERS.update(dict.fromkeys(type_names, builder))
        return builder

    return register


def _demand(condition: bool, found: str) -> None:
    if not condition:
        raise ValueError(found)


# Layers with parameters


def _product(weights: FloatFrames, bias: FloatFrames | None = None) -> Callable[[FloatFrames], FloatFrames]:
    """Returns the function x -> weights x + bias of the rows of a matrix; ``weights`` are copied."""
    _demand(weights.size > 0, f"weights {weights.shape}")
    if bias is not None:
        bias = np.ascontiguousarray(bias, np.float32)
    product = PackedProduct(np.require(weights, np.float32, ["C_CONTIGUOUS", "ALIGNED"]), bias)
    return lambda x: product.multiply(np.ascontiguousarray(x, np.float32))


def _block_products(
    matrices: list[FloatFrames], biases: list[FloatFrames] | None = None
) -> Callable[[FloatFrames], FloatFrames]:
    """Returns the product with a block-diagonal matrix, plus the bias of each block."""
    ends = np.cumsum([matrix.shape[1] for matrix in matrices])[:-1]
    if biases is None:
        products = [_product(matrix) for matrix in matrices]
    else:
        products = [_product(matrix, bias) for matrix, bias in zip(matrices, biases, strict=True)]

    def propagate(x: FloatFrames) -> FloatFrames:
        blocks = zip(products, np.split(x, ends, axis=1), strict=True)
        return np.hstack([product(block) for product, block in blocks])

    return propagate


@_builds("AffineComponent", "AffineComponentPreconditioned", "AffineComponentPreconditionedOnline")
def _affine(type_name: str, fields: Fields) -> Component:
    weights, bias = fields["LinearParams"], fields["BiasParams"]
    _demand(weights.shape[0] == len(bias), f"weights {weights.shape} and a bias of {len(bias)}")
    return Component(type_name, weights.shape[1], len(bias), _product(weights, bias))


_builds("FixedAffineComponent")(_affine)


@_builds("FixedLinearComponent")
def _fixed_linear(type_name: str, fields: Fields) -> Component:
    weights = fields["CuMatrix"]
    return Component(type_name, weights.shape[1], weights.shape[0], _product(weights))


@_builds("FixedScaleComponent")
def _fixed_scale(type_name: str, fields: Fields) -> Component:
    scales = fields["Scales"]
    return Component(type_name, len(scales), len(scales), lambda x: x * scales)


@_builds("FixedBiasComponent")
def _fixed_bias(type_name: str, fields: Fields) -> Component:
    bias = fields["Bias"]
    return Component(type_name, len(bias), len(bias), lambda x: x + bias)


@_builds("BlockAffineComponent", "BlockAffineComponentPreconditioned")
def _block_affine(type_name: str, fields: Fields) -> Component:
    """A block-diagonal matrix, whose blocks are stacked vertically in the file."""
    blocks, weights, bias = fields["NumBlocks"], fields["LinearParams"], fields["BiasParams"]
    _demand(
        0 < blocks <= len(bias) and len(bias) % blocks == 0 and weights.shape[0] == len(bias),
        f"{blocks} blocks, weights {weights.shape} and a bias of {len(bias)}",
    )
    columns = weights.shape[1]
    propagate = _block_products(list(np.split(weights, blocks)), list(np.split(bias, blocks)))
    return Component(type_name, blocks * columns, len(bias), propagate)


@_builds("MixtureProbComponent")
def _mixture_prob(type_name: str, fields: Fields) -> Component:
    """A block-diagonal matrix with blocks of any shapes; ``SumGroupComponent`` has replaced it."""
    matrices = fields["Params"]
    _demand(len(matrices) > 0, "no matrices")
    input_dim, output_dim = (sum(matrix.shape[axis] for matrix in matrices) for axis in (1, 0))
    return Component(type_name, input_dim, output_dim, _block_products(matrices))


@_builds("Convolutional1dComponent")
def _convolutional_1d(type_name: str, fields: Fields) -> Component:
    """Convolves over frequency: each spliced frame is ``PatchStride`` wide, patches are ``PatchDim`` wide.

    Patch p begins at p * ``PatchStep`` in every spliced frame. Output: all filters of the first patch, then
    those of the second, ... If the input comes from another such layer (``AppendedConv``), the spliced
    frames are interleaved.
    """
    filters, bias = fields["FilterParams"], fields["BiasParams"]
    patch_dim, step, stride = fields["PatchDim"], fields["PatchStep"], fields["PatchStride"]
    shape = f"filters {filters.shape}, patch dimension {patch_dim}, step {step}, stride {stride}"
    _demand(len(bias) == len(filters) and 0 < patch_dim <= stride <= MAX_DIM and step > 0, shape)
    _demand(filters.shape[1] % patch_dim == 0 and filters.size > 0, shape)
    num_splice, num_patches = filters.shape[1] // patch_dim, 1 + (stride - patch_dim) // step
    _demand(num_patches * max(filters.shape) <= MAX_DIM, shape)
    patch, splice, d = np.ogrid[:num_patches, :num_splice, :patch_dim]
    if fields.get("AppendedConv", False):
        columns = ((patch * step + d) * num_splice + splice).ravel()
    else:
        columns = (patch * step + splice * stride + d).ravel()
    product = _product(filters, bias)

    def propagate(x: FloatFrames) -> FloatFrames:
        patches = x[:, columns].reshape(len(x) * num_patches, filters.shape[1])
        return product(patches).reshape(len(x), num_patches * len(filters))

    return Component(type_name, stride * num_splice, num_patches * len(filters), propagate)


# Layers that rearrange columns


@_builds("SpliceComponent")
def _splice(type_name: str, fields: Fields) -> Component:
    """Joins the frames of the context; the last ``ConstComponentDim`` columns are not spliced.

    As in Kaldi, this constant part of output frame t is copied from the first frame of its context.
    """
    context, dim = _context(fields), fields["InputDim"]
    const_dim = fields["ConstComponentDim"]
    _demand(0 <= const_dim < dim, f"a constant part of {const_dim} in {dim}")
    spliced_dim, span = dim - const_dim, context[-1] - context[0]

    def propagate(x: FloatFrames) -> FloatFrames:
        rows = len(x) - span
        parts = [x[c - context[0] :][:rows, :spliced_dim] for c in context]
        return np.hstack([*parts, x[:rows, spliced_dim:]])

    output_dim = spliced_dim * len(context) + const_dim
    return Component(type_name, dim, output_dim, propagate, context, has_constant_part=const_dim > 0)


@_builds("SpliceMaxComponent")
def _splice_max(type_name: str, fields: Fields) -> Component:
    """The maximum of each dimension over the frames of the context."""
    context, dim = _context(fields), fields["Dim"]
    span = context[-1] - context[0]

    def propagate(x: FloatFrames) -> FloatFrames:
        rows = len(x) - span
        parts = [x[c - context[0] :][:rows] for c in context]
        greatest: FloatFrames = np.max(parts, axis=0)
        return greatest

    return Component(type_name, dim, dim, propagate, context)


def _context(fields: Fields) -> tuple[int, ...]:
    """Returns the offsets of the spliced frames; old files contain only the first and last one."""
    if "Context" in fields:
        context = tuple(fields["Context"].tolist())
    else:
        left, right = fields["LeftContext"], fields["RightContext"]
        _demand(0 <= left <= MAX_CONTEXT_FRAMES, f"a left context of {left}")
        _demand(0 <= right <= MAX_CONTEXT_FRAMES, f"a right context of {right}")
        context = tuple(range(-left, right + 1))
    _demand(0 < len(context) <= 2 * MAX_CONTEXT_FRAMES, f"a context of {len(context)} frames")
    _demand(
        all(a < b for a, b in itertools.pairwise(context))
        and -MAX_CONTEXT_FRAMES <= context[0] <= 0 <= context[-1] <= MAX_CONTEXT_FRAMES,
        f"the context {context}",
    )
    return context


@_builds("PermuteComponent")
def _permute(type_name: str, fields: Fields) -> Component:
    reorder = fields["Reorder"]
    _demand(
        np.array_equal(np.sort(reorder), np.arange(len(reorder))),
        f"an order that is not a permutation: {reorder[:10]}",
    )
    source = np.argsort(reorder)
    return Component(type_name, len(reorder), len(reorder), lambda x: x[:, source])


@_builds("DctComponent")
def _dct(type_name: str, fields: Fields) -> Component:
    """A cosine transform of each block of ``DctDim`` numbers, of which the first ``DctKeepDim`` are kept.

    With ``Reorder`` the blocks are interleaved. If not all numbers are kept, Kaldi reorders only the number
    that is kept and leaves zeros elsewhere; so does this.
    """
    dim, dct_dim, reorder = fields["Dim"], fields["DctDim"], fields["Reorder"]
    keep = fields.get("DctKeepDim", 0) or dct_dim
    _demand(
        0 < keep <= dct_dim <= MAX_CONTEXT_FRAMES and 0 < dim <= MAX_DIM and dim % dct_dim == 0,
        f"dimension {dim}, blocks of {dct_dim}, {keep} of them kept",
    )
    blocks = dim // dct_dim
    k, n = np.ogrid[:keep, :dct_dim]
    dct = np.sqrt(np.where(k == 0, 1, 2) / dct_dim) * np.cos(np.pi / dct_dim * (n + 0.5) * k)
    product = _product(dct.astype(np.float32))

    def propagate(x: FloatFrames) -> FloatFrames:
        if reorder:
            interleaved = x[:, : keep * blocks].reshape(len(x), keep, blocks)
            x = np.zeros_like(x)
            x[:, : keep * blocks] = interleaved.transpose(0, 2, 1).reshape(len(x), -1)
        kept = product(x.reshape(len(x) * blocks, dct_dim)).reshape(len(x), blocks, keep)
        return (kept.transpose(0, 2, 1) if reorder else kept).reshape(len(x), blocks * keep)

    return Component(type_name, dim, blocks * keep, propagate)


# Layers that reduce groups of columns


def _groups(fields: Fields) -> tuple[int, int]:
    input_dim, output_dim = fields["InputDim"], fields["OutputDim"]
    _demand(
        0 < output_dim <= input_dim and input_dim % output_dim == 0,
        f"{input_dim} numbers in {output_dim} groups",
    )
    return input_dim, output_dim


@_builds("PnormComponent")
def _pnorm(type_name: str, fields: Fields) -> Component:
    input_dim, output_dim = _groups(fields)
    p = fields.get("P", 2.0)
    _demand(_SMALLEST_POWER <= p <= 1 / _SMALLEST_POWER, f"p = {p}")

    def propagate(x: FloatFrames) -> FloatFrames:
        groups = x.reshape(len(x), output_dim, -1)
        norms: FloatFrames
        if p == 2:
            norms = np.sqrt(np.square(groups).sum(axis=2))
        else:
            norms = (np.abs(groups) ** np.float32(p)).sum(axis=2) ** np.float32(1 / p)
        return norms

    return Component(type_name, input_dim, output_dim, propagate)


@_builds("MaxoutComponent")
def _maxout(type_name: str, fields: Fields) -> Component:
    input_dim, output_dim = _groups(fields)
    return Component(
        type_name, input_dim, output_dim, lambda x: x.reshape(len(x), output_dim, -1).max(axis=2)
    )


@_builds("MaxpoolingComponent")
def _maxpooling(type_name: str, fields: Fields) -> Component:
    """The maxima over ``PoolSize`` neighbouring patches of ``PoolStride`` columns each."""
    input_dim, output_dim = _groups(fields)
    size, stride = fields["PoolSize"], fields["PoolStride"]
    _demand(size > 0 and stride > 0 and output_dim % stride == 0, f"pools of {size} with the stride {stride}")
    _demand(size * output_dim == input_dim, f"pools of {size} from {input_dim} to {output_dim} numbers")
    pools = output_dim // stride
    return Component(
        type_name,
        input_dim,
        output_dim,
        lambda x: x.reshape(len(x), pools, size, stride).max(axis=2).reshape(len(x), output_dim),
    )


@_builds("SumGroupComponent")
def _sum_group(type_name: str, fields: Fields) -> Component:
    sizes = fields["Sizes"].astype(np.int64)
    _demand(len(sizes) > 0 and sizes.min() > 0, f"the sizes {sizes[:10]}")
    first = np.cumsum(sizes) - sizes
    return Component(type_name, int(sizes.sum()), len(sizes), lambda x: np.add.reduceat(x, first, axis=1))


# Layers that process each number alone, or each frame as a whole


def _normalize(x: FloatFrames) -> FloatFrames:
    mean_square = np.square(x).mean(axis=1, keepdims=True)
    normalized: FloatFrames = x / np.sqrt(np.maximum(mean_square, np.float32(_NORM_FLOOR)))
    return normalized


def _softmax(x: FloatFrames) -> FloatFrames:
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    probabilities: FloatFrames = np.maximum(exponentials, np.float32(PROBABILITY_FLOOR))
    return probabilities


def _log_softmax(x: FloatFrames) -> FloatFrames:
    shifted = x - x.max(axis=1, keepdims=True)
    log_probabilities: FloatFrames = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.maximum(log_probabilities, np.float32(np.log(PROBABILITY_FLOOR)))


def _sigmoid(x: FloatFrames) -> FloatFrames:
    y: FloatFrames = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)
    return y


_FUNCTIONS: dict[str, Callable[[FloatFrames], FloatFrames]] = {
    "NormalizeComponent": _normalize,
    "SoftmaxComponent": _softmax,
    "LogSoftmaxComponent": _log_softmax,
    "SigmoidComponent": _sigmoid,
    "TanhComponent": np.tanh,
    "RectifiedLinearComponent": lambda x: np.maximum(x, np.float32(0)),
    "SoftHingeComponent": lambda x: np.logaddexp(np.float32(0), x),
    # Kaldi applies random numbers here even in decoding; on average they have no effect.
    "DropoutComponent": lambda x: x,
    "AdditiveNoiseComponent": lambda x: x,
}


@_builds(*_FUNCTIONS)
def _function(type_name: str, fields: Fields) -> Component:
    return Component(type_name, fields["Dim"], fields["Dim"], _FUNCTIONS[type_name])


@_builds("ScaleComponent")
def _scale(type_name: str, fields: Fields) -> Component:
    scale = require_finite(np.array(fields["Scale"]), "<Scale>", np.float32)
    return Component(type_name, fields["Dim"], fields["Dim"], lambda x: x * scale)


@_builds("PowerComponent")
def _power(type_name: str, fields: Fields) -> Component:
    """The absolute value, raised to a power."""
    power = fields["Power"]
    _demand(0 <= power <= 1 / _SMALLEST_POWER, f"the power {power}")
    return Component(
        type_name, fields["InputDim"], fields["OutputDim"], lambda x: np.abs(x) ** np.float32(power)
    )
