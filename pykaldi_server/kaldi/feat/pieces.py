"""Overlapping pieces of a vector, as a view."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pieces_of"]


def pieces_of(x: NDArray[np.float32], length: int, step: int = 1) -> NDArray[np.float32]:
    """Returns all pieces of a vector, each `step` elements after the one before.

    NumPy's `sliding_window_view` takes ten times as long. Each of its calls also leaves an entry in the
    interpreter's table of interned strings, which doubles, by a MiB, when live streams have filled it with
    those.

    Args:
        x: contiguous, (n,) float32, n >= `length`.
        length: elements of a piece.
        step: elements from the beginning of one piece to that of the next.

    Returns:
        A view of shape ((n - length) // step + 1, length), which is not to be written to.

    Raises:
        ValueError: the vector is shorter than a piece.
    """
    size = x.itemsize
    return np.ndarray(((len(x) - length) // step + 1, length), x.dtype, x, strides=(step * size, size))
