"""Kaldi's items are written and read back, and damage is named."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter, pack_symmetric, unpack_symmetric

finite = st.floats(-1e6, 1e6, width=32)
matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=finite)
forms = pytest.mark.parametrize("binary", [True, False])


def written(binary: bool, write: Callable[[KaldiWriter], object]) -> KaldiReader:
    file = io.BytesIO()
    write(KaldiWriter(file, binary))
    return KaldiReader(file.getvalue(), "test.mat")


@forms
@given(matrix=matrices)
def test_matrices_survive(binary: bool, matrix: NDArray[np.float32]) -> None:
    reader = written(binary, lambda writer: writer.write_matrix(matrix))
    assert np.array_equal(reader.read_matrix().astype(np.float32), matrix)
    reader.expect_end()


@forms
def test_empty_matrix_survives(binary: bool) -> None:
    reader = written(binary, lambda writer: writer.write_matrix(np.zeros((0, 0), np.float32)))
    assert reader.read_matrix().shape == (0, 0)


@forms
@given(values=arrays(np.float64, st.integers(0, 20), elements=st.floats(allow_nan=False, width=64)))
def test_vectors_survive(binary: bool, values: NDArray[np.float64]) -> None:
    reader = written(binary, lambda writer: writer.write_vector(values))
    assert np.array_equal(reader.read_vector(), values)


@forms
@given(
    token=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    integer=st.integers(-(2**31), 2**31 - 1),
    number=finite,
    flag=st.booleans(),
    integers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=10),
)
def test_items_survive_in_sequence(
    binary: bool, token: str, integer: int, number: float, flag: bool, integers: list[int]
) -> None:
    def write(writer: KaldiWriter) -> None:
        writer.write_token(token)
        writer.write_int(integer)
        writer.write_float(number)
        writer.write_bool(flag)
        writer.write_int_vector(np.array(integers, np.int32))
        writer.write_token("</End>")

    reader = written(binary, write)
    assert reader.read_token() == token
    assert reader.read_int() == integer
    assert np.float32(reader.read_float()) == np.float32(number)
    assert reader.read_bool() is flag
    assert reader.read_int_vector().tolist() == integers
    assert reader.peek_token() == "</End>"
    assert reader.expect_token("</End>", "</Other>") == "</End>"
    assert reader.at_end()


@given(st.lists(st.floats(), max_size=8), st.booleans())
def test_text_has_the_fewest_digits_of_each_precision(numbers: list[float], is_double: bool) -> None:
    kind: type[np.floating] = np.float64 if is_double else np.float32
    with np.errstate(over="ignore"):
        values = np.array(numbers, kind)
    file = io.BytesIO()
    KaldiWriter(file, binary=False).write_vector(values)
    assert file.getvalue().decode().split()[1:-1] == [str(value) for value in values]


def test_pairs_in_both_forms() -> None:
    expected = [[-1, 0], [2, 3]]
    text = KaldiReader(b"[ -1,0 2,3 ]\n")
    assert text.read_int_pairs().tolist() == expected
    binary = KaldiReader(b"\0B\x04\x02\0\0\0" + np.array(expected, "<i4").tobytes())
    assert binary.read_int_pairs().tolist() == expected
    with pytest.raises(ModelFormatError, match="pairs of integers"):
        KaldiReader(b"[ 1 2 ]").read_int_pairs()


def test_lines_end_where_they_should() -> None:
    reader = KaldiReader(b"one line\nand half")
    assert reader.read_line(100) == "one line"
    with pytest.raises(ModelFormatError, match="a line of text"):
        reader.read_line(100)
    with pytest.raises(ModelFormatError, match="a line of text"):
        KaldiReader(b"too long\n").read_line(5)


@forms
def test_symmetric_matrices_survive(binary: bool) -> None:
    matrix = np.arange(9.0).reshape(3, 3)
    matrix += matrix.T
    reader = written(binary, lambda writer: writer.write_packed(pack_symmetric(matrix)))
    assert np.array_equal(reader.read_symmetric(), matrix)


def test_unpacking_refuses_a_count_that_is_no_triangle() -> None:
    with pytest.raises(ValueError, match="lower triangle"):
        unpack_symmetric(np.zeros(4))


def compressed(kind: bytes, least: float, span: float, shape: tuple[int, int], data: bytes) -> KaldiReader:
    header = np.array([least, span], "<f4").tobytes() + np.array(shape, "<i4").tobytes()
    return KaldiReader(b"\0B" + kind + b" " + header + data)


def test_compressed_two_bytes_is_linear() -> None:
    values = np.array([[0, 65535], [13107, 52428]], "<u2")
    matrix = compressed(b"CM2", -1.0, 2.0, (2, 2), values.tobytes()).read_matrix()
    assert np.allclose(matrix, [[-1.0, 1.0], [-0.6, 0.6]], atol=1e-6)


def test_compressed_one_byte_is_linear() -> None:
    matrix = compressed(b"CM3", 0.0, 255.0, (1, 3), bytes([0, 17, 255])).read_matrix()
    assert np.allclose(matrix, [[0.0, 17.0, 255.0]])


def test_compressed_by_columns_is_piecewise_linear() -> None:
    # Percentiles 0, 25, 75 and 100 of the one column are at 0, 64, 192 and 255 of 255.
    percentiles = np.array([0, 64 * 257, 192 * 257, 65535], "<u2")
    steps = bytes([0, 32, 64, 128, 192, 255])
    matrix = compressed(b"CM", 0.0, 255.0, (6, 1), percentiles.tobytes() + steps).read_matrix()
    assert np.allclose(matrix[:, 0], [0, 32, 64, 128, 192, 255], atol=1e-3)


@pytest.mark.parametrize(
    ("data", "call", "expected"),
    [
        (b"\0BFM \x04\xff\xff\xff\x7f\x04\xff\xff\xff\x7f", "read_matrix", "2147483647 x 2147483647"),
        (b"\0BFM \x04\x02\0\0\0\x04\x02\0\0\0abc", "read_matrix", "2 x 2 with 3 bytes left"),
        (b"\0BFV \x04\xff\xff\xff\xff", "read_vector", "-1 elements"),
        (b"\0BFX \x04", "read_matrix", "found 'FX'"),
        (b"\0B\x03abc", "read_int", "size 3"),
        (b"\0B\x04ab", "read_int", "end of the file"),
        (b"\0B\x05abcde", "read_float", "size 5"),
        (b"\0BX", "read_bool", "expected T or F"),
        (b"\0B\x04\xff\xff\xff\x7f", "read_int_vector", "2147483647 with 0 bytes left"),
        (b"[ 1 2\n 3 ]", "read_matrix", "rows of different lengths"),
        (b"[ 1 x ]", "read_vector", "'x'"),
        (b"[ 1 2", "read_vector", "end of the file"),
        (b"1 2 ]", "read_vector", "expected a vector"),
        (b"[ 1.5 ]", "read_int_vector", "fractions"),
        (b"[ 1 2 ]", "read_packed", "2 numbers"),
        (b"12x ", "read_int", "'12x'"),
        (b"1_2 ", "read_int", "'1_2'"),
        (b"1_2.5 ", "read_float", "'1_2.5'"),
        (b"[ 1 2_0 ]", "read_vector", "'2_0'"),
        (b"[ 1 2_0 ]", "read_int_vector", "'2_0'"),
        (b"[ 0x10 ]", "read_vector", "'0x10'"),
        (b"", "read_token", "end of the file"),
        (b"a" * 2000, "read_token", "without white space"),
    ],
)
def test_damage_is_named(data: bytes, call: str, expected: str) -> None:
    reader = KaldiReader(data, "some.file")
    with pytest.raises(ModelFormatError, match=r"some\.file: at byte \d+: expected") as caught:
        getattr(reader, call)()
    assert expected in str(caught.value)


def test_unexpected_token_says_where() -> None:
    reader = KaldiReader(b"<A> <B> ", "x.mdl")
    reader.read_token()
    with pytest.raises(ModelFormatError, match=r"x\.mdl: at byte 4: expected '<C>', found '<B>'"):
        reader.expect_token("<C>")


def test_trailing_bytes_are_named() -> None:
    with pytest.raises(ModelFormatError, match="4 more bytes"):
        KaldiReader(b"rest").expect_end()


def test_directory_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="found a directory"):
        KaldiReader.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        KaldiReader.open(tmp_path / "missing")


def test_empty_file_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(ModelFormatError, match="end of the file"):
        KaldiReader.open(path).read_token()


CALLS = ["read_token", "read_int", "read_float", "read_bool", "read_matrix", "read_vector", "read_packed"]


@given(data=st.binary(max_size=200), mark=st.booleans(), call=st.sampled_from([*CALLS, "read_int_vector"]))
def test_any_bytes_give_a_value_or_a_format_error(data: bytes, mark: bool, call: str) -> None:
    reader = KaldiReader((b"\0B" if mark else b"") + data)
    try:
        getattr(reader, call)()
    except ModelFormatError:
        return
    assert 0 <= reader.offset <= len(data) + 2
