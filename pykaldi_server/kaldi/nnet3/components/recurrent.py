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

import numpy as np

from pykaldi_server.kaldi.nnet3.components.base import (
    BOOL,
    INTEGER,
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
from pykaldi_server.kaldi.nnet3.components.elementwise import sigmoid_calls

__all__ = ["GruNonlinearity", "LstmNonlinearity", "OutputGruNonlinearity"]


class LstmNonlinearity(Kernel):
    """See the module's docstring; ``weights`` (3, C) contains w_ic, w_fc, w_oc."""

    def __init__(self, weights: Array, use_dropout: bool):
        self.cell_dim = weights.shape[1]
        self.weights = weights
        self.use_dropout = use_dropout
        super().__init__(5 * self.cell_dim + 3 * use_dropout, 2 * self.cell_dim)

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        dim, rows = self.cell_dim, len(x)
        i, f, c, o, previous = (x[:, n * dim : (n + 1) * dim] for n in range(5))
        cell, output = y[:, :dim], y[:, dim:]
        gates = scratch(rows, 2, dim)
        product, gate = scratch(rows, dim), scratch(rows, dim)
        calls: list[Call] = [
            (np.multiply, (previous[:, np.newaxis], self.weights[:2], gates)),
            (np.add, (gates[:, 0], i, gates[:, 0])),
            (np.add, (gates[:, 1], f, gates[:, 1])),
            *sigmoid_calls(gates),
            *self._dropout(x, gates, 0),
            (np.tanh, (c, cell)),
            (np.multiply, (cell, gates[:, 0], cell)),
            (np.multiply, (previous, gates[:, 1], product)),
            (np.add, (cell, product, cell)),
            (np.multiply, (cell, self.weights[2], gate)),
            (np.add, (gate, o, gate)),
            *sigmoid_calls(gate),
            (np.tanh, (cell, output)),
            (np.multiply, (output, gate, output)),
        ]
        if self.use_dropout:
            calls.append((np.multiply, (output, x[:, 5 * dim + 2 :], output)))
        return calls

    def _dropout(self, x: Array, gates: Array, start: int) -> list[Call]:
        if not self.use_dropout:
            return []
        scales = x[:, 5 * self.cell_dim : 5 * self.cell_dim + 2, np.newaxis]
        return [(np.multiply, (gates, scales, gates))]


def _interpolate(y: Array, hidden: Array, z: Array, previous: Array) -> list[Call]:
    """Returns the calls for y = (1 - z) hidden + z previous, computed as hidden + z (previous - hidden)."""
    return [
        (np.subtract, (previous, hidden, y)),
        (np.multiply, (y, z, y)),
        (np.add, (y, hidden, y)),
    ]


class GruNonlinearity(Kernel):
    """See the module's docstring; ``weight`` is W, (C, R)."""

    def __init__(self, weight: Array):
        self.cell_dim, self.recurrent_dim = weight.shape
        self.weight = weight
        self.separate_state = self.recurrent_dim != self.cell_dim
        input_dim = 3 * self.cell_dim + self.recurrent_dim * (2 if self.separate_state else 1)
        super().__init__(input_dim, 2 * self.cell_dim)

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        cell, recurrent = self.cell_dim, self.recurrent_dim
        widths = [cell, recurrent, cell, cell] + [recurrent] * self.separate_state
        z, r, hidden_part, previous, *rest = np.split(x, np.cumsum(widths)[:-1], axis=1)
        state = rest[0] if rest else previous
        hidden, new_cell = y[:, :cell], y[:, cell:]
        gated, product = scratch(len(x), recurrent), scratch(len(x), cell)
        return [
            (np.multiply, (state, r, gated)),
            (np.matmul, (gated, self.weight.T, product)),
            (np.add, (product, hidden_part, product)),
            (np.tanh, (product, hidden)),
            *_interpolate(new_cell, hidden, z, previous),
        ]


class OutputGruNonlinearity(Kernel):
    """See the module's docstring; ``weight`` is w, (C,)."""

    def __init__(self, weight: Array):
        super().__init__(3 * len(weight), 2 * len(weight))
        self.weight = weight

    def bind(self, x: Array, y: Array, scratch: Scratch) -> list[Call]:
        dim = len(self.weight)
        z, hidden_part, previous = x[:, :dim], x[:, dim : 2 * dim], x[:, 2 * dim :]
        hidden, new_cell = y[:, :dim], y[:, dim:]
        return [
            (np.multiply, (previous, self.weight, hidden)),
            (np.add, (hidden, hidden_part, hidden)),
            (np.tanh, (hidden, hidden)),
            *_interpolate(new_cell, hidden, z, previous),
        ]


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
