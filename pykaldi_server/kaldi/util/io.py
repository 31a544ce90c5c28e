"""Kaldi's basic input and output, binary and text (``base/io-funcs.cc``, ``matrix/kaldi-matrix.cc``).

A Kaldi file is binary if it starts with the two bytes ``\\0B``, otherwise it is text. Both forms are
sequences of the same items:

==============  ==============================================  =====================
item            binary                                          text
==============  ==============================================  =====================
token           the word, then one space                        the same
integer, float  one byte with the size, then little endian      decimal, then a space
bool            ``T`` or ``F``                                  the same, then a space
integer vector  element size, int32 count, elements             ``[ 1 2 3 ]``
vector          ``FV``/``DV``, count, elements                  ``[ 1.0 2.0 ]``
matrix          ``FM``/``DM``, rows, columns, row-major         ``[ 1 2\\n 3 4 ]``
packed matrix   ``FP``/``DP``, rows, lower triangle by rows     lower triangle, one row per line
compressed      ``CM``, ``CM2``, ``CM3``: see `_compressed`     (always binary)
==============  ==============================================  =====================

Anything wrong with a file is a `ModelFormatError` with the path, the byte and what was expected and found.
Counts in a file are checked against the number of bytes left before they are used.
"""

import math
import mmap
import os
import re
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.util.files import load_bytes
from pykaldi_server.kaldi.util.text_utils import INT32_MAX, INT32_MIN

__all__ = [
    "BINARY_MARK",
    "FloatArray",
    "FloatT",
    "KaldiReader",
    "KaldiWriter",
    "as_float32",
    "as_float64",
    "pack_symmetric",
    "unpack_symmetric",
]

BINARY_MARK = b"\0B"
_MAX_TOKEN_BYTES = 1024
_WHITE = b" \t\n\r\v\f"
_SKIP_WHITE = re.compile(rb"\s*")
_WORD = re.compile(rb"[^\s]{1,%d}" % (_MAX_TOKEN_BYTES + 1))
_INTEGER = re.compile(rb"[+-]?[0-9]{1,20}")
# Python's and NumPy's conversions also accept underscores, white space and long words for infinity.
_FLOAT = re.compile(
    rb"(?i)[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?)"
)

FloatArray = NDArray[np.floating[Any]]
FloatT = TypeVar("FloatT", bound=np.floating[Any])


