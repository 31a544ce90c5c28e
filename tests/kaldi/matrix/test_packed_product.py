"""Products with packed matrices, by every kind of kernels, equal those of NumPy in double precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi._core import PackedProduct, available_cpu_kernels, default_cpu_kernels

# Rounding of a sum of n products of single precision: at most n times this, times the sum of magnitudes.
EPSILON = float(np.finfo(np.float32).eps)


def expected_product(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    rectify: bool,
    scale: NDArray[np.float32] | None,
    offset: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The result in double precision, and how much rounding in single precision may change it."""
    y = x.astype(np.float64) @ weight.T.astype(np.float64)
    magnitude = np.abs(x).astype(np.float64) @ np.abs(weight.T).astype(np.float64)
    if bias is not None:
        y, magnitude = y + bias, magnitude + np.abs(bias)
    if rectify:
        y = np.maximum(y, 0)
    if scale is not None:
        y, magnitude = y * scale, magnitude * np.abs(scale)
    if offset is not None:
        y, magnitude = y + offset, magnitude + np.abs(offset)
    return y, (weight.shape[1] + 4) * EPSILON * magnitude


# Kernels work on 4 or 8 rows and 8, 16 or 32 outputs at a time: sizes below, at and above all of these.
@given(
    rows=st.integers(0, 20),
    input_dim=st.integers(1, 70),
    output_dim=st.integers(1, 70),
    with_bias=st.booleans(),
    rectify=st.booleans(),
    with_scale=st.booleans(),
    with_offset=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_size_and_epilogue(
    kernels: str,
    rows: int,
    input_dim: int,
    output_dim: int,
    with_bias: bool,
    rectify: bool,
    with_scale: bool,
    with_offset: bool,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, input_dim), np.float32)
    weight = random.standard_normal((output_dim, input_dim), np.float32)
    bias, scale, offset = (
        random.standard_normal(output_dim, np.float32) if given else None
        for given in (with_bias, with_scale, with_offset)
    )
    product = PackedProduct(weight, bias, rectify, scale, offset, kernels)
    assert (product.input_dim, product.output_dim, product.kernels) == (input_dim, output_dim, kernels)
    found = product.multiply(x)
    assert found.dtype == np.float32
    expected, tolerance = expected_product(x, weight, bias, rectify, scale, offset)
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= tolerance).all()


@pytest.mark.parametrize("shape", [(24, 1024, 64), (8, 128, 1200), (1, 300, 1000)])
def test_sizes_of_networks(kernels: str, shape: tuple[int, int, int]) -> None:
    rows, input_dim, output_dim = shape
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, input_dim), np.float32)
    weight = random.standard_normal((output_dim, input_dim), np.float32)
    expected, tolerance = expected_product(x, weight, None, False, None, None)
    found = PackedProduct(weight, kernels=kernels).multiply(x)
    assert (np.abs(found - expected) <= tolerance).all()


def test_a_row_does_not_depend_on_the_others(kernels: str) -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((21, 50), np.float32)
    product = PackedProduct(random.standard_normal((37, 50), np.float32), kernels=kernels)
    together = product.multiply(x)
    for row, y in zip(x, together, strict=True):
        np.testing.assert_array_equal(product.multiply(row[np.newaxis])[0], y)


def test_the_matrix_is_copied(kernels: str) -> None:
    weight = np.eye(3, dtype=np.float32)
    product = PackedProduct(weight, kernels=kernels)
    weight[...] = 0
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(product.multiply(x), x)


def test_what_is_not_finite_stays_so(kernels: str) -> None:
    """The decoder refuses such numbers; a rectifier must not hide them."""
    x = np.array([[np.nan], [np.inf], [-np.inf]], np.float32)
    product = PackedProduct(np.ones((40, 1), np.float32), rectify=True, kernels=kernels)
    found = product.multiply(x)
    assert np.isnan(found[0]).all()
    assert np.isposinf(found[1]).all()
    assert (found[2] == 0).all()


def test_sizes_that_do_not_fit() -> None:
    weight = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="bias: expected 3 elements, found 2"):
        PackedProduct(weight, np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="weight: expected 1 to 16777216 rows and columns, found 0 x 2"):
        PackedProduct(weight[:0])
    with pytest.raises(ValueError, match="x: expected 2 columns, found 3"):
        PackedProduct(weight).multiply(np.zeros((1, 3), np.float32))


def test_the_environment_variable_chooses(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYKALDI_SERVER_KERNELS", kernels)
    assert default_cpu_kernels() == kernels
    assert PackedProduct(np.ones((1, 1), np.float32)).kernels == kernels


@pytest.mark.parametrize("value", ["", None])
def test_otherwise_the_best_kernels_are_used(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("PYKALDI_SERVER_KERNELS", raising=False)
    else:
        monkeypatch.setenv("PYKALDI_SERVER_KERNELS", value)
    assert default_cpu_kernels() == available_cpu_kernels()[-1]
    assert available_cpu_kernels()[0] == "baseline"


def test_unknown_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = r"expected kernels that this processor can run \(baseline.*\), found sse5"
    with pytest.raises(ConfigError, match=expected):
        PackedProduct(np.ones((1, 1), np.float32), kernels="sse5")
    monkeypatch.setenv("PYKALDI_SERVER_KERNELS", "sse5")
    with pytest.raises(ConfigError, match="^PYKALDI_SERVER_KERNELS: " + expected):
        default_cpu_kernels()
