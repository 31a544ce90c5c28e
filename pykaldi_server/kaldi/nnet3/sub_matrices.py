"""Parts of the matrices in a computation's memory, as slices are parts of an array."""

from pykaldi_server.kaldi._core import SubMatrix

__all__ = ["column_range", "reshaped", "row_slice"]


def row_slice(matrix: SubMatrix, rows: slice, count: int | None = None) -> SubMatrix:
    """Returns some rows of a matrix.

    Args:
        matrix: the matrix.
        rows: which ones; the step must be positive.
        count: number of rows of the result; if `rows` is a single one, it is repeated.
    """
    chosen = range(*rows.indices(matrix.num_rows))
    offset = matrix.offset + chosen.start * matrix.stride
    if count is not None and len(chosen) == 1:
        return SubMatrix(offset, count, matrix.num_cols, 0)
    return SubMatrix(offset, len(chosen), matrix.num_cols, chosen.step * matrix.stride)


def column_range(matrix: SubMatrix, start: int, stop: int) -> SubMatrix:
    """Returns the columns from `start` up to `stop` of a matrix."""
    return SubMatrix(matrix.offset + start, matrix.num_rows, stop - start, matrix.stride)


def reshaped(matrix: SubMatrix, num_cols: int) -> SubMatrix:
    """Returns a contiguous matrix with the same numbers and another number of columns.

    Raises:
        ValueError: the matrix is not contiguous, or its rows do not divide.
    """
    if matrix.num_cols % num_cols or (matrix.num_rows > 1 and matrix.stride != matrix.num_cols):
        raise ValueError(
            f"expected a contiguous matrix with a multiple of {num_cols} columns, "
            f"found {matrix.num_cols} columns and a stride of {matrix.stride}"
        )
    return SubMatrix(matrix.offset, matrix.num_rows * matrix.num_cols // num_cols, num_cols, num_cols)
