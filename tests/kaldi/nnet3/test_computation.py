"""Commands of the core, one by one and with every kind of kernels, against NumPy in double precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import (
    NnetComputation,
    NnetMemoryPool,
    PackedProduct,
    SubMatrix,
)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
ROWS, COLUMNS = 5, 37  # columns that fill no whole number of vectors
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def with_all_kernels(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYKALDI_SERVER_KERNELS", kernels)


class Workbench:
    """A computation whose first matrices are inputs."""

    def __init__(self, *inputs: Floats):
        self.commands = NnetComputation(NnetMemoryPool())
        self._inputs = list(inputs)
        self._next = 3
        self.x = [self.matrix(*array.shape) for array in inputs]
        for number, matrix in enumerate(self.x):
            self.commands.input(number, 0, 1, matrix)

    def matrix(self, num_rows: int, num_cols: int) -> SubMatrix:
        """A matrix with gaps between its rows, which nothing may change."""
        stride = num_cols + 2
        self._next += num_rows * stride
        return SubMatrix(self._next - num_rows * stride, num_rows, num_cols, stride)

    def result(self, matrix: SubMatrix) -> Floats:
        """Runs the commands and returns a matrix."""
        self.commands.output(matrix)
        self.commands.finish()
        output = np.empty((matrix.num_rows, matrix.num_cols), np.float32)
        nothing = np.empty(0, np.float32)
        self.commands.run(self._inputs, nothing, nothing, output)
        return output


def normal(*shape: int) -> Floats:
    return RANDOM.standard_normal(shape, np.float32)


def expect(found: Floats, expected: Doubles) -> None:
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=2e-6)


def in_place(x: Floats, add: Callable[[NnetComputation, SubMatrix], None]) -> Floats:
    bench = Workbench(x)
    add(bench.commands, bench.x[0])
    return bench.result(bench.x[0])


def new_matrix(
    x: Floats, columns: int, add: Callable[[NnetComputation, SubMatrix, SubMatrix], None]
) -> Floats:
    bench = Workbench(x)
    y = bench.matrix(len(x), columns)
    add(bench.commands, bench.x[0], y)
    return bench.result(y)


def softmax(x: Doubles) -> Doubles:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(x: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: dict[str, Callable[[Doubles], Any]] = {
    "rectify": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softmax": lambda x: np.maximum(softmax(x), 1e-20),
    "log_softmax": lambda x: np.log(softmax(x)),
}


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 30.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nonlinearities(name: str, scale: float) -> None:
    x = normal(ROWS, COLUMNS) * np.float32(scale)
    found = in_place(x, lambda commands, y: getattr(commands, name)(y))
    expect(found, FUNCTIONS[name](x.astype(np.float64)))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_saturation_and_what_is_no_number(name: str) -> None:
    x = np.array([[-np.inf, -1e30, -200, 200, 1e30, np.inf, np.nan]], np.float32)
    found = in_place(x, lambda commands, y: getattr(commands, name)(y))
    low = 0 if name == "sigmoid" else -1
    np.testing.assert_allclose(found, [[low, low, low, 1, 1, 1, np.nan]], atol=1e-30)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_row_with_what_is_no_number(name: str) -> None:
    """The decoder refuses such numbers; nothing may hide them, or carry them into other rows."""
    x = normal(3, COLUMNS)
    x[1, 4] = np.nan
    found = in_place(x, lambda commands, y: getattr(commands, name)(y))
    assert np.isnan(found[1, 4])
    assert np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_copy(scale: float, accumulate: bool) -> None:
    x, y = normal(ROWS, COLUMNS), normal(ROWS, COLUMNS)
    bench = Workbench(x, y)
    bench.commands.copy(bench.x[0], bench.x[1], scale, accumulate)
    expect(bench.result(bench.x[1]), scale * x.astype(np.float64) + (y if accumulate else 0))


def test_a_repeated_row() -> None:
    x, y = normal(1, COLUMNS), normal(ROWS, COLUMNS)
    bench = Workbench(x, y)
    repeated = SubMatrix(bench.x[0].offset, ROWS, COLUMNS, 0)
    bench.commands.copy(repeated, bench.x[1])
    np.testing.assert_array_equal(bench.result(bench.x[1]), np.repeat(x, ROWS, axis=0))


def test_fill_and_set_rows() -> None:
    x, row = normal(ROWS, COLUMNS), normal(COLUMNS)
    np.testing.assert_array_equal(in_place(x, lambda c, y: c.fill(y, 2.5)), np.full_like(x, 2.5), strict=True)
    expect(in_place(x, lambda c, y: c.fill(y, 2.5, True)), x.astype(np.float64) + 2.5)
    np.testing.assert_array_equal(in_place(x, lambda c, y: c.set_rows(y, row)), np.tile(row, (ROWS, 1)))


@pytest.mark.parametrize("scale", [None, normal(COLUMNS)])
@pytest.mark.parametrize("offset", [None, normal(COLUMNS)])
def test_scale_and_offset(scale: Floats | None, offset: Floats | None) -> None:
    x = normal(ROWS, COLUMNS)
    expected = x.astype(np.float64) * (1 if scale is None else scale) + (0 if offset is None else offset)
    expect(in_place(x, lambda c, y: c.scale_and_offset(y, scale, offset)), expected)


def test_affine() -> None:
    x, weight, bias = normal(ROWS, 20), normal(COLUMNS, 20), normal(COLUMNS)
    product = PackedProduct(weight, bias)
    found = new_matrix(x, COLUMNS, lambda c, x, y: c.affine(product, x, y))
    np.testing.assert_array_equal(found, product.multiply(x))


def test_multiply_and_interpolate() -> None:
    a, b, c = normal(ROWS, COLUMNS), normal(ROWS, COLUMNS), normal(ROWS, COLUMNS)
    bench = Workbench(a, b, c)
    y = bench.matrix(ROWS, COLUMNS)
    bench.commands.multiply(bench.x[0], bench.x[1], y)
    bench.commands.interpolate(y, bench.x[1], bench.x[2], y)
    hidden = a.astype(np.float64) * b
    expect(bench.result(y), (1 - b.astype(np.float64)) * hidden + b * c.astype(np.float64))


@pytest.mark.parametrize("use_dropout", [False, True])
def test_lstm(use_dropout: bool) -> None:
    dim = 19
    x, weights = normal(ROWS, 5 * dim + 3 * use_dropout), normal(3, dim)
    found = new_matrix(x, 2 * dim, lambda c, x, y: c.lstm(x, y, weights, use_dropout))
    parts, w = x.astype(np.float64), weights.astype(np.float64)
    i, f, c, o, previous = np.split(parts[:, : 5 * dim], 5, axis=1)
    scales = parts[:, 5 * dim :] if use_dropout else np.ones((ROWS, 3))
    i_t = scales[:, :1] * sigmoid(i + w[0] * previous)
    f_t = scales[:, 1:2] * sigmoid(f + w[1] * previous)
    c_t = f_t * previous + i_t * np.tanh(c)
    m_t = scales[:, 2:] * sigmoid(o + w[2] * c_t) * np.tanh(c_t)
    expect(found, np.hstack([c_t, m_t]))


@pytest.mark.parametrize("add_log_stddev", [False, True])
def test_normalize(add_log_stddev: bool) -> None:
    x = normal(ROWS, 3 * 19)
    x[2] = 0
    columns = 3 * (19 + add_log_stddev)
    found = new_matrix(x, columns, lambda c, x, y: c.normalize(x, y, 19, 0.5, add_log_stddev))
    blocks = x.astype(np.float64).reshape(ROWS, 3, 19)
    rms = np.sqrt(np.maximum(np.square(blocks).mean(axis=2, keepdims=True), 2.0**-66 * 0.25))
    parts = [blocks * 0.5 / rms] + [np.log(rms)] * add_log_stddev
    expect(found, np.concatenate(parts, axis=2).reshape(ROWS, -1))


def test_groups_of_columns() -> None:
    x = normal(ROWS, 12)
    wide = x.astype(np.float64)
    expect(new_matrix(x, 4, lambda c, x, y: c.pnorm(x, y)), np.linalg.norm(wide.reshape(ROWS, 4, 3), axis=2))
    expected = -0.5 * wide.reshape(ROWS, 3, 4).sum(axis=1)
    expect(new_matrix(x, 4, lambda c, x, y: c.sum_blocks(x, y, -0.5)), expected)
    expected = np.add.reduceat(wide, [0, 1, 6], axis=1)
    expect(new_matrix(x, 3, lambda c, x, y: c.sum_groups(x, y, [1, 5, 6])), expected)
    columns = RANDOM.integers(0, 12, (3, 7))
    found = new_matrix(x, 7, lambda c, x, y: c.max_of_columns(x, y, columns))
    np.testing.assert_array_equal(found, x[:, columns].max(axis=1))


WINDOW = np.array([[0, 1, 2], [-1, 3, 4], [4, 0, -1]])


@pytest.mark.parametrize("include_variance", [False, True])
def test_extracted_statistics(include_variance: bool) -> None:
    x = normal(ROWS, COLUMNS)
    bench = Workbench(x)
    y = bench.matrix(3, 1 + COLUMNS * (1 + include_variance))
    bench.commands.extract_statistics(bench.x[0], WINDOW, y, include_variance)
    expected = []
    for rows in WINDOW:
        used = x[rows[rows >= 0]].astype(np.float64)
        sums = [[len(used)], used.sum(axis=0)] + [np.square(used).sum(axis=0)] * include_variance
        expected.append(np.concatenate(sums))
    expect(bench.result(y), np.array(expected))


@pytest.mark.parametrize("floor", [None, 0.01])
def test_pooled_statistics(floor: float | None) -> None:
    x = np.abs(normal(ROWS, COLUMNS)) + np.float32(1)
    bench = Workbench(x)
    y = bench.matrix(3, 2 + COLUMNS - 1)
    bench.commands.pool_statistics(bench.x[0], WINDOW, bench.matrix(1, COLUMNS), y, 2, floor)
    sums = np.array([x[rows[rows >= 0]].astype(np.float64).sum(axis=0) for rows in WINDOW])
    means = sums[:, 1:] / sums[:, :1]
    if floor is not None:
        half = (COLUMNS - 1) // 2
        means[:, half:] = np.sqrt(np.maximum(means[:, half:] - np.square(means[:, :half]), floor))
    log_counts = np.log(sums[:, :1])
    expect(bench.result(y), np.hstack([log_counts, log_counts, means]))


def test_patches() -> None:
    x = normal(ROWS, 4 * 3)
    bench = Workbench(x)
    offsets = [(0, -1), (1, 0), (2, 1)]
    y = bench.matrix(3, 2 * 3 * 3)
    bench.commands.patches(bench.x[0], WINDOW, y, 4, 2, 2, 3, offsets)
    image = x.reshape(ROWS, 4, 3)
    expected = np.zeros((3, 2, 3, 3), np.float32)
    for row, height, number in np.ndindex(3, 2, 3):
        position, offset = offsets[number]
        source, place = WINDOW[row, position], 2 * height + offset
        if source >= 0 and 0 <= place < 4:
            expected[row, height, number] = image[source, place]
    np.testing.assert_array_equal(bench.result(y), expected.reshape(3, -1))


@pytest.mark.parametrize("output_context", [False, True])
def test_attention(output_context: bool) -> None:
    heads, key_dim, value_dim, positions, scale = 2, 4, 5, 3, 0.3
    x = normal(ROWS, heads * (2 * key_dim + value_dim + positions))
    bench = Workbench(x)
    y = bench.matrix(3, heads * (value_dim + positions * output_context))
    scratch = bench.matrix(1, positions)
    bench.commands.attention(
        bench.x[0], WINDOW, scratch, y, heads, key_dim, value_dim, 1, output_context, scale
    )
    expected = []
    for rows in WINDOW:
        row = []
        for head in np.split(x.astype(np.float64), heads, axis=1):
            keys, values, queries, biases = np.split(
                head, np.cumsum([key_dim, value_dim, key_dim]).tolist(), axis=1
            )
            is_there = (rows >= 0)[:, None]
            own = rows[1]
            scores = scale * (keys[rows] * is_there) @ queries[own] + biases[own]
            weights = np.exp(scores) / np.exp(scores).sum()
            row += [weights @ (values[rows] * is_there), weights[: positions * output_context]]
        expected.append(np.concatenate(row))
    expect(bench.result(y), np.array(expected))


# The computation as a whole


def test_state_inputs_and_output() -> None:
    commands = NnetComputation(NnetMemoryPool())
    kept, fresh = SubMatrix(0, 1, 2, 2), SubMatrix(2, 2, 2, 2)
    commands.load(kept)
    commands.input(0, 1, 2, fresh)
    commands.store(SubMatrix(4, 1, 2, 2))
    commands.output(SubMatrix(0, 2, 2, 2))
    commands.finish()
    assert (commands.state_size, commands.next_state_size, commands.output_shape) == (2, 2, (2, 2))
    state, output = np.array([7, 8], np.float32), np.empty((2, 2), np.float32)
    commands.run([np.arange(8, dtype=np.float32).reshape(4, 2)], state, state, output)
    assert output.tolist() == [[7, 8], [2, 3]]
    assert state.tolist() == [6, 7]
    commands.run([np.array([[4, 5]], np.float32)], state, state, output)  # one row stands for all
    assert output.tolist() == [[6, 7], [4, 5]]


def test_what_does_not_fit_is_refused() -> None:
    commands = NnetComputation(NnetMemoryPool())
    y, narrow = SubMatrix(0, 2, 3, 3), SubMatrix(9, 2, 2, 2)
    nothing, output = np.empty(0, np.float32), np.empty((2, 3), np.float32)
    with pytest.raises(ValueError, match="expected 3 columns, found 2"):
        commands.copy(y, narrow)
    with pytest.raises(ValueError, match="expected rows at least 3 numbers apart to write to, found 0"):
        commands.tanh(SubMatrix(0, 2, 3, 0))
    with pytest.raises(ValueError, match="expected rows below 2 in the window, found 2"):
        commands.extract_statistics(narrow, WINDOW, SubMatrix(20, 3, 3, 3), False)
    many = np.empty((0, 2**59), np.int64)  # 32 times as many positions overflow to as many rows as it has
    with pytest.raises(ValueError, match="rows: expected 1 to 1073741824 positions, found 5764607523034"):
        commands.patches(narrow, many, SubMatrix(20, 32, 3, 3), 1, 1, 1, 1, [(0, 0)])
    with pytest.raises(ValueError, match="expected a computation with an output, found none"):
        commands.finish()
    with pytest.raises(ValueError, match="expected a complete computation"):
        commands.run([], nothing, nothing, np.empty((0, 0), np.float32))
    commands.input(0, 0, 1, y)
    commands.output(y)
    commands.finish()
    with pytest.raises(ValueError, match="expected a computation that is not complete"):
        commands.tanh(y)
    with pytest.raises(ValueError, match="expected at least 1 inputs, found 0"):
        commands.run([], nothing, nothing, output)
    with pytest.raises(
        ValueError, match="input 0: expected one or more than 1 rows of 3 columns, found 2 x 2"
    ):
        commands.run([output[:, :2].copy()], nothing, nothing, output)
    with pytest.raises(ValueError, match="output: expected 2 x 3 numbers, found 3 x 2"):
        commands.run([output], nothing, nothing, output.reshape(3, 2))
    output.setflags(write=False)
    with pytest.raises(ValueError, match="output: expected a writable array"):
        commands.run([output], nothing, nothing, output)


@pytest.mark.parametrize(
    "numbers", [(-1, 1, 1, 1), (0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, -1), (2**30, 1, 1, 1)]
)
def test_matrices_outside_of_the_memory(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected .*, found"):
        SubMatrix(*numbers)


def test_memory_of_a_smaller_computation_gives_way_to_that_of_a_larger_one() -> None:
    """There are no more blocks than computations at a time, whatever the order of their sizes."""
    pool = NnetMemoryPool()
    nothing = np.empty(0, np.float32)

    def run(num_cols: int) -> None:
        commands = NnetComputation(pool)
        matrix = SubMatrix(0, 1, num_cols, num_cols)
        commands.input(0, 0, 1, matrix)
        commands.output(matrix)
        commands.finish()
        commands.run(
            [np.ones((1, num_cols), np.float32)], nothing, nothing, np.empty((1, num_cols), np.float32)
        )

    for num_cols, expected in ((10, [10]), (30, [30]), (20, [30]), (40, [40])):
        run(num_cols)
        assert pool.idle_sizes() == expected
