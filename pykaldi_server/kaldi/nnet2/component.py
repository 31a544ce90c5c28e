"""What a layer of an nnet2 network is (``nnet2/nnet-component.h``).

Every layer maps a block of T frames to a block of frames. Most work on each frame alone. Splicing layers
look at the frames t + c for the offsets c of their context, so that their output is shorter than their
input by last - first offset: from the frames a..b come the frames a - first .. b - last.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_CONTEXT_FRAMES", "MAX_DIM", "PROBABILITY_FLOOR", "Component", "FloatFrames"]

FloatFrames = NDArray[np.float32]

# Probabilities are floored before anyone takes their logarithm (SoftmaxComponent).
PROBABILITY_FLOOR = 1.0e-20
# What a network that makes sense stays far below; counts in a damaged file must not take the memory.
MAX_DIM = 1_000_000
MAX_CONTEXT_FRAMES = 1_000


@dataclass(frozen=True)
class Component:
    """One layer.

    Attributes:
        type: Kaldi's name of the type, such as ``AffineComponent``.
        input_dim: dimension of the frames that come in.
        output_dim: dimension of the frames that go out.
        propagate: from (frames, input_dim) to (frames - last + first offset, output_dim), both float32.
        context: offsets of the frames that an output frame needs, increasing.
        has_constant_part: a part of the input (an i-vector) is taken to be the same in all frames.
    """

    type: str
    input_dim: int
    output_dim: int
    propagate: Callable[[FloatFrames], FloatFrames]
    context: tuple[int, ...] = (0,)
    has_constant_part: bool = False
