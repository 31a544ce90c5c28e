"""The nonlinear cores of recurrent layers (``nnet3/nnet-combined-component.h``).

Rows consist of parts side by side; C is the cell dimension, sigma the logistic sigmoid, * the product of
elements.

LSTM: input (i, f, c, o, c_prev[, i_scale, f_scale, o_scale]) gives (c_t, m_t) with

    i_t = sigma(i + w_ic * c_prev)          f_t = sigma(f + w_fc * c_prev)
    c_t = f_scale f_t * c_prev + i_scale i_t * tanh(c)
    o_t = sigma(o + w_oc * c_t)             m_t = o_scale o_t * tanh(c_t)

GRU: input (z, r, hpart, c_prev[, s_prev]) gives (h_t, c_t) with

    h_t = tanh(hpart + W (s_prev * r))      c_t = (1 - z) * h_t + z * c_prev

(z and r are already sigmoids; s_prev is c_prev if the recurrent state is the cell itself). The output-GRU has
the input (z, hpart, c_prev) and h_t = tanh(hpart + w * c_prev) with a vector w.
"""

from functools import cached_property

import numpy as np

from pykaldi_server.kaldi._core import NnetComputation, PackedProduct, SubMatrix
from pykaldi_server.kaldi.nnet3.components.base import (
    BOOL,
    INTEGER,
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

__all__ = ["GruNonlinearity", "LstmNonlinearity", "OutputGruNonlinearity"]


class LstmNonlinearity(Kernel):
    """See the module's docstring; ``weights`` (3, C) contains w_ic, w_fc, w_oc."""

    def __init__(self, weights: Array, use_dropout: bool):
        self.cell_dim = weights.shape[1]
        self.weights = weights
        self.use_dropout = use_dropout
        super().__init__(5 * self.cell_dim + 3 * use_dropout, 2 * self.cell_dim)

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        commands.lstm(x, y, plain_array(self.weights), self.use_dropout)


def _interpolate(
    part: SubMatrix,
    hidden: SubMatrix,
    gate: SubMatrix,
    previous: SubMatrix,
    new_cell: SubMatrix,
    commands: NnetComputation,
) -> None:
    """Adds the commands that complete a GRU from its `hidden` sums without the part of the input."""
    commands.copy(part, hidden, accumulate=True)
    commands.tanh(hidden)
    commands.interpolate(hidden, gate, previous, new_cell)


class GruNonlinearity(Kernel):
    """See the module's docstring; ``weight`` is W, (C, R)."""

    def __init__(self, weight: Array):
        self.cell_dim, self.recurrent_dim = weight.shape
        self.weight = weight
        self.separate_state = self.recurrent_dim != self.cell_dim
        input_dim = 3 * self.cell_dim + self.recurrent_dim * (2 if self.separate_state else 1)
        super().__init__(input_dim, 2 * self.cell_dim)

    @cached_property
    def product(self) -> PackedProduct:
        """W in the order of its use."""
        return PackedProduct(plain_array(self.weight))

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        cell, recurrent = self.cell_dim, self.recurrent_dim
        widths = [cell, recurrent, cell, cell] + [recurrent] * self.separate_state
        ends = np.cumsum(widths).tolist()
        z, r, hidden_part, previous, *rest = (
            column_range(x, end - width, end) for width, end in zip(widths, ends, strict=True)
        )
        state = rest[0] if rest else previous
        hidden, new_cell = column_range(y, 0, cell), column_range(y, cell, 2 * cell)
        gated = scratch(x.num_rows, recurrent)
        commands.multiply(state, r, gated)
        commands.affine(self.product, gated, hidden)
        _interpolate(hidden_part, hidden, z, previous, new_cell, commands)


class OutputGruNonlinearity(Kernel):
    """See the module's docstring; ``weight`` is w, (C,)."""

    def __init__(self, weight: Array):
        super().__init__(3 * len(weight), 2 * len(weight))
        self.weight = weight

    def bind(self, x: SubMatrix, y: SubMatrix, commands: NnetComputation, scratch: Scratch) -> None:
        dim = len(self.weight)
        z, hidden_part, previous = (column_range(x, n * dim, (n + 1) * dim) for n in range(3))
        hidden, new_cell = column_range(y, 0, dim), column_range(y, dim, 2 * dim)
        commands.copy(previous, hidden)
        commands.scale_and_offset(hidden, plain_array(self.weight), None)
        _interpolate(hidden_part, hidden, z, previous, new_cell, commands)


@component("LstmNonlinearityComponent", Params=MATRIX, ValueAvg=MATRIX, DerivAvg=MATRIX, UseDropout=BOOL)
def _lstm(fields: Fields) -> Component:
    weights = fields.matrix("Params", 3)
    kernel = LstmNonlinearity(weights, bool(fields.get("UseDropout", False)))
    return Component.row_wise(fields.type_name, kernel, num_parameters=weights.size)


@component("GruNonlinearityComponent", CellDim=INTEGER, RecurrentDim=INTEGER, w_h=MATRIX)
def _gru(fields: Fields) -> Component:
    weight = fields.matrix("w_h", fields.dim("CellDim"))
    if weight.shape[1] != fields.dim("RecurrentDim"):
        raise fields.error("<w_h> with RecurrentDim columns", str(weight.shape[1]))
    return Component.row_wise(fields.type_name, GruNonlinearity(weight), num_parameters=weight.size)


@component("OutputGruNonlinearityComponent", CellDim=INTEGER, w_h=VECTOR)
def _output_gru(fields: Fields) -> Component:
    weight = fields.vector("w_h", fields.dim("CellDim"))
    return Component.row_wise(fields.type_name, OutputGruNonlinearity(weight), num_parameters=weight.size)
