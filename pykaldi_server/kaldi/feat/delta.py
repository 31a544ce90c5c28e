"""Time derivatives of features (``feat/feature-functions.cc``).

The first derivative is the slope of the regression line over ``window`` frames on both sides, the second one
the derivative of the first, and so on:

    d_0(t) = x(t),    d_i(t) = sum_j j d_{i-1}(t + j) / sum_j j²,    j = -window .. window

so that each is a weighted sum of 2 * order * window + 1 frames. At both ends of the stream the outermost
frame is repeated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat.online_feature import (
    OnlineFeatureInterface,
    OnlineSpliceTransform,
    packed_transform,
)
from pykaldi_server.kaldi.util.options import Options, option

__all__ = ["DeltaFeaturesOptions", "OnlineDeltaFeature", "delta_weights"]

_MAX_WINDOW_FRAMES = 1000


@dataclass
class DeltaFeaturesOptions(Options):
    """Which derivatives to append."""

    order: int = option(
        2, "Number of derivatives to append (2: velocity and acceleration).", name="delta-order"
    )
    window: int = option(
        2, "Frames on each side that a derivative is computed from; more are smoother.", name="delta-window"
    )

    def validate(self) -> None:
        if not 0 <= self.order <= _MAX_WINDOW_FRAMES or not 1 <= self.window <= _MAX_WINDOW_FRAMES:
            raise ConfigError(
                f"delta-order, delta-window: expected 0 to {_MAX_WINDOW_FRAMES}, 1 to {_MAX_WINDOW_FRAMES}, "
                f"found {self.order}, {self.window}"
            )


class OnlineDeltaFeature(OnlineSpliceTransform):
    """Frames with their derivatives appended, computed as a matrix times spliced frames."""

    def __init__(self, opts: DeltaFeaturesOptions, src: OnlineFeatureInterface):
        """Takes the options and the stream whose frames are extended.

        Raises:
            ConfigError: an option is invalid.
        """
        opts.validate()
        context = opts.order * opts.window
        matrix = np.kron(delta_weights(opts), np.eye(src.dim(), dtype=np.float32))
        super().__init__(packed_transform(matrix, matrix.shape[1]), src, context, context)


def delta_weights(opts: DeltaFeaturesOptions) -> NDArray[np.float32]:
    """Returns the weights of the frames t - order * window .. t + order * window.

    Returns:
        (order + 1, 2 * order * window + 1) float32; row i gives the i-th derivative.
    """
    context = opts.order * opts.window
    slope = np.arange(-opts.window, opts.window + 1, dtype=np.float32)
    slope /= np.square(slope).sum()
    weights = np.zeros((opts.order + 1, 2 * context + 1), np.float32)
    derivative = np.ones(1, np.float32)
    for row in range(opts.order + 1):
        margin = context - len(derivative) // 2
        weights[row, margin : len(weights[row]) - margin] = derivative
        derivative = np.convolve(derivative, slope)
    return weights
