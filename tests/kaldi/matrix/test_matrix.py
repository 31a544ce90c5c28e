"""PyKaldi's vectors and matrices are NumPy arrays with other names."""

import numpy as np
import pytest

from pykaldi_server.kaldi.matrix import DoubleMatrix, Matrix, Vector


def test_zeros_of_a_shape() -> None:
    matrix = Matrix(2, 3)
    assert (matrix.num_rows, matrix.num_cols, matrix.dtype) == (2, 3, np.float32)
    assert Vector(4).dim == 4
    assert not matrix.any()


def test_views_share_memory() -> None:
    array = np.zeros((2, 2), np.float32)
    Matrix(array)[0, 1] = 5.0
    assert array[0, 1] == 5.0
    assert type(Matrix(array).numpy()) is np.ndarray


def test_lists_are_copied_to_the_precision() -> None:
    assert DoubleMatrix([[1, 2], [3, 4]]).dtype == np.float64
    assert np.array_equal(Vector([1, 2]) * 2, [2, 4])


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 2 dimension\(s\), found shape \(3,\)"):
        Matrix([1.0, 2.0, 3.0])
