"""Attention restricted to a window of frames (``nnet3/nnet-attention-component.h``, ``nnet3/attention.h``).

Each head owns a block of the input row: key (K), value (V) and query (K + P), where P is the number of
positions, ``left + 1 + right``. With keys k_p and values v_p from the times t + stride * (p - left),

    b_p = key_scale * k_p . query[:K] + query[K + p]        c = softmax(b)        output = sum_p c_p v_p

and, with ``output_context``, the weights c are appended to the output. Positions whose input is missing have
zero keys and values but remain in the softmax.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import NnetComputation, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import (
    BOOL,
    INTEGER,
    NUMBER,
    Component,
    Fields,
    Scratch,
    Window,
    component,
)

__all__ = ["AttentionShape", "RestrictedAttention"]

_MAX_POSITIONS = 1000
_MAX_STRIDE = 10000


@dataclass(frozen=True)
class AttentionShape:
    """The parameters of RestrictedAttentionComponent."""

    num_heads: int
    key_dim: int
    value_dim: int
    left: int
    right: int
    left_required: int
    right_required: int
    stride: int
    output_context: bool
    key_scale: float

    @property
    def positions(self) -> int:
        """Number of frames that an output frame reads."""
        return self.left + 1 + self.right


class RestrictedAttention(Window):
    """See the module's docstring."""

    def __init__(self, shape: AttentionShape):
        self.shape = shape
        head_in = 2 * shape.key_dim + shape.value_dim + shape.positions
        head_out = shape.value_dim + shape.positions * shape.output_context
        super().__init__(shape.num_heads * head_in, shape.num_heads * head_out)

    def input_times(self, t: int) -> tuple[Sequence[int], Sequence[bool]]:
        shape = self.shape
        steps = range(-shape.left, shape.right + 1)
        required = [-shape.left_required <= step <= shape.right_required for step in steps]
        return [t + step * shape.stride for step in steps], required

    def bind(
        self,
        source: SubMatrix,
        rows: NDArray[np.intp],
        y: SubMatrix,
        commands: NnetComputation,
        scratch: Scratch,
    ) -> None:
        shape = self.shape
        commands.attention(
            source,
            rows,
            scratch(1, shape.positions),
            y,
            shape.num_heads,
            shape.key_dim,
            shape.value_dim,
            shape.left,
            shape.output_context,
            shape.key_scale,
        )


@component(
    "RestrictedAttentionComponent",
    NumHeads=INTEGER,
    KeyDim=INTEGER,
    ValueDim=INTEGER,
    NumLeftInputs=INTEGER,
    NumRightInputs=INTEGER,
    TimeStride=INTEGER,
    NumLeftInputsRequired=INTEGER,
    NumRightInputsRequired=INTEGER,
    OutputContext=BOOL,
    KeyScale=NUMBER,
)
def _attention(fields: Fields) -> Component:
    left = fields.integer("NumLeftInputs", least=0, most=_MAX_POSITIONS)
    right = fields.integer("NumRightInputs", least=0, most=_MAX_POSITIONS)
    shape = AttentionShape(
        num_heads=fields.integer("NumHeads", least=1, most=1000),
        key_dim=fields.integer("KeyDim", least=1, most=10000),
        value_dim=fields.integer("ValueDim", least=1, most=10000),
        left=left,
        right=right,
        left_required=fields.integer("NumLeftInputsRequired", least=0, most=left),
        right_required=fields.integer("NumRightInputsRequired", least=0, most=right),
        stride=fields.integer("TimeStride", least=1, most=_MAX_STRIDE),
        output_context=bool(fields.require("OutputContext")),
        key_scale=fields.number("KeyScale"),
    )
    window = RestrictedAttention(shape)
    return Component(fields.type_name, window.input_dim, window.output_dim, window=window)
