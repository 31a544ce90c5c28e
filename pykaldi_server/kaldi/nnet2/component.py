"""Layers of nnet2 networks (``nnet2/nnet-component.h``).

Every layer maps a block of frames to a block of frames. Most layers process each frame alone. Splicing layers
read the frames t + c for the offsets c of their context, so their output is shorter than their input by (last
- first offset): the frames a..b give the frames a - first .. b - last.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_CONTEXT_FRAMES", "MAX_DIM", "PROBABILITY_FLOOR", "Component", "FloatFrames"]

FloatFrames = NDArray[np.float32]

# Probabilities have this lower limit, so that their logarithms are finite (SoftmaxComponent).
PROBABILITY_FLOOR = 1.0e-20
# Valid networks are far below these limits, which keep counts in damaged files from exhausting memory.
MAX_DIM = 1_000_000
MAX_CONTEXT_FRAMES = 1_000


@dataclass(frozen=True)
class Component:
    """One layer.

    Attributes:
        type: Kaldi's name of the type, such as ``AffineComponent``.
        input_dim: dimension of input frames.
        output_dim: dimension of output frames.
        propagate: maps (frames, input_dim) to (frames - last + first offset, output_dim), both float32.
        context: offsets of the frames that an output frame needs, increasing.
        has_constant_part: a part of the input (an i-vector) is assumed to be the same in all frames.
    """

    type: str
    input_dim: int
    output_dim: int
    propagate: Callable[[FloatFrames], FloatFrames]
    context: tuple[int, ...] = (0,)
    has_constant_part: bool = False