class KaldiReader:
    """Reads the items of one Kaldi file, or of one entry of an archive, from a buffer.

    Attributes:
        path: the name of the file in errors.
        offset: where the next item starts, in bytes.
        binary: whether the items are in binary form.
    """

    def __init__(
        self,
        data: bytes | mmap.mmap,
        path: str | os.PathLike[str] = "<memory>",
        offset: int = 0,
        binary: bool | None = None,
    ):
        """Starts at ``offset``; ``binary=None`` looks for the binary mark there and skips it."""
        self._data = data
        self.path = os.fspath(path)
        self.offset = offset
        if binary is None:
            binary = data[offset : offset + 2] == BINARY_MARK
            if binary:
                self.offset += len(BINARY_MARK)
        self.binary = binary

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "KaldiReader":
        """Maps a file and starts at its first item. See `load_bytes` for the errors."""
        return cls(load_bytes(path), path)

    @property
    def data(self) -> bytes | mmap.mmap:
        """The whole buffer, for readers in the core."""
        return self._data

    @property
    def remaining(self) -> int:
        """Bytes from the next item to the end of the buffer."""
        return len(self._data) - self.offset

    def error(self, expected: str, found: str, offset: int | None = None) -> ModelFormatError:
        """Builds the error for this place; the caller raises it."""
        place = self.offset if offset is None else offset
        return ModelFormatError.at(self.path, place, expected=expected, found=found)

    def at_end(self) -> bool:
        """True if only white space follows."""
        self._skip_white()
        return self.remaining == 0

    def expect_end(self) -> None:
        """Checks that only white space follows.

        Raises:
            ModelFormatError: something else follows.
        """
        if not self.at_end():
            raise self.error("the end of the file", f"{self.remaining} more bytes")

    def peek_token(self) -> str:
        """Returns the next token without moving past it ('' at the end)."""
        start = self.offset
        try:
            self._skip_white()
            return "" if self.remaining == 0 else self.read_token()
        finally:
            self.offset = start

    def read_token(self) -> str:
        """Reads a word that ends with white space, and in binary form exactly one byte of that."""
        self._skip_white()
        match = _WORD.match(self._data, self.offset)
        if match is None:
            raise self.error("a token", "the end of the file")
        word = match.group()
        if len(word) > _MAX_TOKEN_BYTES:
            raise self.error("a token", f"more than {_MAX_TOKEN_BYTES} bytes without white space")
        try:
            token = word.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("a token", f"the bytes {word[:16]!r}") from None
        self.offset = min(match.end() + 1, len(self._data))
        return token

    def expect_token(self, *tokens: str) -> str:
        """Reads a token that must be one of ``tokens``, and returns it."""
        start = self.offset
        token = self.read_token()
        if token not in tokens:
            raise self.error(" or ".join(map(repr, tokens)), repr(token), start)
        return token

    def accept_token(self, token: str) -> bool:
        """Reads the next token if it is ``token``; returns whether it was."""
        if self.peek_token() != token:
            return False
        self.read_token()
        return True

    def read_line(self, most_bytes: int) -> str:
        """Reads to the end of the line, which must come within ``most_bytes``; returns it without its end."""
        start = self.offset
        end = self._data.find(b"\n", start, start + most_bytes)
        if end < 0:
            raise self.error("a line of text", "no end of the line")
        self.offset = end + 1
        try:
            return self._data[start:end].decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("a line of text", "bytes that are not UTF-8", start) from None

    def read_int(self) -> int:
        """Reads an integer of any size that Kaldi writes."""
        if not self.binary:
            start, word = self._text_word("an integer")
            if not _INTEGER.fullmatch(word):
                raise self.error("an integer", repr(word[:40].decode(errors="replace")), start)
            return int(word)
        size = int.from_bytes(self._take(1, "the size of an integer"), "little", signed=True)
        if abs(size) not in (1, 2, 4, 8):
            raise self.error("an integer of 1, 2, 4 or 8 bytes", f"size {size}", self.offset - 1)
        return int.from_bytes(self._take(abs(size), "an integer"), "little", signed=size > 0)

    def read_count(self, what: str, at_most: int | None = None) -> int:
        """Reads an integer that counts something: refuses negative ones and those above ``at_most``."""
        start = self.offset
        count = self.read_int()
        if count < 0 or (at_most is not None and count > at_most):
            bound = "" if at_most is None else f" of at most {at_most}"
            raise self.error(f"a count of {what}{bound}", str(count), start)
        return count

    def read_float(self) -> float:
        """Reads a float or double."""
        if not self.binary:
            start, word = self._text_word("a number")
            return self._parse_float(word, start)
        size = self._take(1, "the size of a number")[0]
        if size not in (4, 8):
            raise self.error("a number of 4 or 8 bytes", f"size {size}", self.offset - 1)
        raw = self._take(size, "a number")
        return float(np.frombuffer(raw, "<f4" if size == 4 else "<f8")[0])

    def read_bool(self) -> bool:
        """Reads ``T`` or ``F``."""
        start = self.offset
        letter = self._take(1, "T or F") if self.binary else self._text_word("T or F")[1]
        if letter not in (b"T", b"F"):
            raise self.error("T or F", repr(letter), start)
        return letter == b"T"

    def read_int_vector(self) -> NDArray[np.int32]:
        """Reads a vector of integers (``std::vector<int32>``); shape (n,), int32."""
        if not self.binary:
            return self._whole(self._text_numbers("a vector of integers"))
        size = self._take(1, "the size of an integer")[0]
        if size not in (1, 2, 4):
            raise self.error("integers of 1, 2 or 4 bytes", f"size {size}", self.offset - 1)
        count = self._raw_count("integers", size)
        return self._take_array(np.dtype(f"<i{size}"), count).astype(np.int32, copy=False)

    def read_int_table(self, rows: int, columns: int) -> NDArray[np.int32]:
        """Reads ``rows * columns`` integers that were written one by one; shape (rows, columns), int32."""
        if not self.binary:
            self._check_shape(rows, columns, 1, self.offset)
            words = [self._read_int32() for _ in range(rows * columns)]
            return np.array(words, np.int32).reshape(rows, columns)
        start = self.offset
        self._check_shape(rows, columns, 5, start)
        items = np.frombuffer(
            self._take(5 * rows * columns, "integers"), np.dtype([("size", "i1"), ("value", "<i4")])
        )
        if not (items["size"] == 4).all():
            wrong = int(np.argmax(items["size"] != 4))
            raise self.error("an integer of 4 bytes", f"size {items['size'][wrong]}", start + 5 * wrong)
        return items["value"].reshape(rows, columns)

    def read_int_pairs(self) -> NDArray[np.int32]:
        """Reads ``std::vector<std::pair<int32, int32>>``; shape (n, 2), int32."""
        if not self.binary:
            start, body = self._text_brackets("pairs of integers")
            pairs = body.split()
            if any(pair.count(b",") != 1 for pair in pairs):
                raise self.error("pairs of integers", repr(body[:32]), start)
            numbers = [number for pair in pairs for number in pair.split(b",")]
            return self._whole(self._numbers(numbers, "pairs of integers", start)).reshape(-1, 2)
        size = self._take(1, "the size of an integer")[0]
        if size != 4:
            raise self.error("integers of 4 bytes", f"size {size}", self.offset - 1)
        count = self._raw_count("pairs", 8)
        return self._take_array(np.dtype("<i4"), 2 * count).reshape(count, 2)

    def read_vector(self) -> FloatArray:
        """Reads a vector.

        Returns:
            (n,): float32 for ``FV`` and float64 for ``DV``, read-only (a view of the mapped file if it is
            aligned, otherwise a copy); float64 for text.
        """
        if not self.binary:
            return self._text_numbers("a vector")
        start = self.offset
        kind = self.expect_token("FV", "DV")
        dtype = np.dtype("<f4" if kind == "FV" else "<f8")
        count = self.read_int()
        if not 0 <= count <= self.remaining // dtype.itemsize:
            raise self.error("a vector", f"{count} elements with {self.remaining} bytes left", start)
        return self._take_array(dtype, count)

    def read_matrix(self) -> FloatArray:
        """Reads a matrix, compressed or not; shape (rows, columns), dtype as in `read_vector`."""
        if not self.binary:
            return self._text_matrix()
        start = self.offset
        kind = self.expect_token("FM", "DM", "CM", "CM2", "CM3")
        if kind.startswith("CM"):
            return self._compressed(kind)
        dtype = np.dtype("<f4" if kind == "FM" else "<f8")
        rows, columns = self.read_int(), self.read_int()
        self._check_shape(rows, columns, dtype.itemsize, start)
        return self._take_array(dtype, rows * columns).reshape(rows, columns)

    def read_packed(self) -> FloatArray:
        """Reads a symmetric or triangular matrix; returns its lower triangle as (n (n + 1) / 2,)."""
        if not self.binary:
            values = self._text_numbers("a packed matrix")
            if _packed_rows(len(values)) is None:
                raise self.error("a lower triangle", f"{len(values)} numbers")
            return values
        start = self.offset
        dtype = np.dtype("<f4" if self.expect_token("FP", "DP") == "FP" else "<f8")
        rows = self.read_int()
        count = rows * (rows + 1) // 2
        if rows < 0 or count * dtype.itemsize > self.remaining:
            raise self.error("a packed matrix", f"{rows} rows with {self.remaining} bytes left", start)
        return self._take_array(dtype, count)

    def read_symmetric(self) -> FloatArray:
        """Reads a packed symmetric matrix and returns it in full, shape (n, n)."""
        return unpack_symmetric(self.read_packed())

    def _read_int32(self) -> int:
        start = self.offset
        value = self.read_int()
        if not INT32_MIN <= value <= INT32_MAX:
            raise self.error("an integer of 32 bits", str(value), start)
        return value

    def _skip_white(self) -> None:
        match = _SKIP_WHITE.match(self._data, self.offset)
        assert match is not None
        self.offset = match.end()

    def _take(self, size: int, what: str) -> bytes:
        if size > self.remaining:
            raise self.error(what, f"the end of the file ({self.remaining} bytes left)")
        start, self.offset = self.offset, self.offset + size
        return self._data[start : self.offset]

    def _take_array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        if count == 0:
            return np.zeros(0, dtype)
        array: NDArray[Any] = np.frombuffer(self._data, dtype, count, self.offset)
        self.offset += array.nbytes
        if not array.flags.aligned:
            array = array.copy()
            array.flags.writeable = False
        return array

    def _raw_count(self, what: str, item_bytes: int) -> int:
        start = self.offset
        count = int.from_bytes(self._take(4, f"the number of {what}"), "little", signed=True)
        if not 0 <= count <= self.remaining // item_bytes:
            raise self.error(
                f"a number of {what}", f"{count} with {self.remaining} bytes left in the file", start
            )
        return count

    def _check_shape(self, rows: int, columns: int, item_bytes: int, start: int) -> None:
        if rows < 0 or columns < 0 or rows * columns * item_bytes > self.remaining:
            raise self.error("a matrix", f"{rows} x {columns} with {self.remaining} bytes left", start)
        if (rows == 0) != (columns == 0):
            raise self.error("a matrix", f"the shape {rows} x {columns}", start)

    def _text_word(self, what: str) -> tuple[int, bytes]:
        self._skip_white()
        start = self.offset
        match = _WORD.match(self._data, self.offset)
        if match is None:
            raise self.error(what, "the end of the file")
        self.offset = min(match.end() + 1, len(self._data))
        return start, match.group()

    def _parse_float(self, word: bytes, start: int) -> float:
        if not _FLOAT.fullmatch(word):
            raise self.error("a number", repr(word[:40].decode(errors="replace")), start)
        return float(word)

    def _text_brackets(self, what: str) -> tuple[int, bytes]:
        self._skip_white()
        start = self.offset
        if self._data[start : start + 1] != b"[":
            raise self.error(what, repr(self._data[start : start + 16]))
        end = self._data.find(b"]", start)
        if end < 0:
            raise self.error(f"{what} that ends with ]", "the end of the file")
        self.offset = end + 1
        return start, self._data[start + 1 : end]

    def _numbers(self, words: list[bytes], what: str, start: int) -> FloatArray:
        bad = next((word for word in words if not _FLOAT.fullmatch(word)), None)
        if bad is not None:
            raise self.error(what, repr(bad[:40].decode(errors="replace")), start)
        return np.array(words, dtype="S").astype(np.float64) if words else np.zeros(0)

    def _text_numbers(self, what: str) -> FloatArray:
        start, body = self._text_brackets(what)
        return self._numbers(body.split(), what, start)

    def _whole(self, values: FloatArray) -> NDArray[np.int32]:
        if not ((values == np.floor(values)) & (values >= -(2.0**31)) & (values < 2.0**31)).all():
            raise self.error("integers", "fractions or numbers beyond 32 bits")
        return values.astype(np.int32)

    def _text_matrix(self) -> FloatArray:
        start, body = self._text_brackets("a matrix")
        rows = [line.split() for line in body.splitlines()]
        rows = [row for row in rows if row]
        if any(len(row) != len(rows[0]) for row in rows):
            raise self.error("a matrix", "rows of different lengths", start)
        numbers = self._numbers([word for row in rows for word in row], "a matrix", start)
        return numbers.reshape(len(rows), len(rows[0]) if rows else 0)

    def _compressed(self, kind: str) -> FloatArray:
        """Reads what follows ``CM``: minimum, range, shape, then the data (``compressed-matrix.cc``).

        ``CM2`` has one uint16 and ``CM3`` one uint8 per element, linear between the minimum and the maximum.
        ``CM`` stores column after column, one uint8 per element, piecewise linear between four percentiles
        (0, 25, 75, 100) that precede the data as uint16.
        """
        start = self.offset
        least, span = (float(x) for x in np.frombuffer(self._take(8, "a matrix header"), "<f4"))
        rows, columns = (int(x) for x in np.frombuffer(self._take(8, "a matrix header"), "<i4"))
        self._check_shape(rows, columns, 2 if kind == "CM2" else 1, start)
        if not (math.isfinite(least) and math.isfinite(span)):
            raise self.error("a finite range of values", f"{least}, {span}", start)
        if kind == "CM2":
            linear = self._take_array(np.dtype("<u2"), rows * columns).reshape(rows, columns)
            return (least + linear * (span / 65535)).astype(np.float32)
        if kind == "CM3":
            linear = self._take_array(np.dtype("u1"), rows * columns).reshape(rows, columns)
            return (least + linear * (span / 255)).astype(np.float32)
        if columns * (8 + rows) > self.remaining:
            raise self.error("a matrix", f"{rows} x {columns} with {self.remaining} bytes left", start)
        header = self._take_array(np.dtype("<u2"), columns * 4).reshape(columns, 4)
        knots = least + header * (span / 65535)
        steps = self._take_array(np.dtype("u1"), rows * columns).reshape(columns, rows)
        matrix = np.empty((rows, columns), np.float32)
        for column in range(columns):
            matrix[:, column] = np.interp(steps[column], [0, 64, 192, 255], knots[column])
        return matrix


