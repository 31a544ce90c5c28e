"""Numbers that must be finite: one NaN or infinity in a model spreads to every result.

Readers refuse such numbers in files, and constructors refuse them in derived numbers, because products of
large finite numbers overflow. The error names the number, what it belongs to, and its index.
"""

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.util.io import FloatArray, KaldiReader
from pykaldi_server.kaldi.util.options import normalize_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "find_not_finite",
    "read_finite_float",
    "read_finite_matrix",
    "read_finite_packed",
    "read_finite_vector",
    "require_finite",
    "require_finite_options",
]

_PrecisionT = TypeVar("_PrecisionT", np.float32, np.float64)

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def require_finite(values: FloatArray, what: str, dtype: type[_PrecisionT]) -> NDArray[_PrecisionT]:
    """Returns numbers in a given precision.

    Args:
        values: numbers of any precision and shape.
        what: what the numbers are, for the error.
        dtype: ``np.float32`` or ``np.float64``.

    Raises:
        ValueError: a number is NaN, infinite or beyond the precision, such as ``inf at [3, 5] in WHAT``.
    """
    converted = _converted(values, dtype)
    found = _first_not_finite(values, converted)
    if found is not None:
        raise ValueError(f"{found} in {what}")
    return converted


def find_not_finite(values: FloatArray) -> str | None:
    """Describes the first number that is NaN or infinite (``inf at [3, 5]``); None if there is none."""
    return _first_not_finite(values, values)


def require_finite_options(options: "DataclassInstance") -> None:
    """Checks that the numbers of an options class, without its groups, are finite in single precision.

    Raises:
        ConfigError: one is not; the text names it.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, float) and not abs(value) <= _MAX_FLOAT32:
            name = field.metadata.get("name") or normalize_name(field.name)
            raise ConfigError(f"{name}: expected a finite number, found {value}")


def read_finite_matrix(reader: KaldiReader, what: str, dtype: type[_PrecisionT]) -> NDArray[_PrecisionT]:
    """Reads a matrix, (rows, columns).

    Raises:
        ModelFormatError: the next item is not a matrix, or a number is not finite.
    """
    start = reader.offset
    return _checked(reader, start, reader.read_matrix(), what, dtype)


def read_finite_vector(reader: KaldiReader, what: str, dtype: type[_PrecisionT]) -> NDArray[_PrecisionT]:
    """Reads a vector, (n,).

    Raises:
        ModelFormatError: the next item is not a vector, or a number is not finite.
    """
    start = reader.offset
    return _checked(reader, start, reader.read_vector(), what, dtype)


def read_finite_packed(reader: KaldiReader, what: str, dtype: type[_PrecisionT]) -> NDArray[_PrecisionT]:
    """Reads the lower triangle of a symmetric matrix, (n (n + 1) / 2,).

    Raises:
        ModelFormatError: the next item is not a packed matrix, or a number is not finite.
    """
    start = reader.offset
    return _checked(reader, start, reader.read_packed(), what, dtype)


def read_finite_float(reader: KaldiReader, what: str) -> float:
    """Reads a number.

    Raises:
        ModelFormatError: the next item is not a number, or it is not finite.
    """
    start = reader.offset
    value = reader.read_float()
    if not np.isfinite(value):
        raise reader.error(f"a finite number as {what}", str(value), start)
    return value


def _checked(
    reader: KaldiReader, start: int, values: FloatArray, what: str, dtype: type[_PrecisionT]
) -> NDArray[_PrecisionT]:
    converted = _converted(values, dtype)
    found = _first_not_finite(values, converted)
    if found is not None:
        raise reader.error(f"finite numbers in {what}", found, start)
    return converted


def _converted(values: FloatArray, dtype: type[_PrecisionT]) -> NDArray[_PrecisionT]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, dtype)


def _first_not_finite(values: FloatArray, converted: FloatArray) -> str | None:
    finite = np.isfinite(converted)
    if finite.all():
        return None
    index = np.unravel_index(int(np.argmin(finite)), finite.shape)
    return f"{values[index]} at {[int(i) for i in index]}" if index else str(values)
