"""PyKaldi's vector and matrix classes, based on NumPy (``pykaldi: kaldi/matrix``).

They are NumPy arrays in every respect; only their construction and a few names are PyKaldi's. Arrays of the
right precision are shared, not copied.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DoubleMatrix", "DoubleVector", "Matrix", "Vector"]


class _View(np.ndarray):
    """An array of fixed precision and number of dimensions."""

    precision: ClassVar[type] = np.float32
    dimensions: ClassVar[int] = 1

    def __new__(cls, *source: Any) -> Any:
        """Creates zeros of a given shape (integers), or a view (otherwise a copy) of an array-like object.

        Raises:
            ValueError: the source has a different number of dimensions.
        """
        if len(source) == cls.dimensions and all(isinstance(size, int | np.integer) for size in source):
            return np.zeros(source, cls.precision).view(cls)
        data: ArrayLike = source[0] if source else np.zeros((0,) * cls.dimensions)
        array: NDArray[Any] = np.asarray(data, cls.precision)
        if array.ndim != cls.dimensions:
            raise ValueError(f"expected {cls.dimensions} dimension(s), found shape {array.shape}")
        return array.view(cls)

    def numpy(self) -> NDArray[Any]:
        """Returns a plain NumPy array that shares the memory."""
        return self.view(np.ndarray)


class Vector(_View):
    """A vector of float32."""

    @property
    def dim(self) -> int:
        """Number of elements."""
        return len(self)


class DoubleVector(Vector):
    """A vector of float64."""

    precision = np.float64


class Matrix(_View):
    """A matrix of float32, row-major."""

    dimensions = 2

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self.shape[0])

    @property
    def num_cols(self) -> int:
        """Number of columns."""
        return int(self.shape[1])


class DoubleMatrix(Matrix):
    """A matrix of float64, row-major."""

    precision = np.float64