class KaldiWriter:
    """Writes the items of one Kaldi file; the counterpart of `KaldiReader`."""

    def __init__(self, file: IO[bytes], binary: bool = True, mark: bool = True):
        """Writes to ``file``; ``mark`` puts the binary mark first (not inside an archive entry's body)."""
        self._file = file
        self.binary = binary
        if binary and mark:
            file.write(BINARY_MARK)

    def write_token(self, token: str) -> None:
        """Writes a word without white space in it."""
        if not token or any(letter.isspace() for letter in token):
            raise ValueError(f"expected a token without white space, found {token!r}")
        self._file.write(token.encode() + b" ")

    def newline(self) -> None:
        """Ends a line in text form; writes nothing in binary form."""
        if not self.binary:
            self._file.write(b"\n")

    def write_int(self, value: int) -> None:
        """Writes an int32."""
        if self.binary:
            self._file.write(b"\x04" + int(value).to_bytes(4, "little", signed=True))
        else:
            self._file.write(b"%d " % value)

    def write_float(self, value: float, double: bool = False) -> None:
        """Writes a float, or a double."""
        if not self.binary:
            self._file.write(_text_float(value, double) + b" ")
        elif double:
            self._file.write(b"\x08" + np.float64(value).tobytes())
        else:
            self._file.write(b"\x04" + np.float32(value).tobytes())

    def write_bool(self, value: bool) -> None:
        """Writes ``T`` or ``F``."""
        self._file.write((b"T" if value else b"F") + (b"" if self.binary else b" "))

    def write_int_vector(self, values: NDArray[Any]) -> None:
        """Writes a vector of int32."""
        values = np.ascontiguousarray(values, "<i4")
        if self.binary:
            self._file.write(b"\x04" + len(values).to_bytes(4, "little") + values.tobytes())
        else:
            self._file.write(b"[ " + b"".join(b"%d " % v for v in values) + b"]\n")

    def write_vector(self, values: FloatArray) -> None:
        """Writes a vector in its own precision (float64 as ``DV``, others as ``FV``)."""
        values, kind = _as_float(values)
        if self.binary:
            self.write_token(f"{kind}V")
            self.write_int(len(values))
            self._file.write(values.tobytes())
        else:
            self._file.write(b" [ " + self._text_row(values) + b"]\n")

    def write_matrix(self, values: FloatArray) -> None:
        """Writes a matrix in its own precision (float64 as ``DM``, others as ``FM``)."""
        values, kind = _as_float(values)
        if self.binary:
            self.write_token(f"{kind}M")
            self.write_int(values.shape[0])
            self.write_int(values.shape[1])
            self._file.write(values.tobytes())
        elif values.size == 0:
            self._file.write(b" [ ]\n")
        else:
            rows = (b"\n  " + self._text_row(row) for row in values)
            self._file.write(b" [" + b"".join(rows) + b"]\n")

    def write_packed(self, triangle: FloatArray) -> None:
        """Writes the lower triangle of a symmetric matrix, as `KaldiReader.read_packed` returns it."""
        triangle, kind = _as_float(triangle)
        rows = _packed_rows(len(triangle))
        if rows is None:
            raise ValueError(f"expected a lower triangle, found {len(triangle)} numbers")
        if self.binary:
            self.write_token(f"{kind}P")
            self.write_int(rows)
            self._file.write(triangle.tobytes())
        else:
            lines = (triangle[r * (r + 1) // 2 : (r + 1) * (r + 2) // 2] for r in range(rows))
            self._file.write(b" [" + b"".join(b"\n" + self._text_row(line) for line in lines) + b"]\n")

    def _text_row(self, values: FloatArray) -> bytes:
        if values.dtype == np.float64:
            return "".join([f"{value!r} " for value in values.tolist()]).encode()
        return "".join([f"{value!s} " for value in values]).encode()


def as_float32(values: FloatArray) -> NDArray[np.float32]:
    """Returns the numbers in single precision; those beyond its range become infinite, without a warning."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32)


def as_float64(values: FloatArray) -> NDArray[np.float64]:
    """Returns the numbers in double precision, without a warning about NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(values, np.float64)


def pack_symmetric(matrix: NDArray[FloatT]) -> NDArray[FloatT]:
    """Returns the lower triangle of (n, n) by rows, shape (n (n + 1) / 2,)."""
    return matrix[np.tril_indices(len(matrix))]


def unpack_symmetric(triangle: NDArray[FloatT]) -> NDArray[FloatT]:
    """Returns the symmetric matrix (n, n) of a lower triangle by rows, (n (n + 1) / 2,)."""
    rows = _packed_rows(len(triangle))
    if rows is None:
        raise ValueError(f"expected a lower triangle, found {len(triangle)} numbers")
    matrix = np.zeros((rows, rows), triangle.dtype)
    lower = np.tril_indices(rows)
    matrix[lower] = triangle
    matrix.T[lower] = triangle
    return matrix


def _packed_rows(count: int) -> int | None:
    rows = (math.isqrt(8 * count + 1) - 1) // 2
    return rows if rows * (rows + 1) // 2 == count else None


def _as_float(values: FloatArray) -> tuple[FloatArray, str]:
    double = values.dtype == np.float64
    return np.ascontiguousarray(values, "<f8" if double else "<f4"), "D" if double else "F"


def _text_float(value: float, double: bool) -> bytes:
    # The fewest digits that read back as the same number, as in `_text_row`; Kaldi itself writes 7.
    return str(np.float64(value) if double else np.float32(value)).encode()
