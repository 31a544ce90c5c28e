"""Statistics over time: mean and standard deviation of a moving window (``nnet3/nnet-general-component.h``).

StatisticsExtraction returns, for the period of ``output_period`` frames that contains t, (count, sum x, sum
x^2) over the input frames t_0, t_0 + input_period, ... of the period. StatisticsPooling adds these over the
window [t - left, t + right] and returns (log counts, mean, standard deviation). Missing inputs are ignored.
"""

from collections.abc import Sequence

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

__all__ = ["StatisticsExtraction", "StatisticsPooling"]

_MAX_PERIOD = 10000
_MAX_INPUTS = 5000


class StatisticsExtraction(Window):
    """Count, sum and (with `include_variance`) sum of squares of a period."""

    any_suffices = True

    def __init__(self, input_dim: int, input_period: int, output_period: int, include_variance: bool):
        super().__init__(input_dim, 1 + input_dim * (2 if include_variance else 1))
        self.input_period = input_period
        self.output_period = output_period
        self.include_variance = include_variance

    def input_times(self, t: int) -> tuple[Sequence[int], Sequence[bool]]:
        start = t - t % self.output_period
        times = range(start, start + self.output_period, self.input_period)
        return times, [False] * len(times)

    def bind(
        self,
        source: SubMatrix,
        rows: NDArray[np.intp],
        y: SubMatrix,
        commands: NnetComputation,
        scratch: Scratch,
    ) -> None:
        commands.extract_statistics(source, rows, y, self.include_variance)


class StatisticsPooling(Window):
    """Log count (repeated `num_log_counts` times), mean and (with `output_stddevs`) standard deviation."""

    any_suffices = True

    def __init__(
        self,
        input_dim: int,
        input_period: int,
        context: tuple[int, int],
        num_log_counts: int,
        variance_floor: float | None,
    ):
        super().__init__(input_dim, num_log_counts + input_dim - 1)
        self.input_period = input_period
        self.context = context
        self.num_log_counts = num_log_counts
        self.variance_floor = variance_floor

    def input_times(self, t: int) -> tuple[Sequence[int], Sequence[bool]] | None:
        if t % self.input_period:
            return None
        times = range(t - self.context[0], t + self.context[1] + 1, self.input_period)
        return times, [False] * len(times)

    def bind(
        self,
        source: SubMatrix,
        rows: NDArray[np.intp],
        y: SubMatrix,
        commands: NnetComputation,
        scratch: Scratch,
    ) -> None:
        sums = scratch(1, self.input_dim)
        commands.pool_statistics(source, rows, sums, y, self.num_log_counts, self.variance_floor)


# Kaldi misspells the last token of StatisticsExtraction.
@component(
    "StatisticsExtractionComponent",
    InputDim=INTEGER,
    InputPeriod=INTEGER,
    OutputPeriod=INTEGER,
    IncludeVarinance=BOOL,
)
def _extraction(fields: Fields) -> Component:
    input_period = fields.integer("InputPeriod", least=1, most=_MAX_PERIOD)
    output_period = fields.integer("OutputPeriod", least=1, most=_MAX_PERIOD)
    if output_period % input_period:
        raise fields.error("an output period of whole input periods", f"{output_period}, {input_period}")
    include_variance = bool(fields.require("IncludeVarinance"))
    window = StatisticsExtraction(fields.dim("InputDim"), input_period, output_period, include_variance)
    return Component(fields.type_name, window.input_dim, window.output_dim, window=window)


@component(
    "StatisticsPoolingComponent",
    InputDim=INTEGER,
    InputPeriod=INTEGER,
    LeftContext=INTEGER,
    RightContext=INTEGER,
    NumLogCountFeatures=INTEGER,
    OutputStddevs=BOOL,
    VarianceFloor=NUMBER,
)
def _pooling(fields: Fields) -> Component:
    dim, period = fields.dim("InputDim"), fields.integer("InputPeriod", least=1, most=_MAX_PERIOD)
    most = period * _MAX_INPUTS
    context = (
        fields.integer("LeftContext", least=0, most=most),
        fields.integer("RightContext", least=0, most=most),
    )
    stddevs, floor = bool(fields.require("OutputStddevs")), fields.number("VarianceFloor")
    if context[0] % period or context[1] % period or not 0 < floor < 1 or (stddevs and dim % 2 == 0):
        raise fields.error("a window of whole periods", f"{context}, {period}, {floor}, {dim}")
    log_counts = fields.integer("NumLogCountFeatures", least=0, most=1000)
    window = StatisticsPooling(dim, period, context, log_counts, floor if stddevs else None)
    if window.output_dim < 1:
        raise fields.error("statistics besides the count", f"{dim} columns")
    return Component(fields.type_name, window.input_dim, window.output_dim, window=window)
