"""Conjugate gradient: exact when it may take enough steps, Kaldi's iterate when it may not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.kaldi._core import linear_cgd
from pykaldi_server.kaldi.util.io import pack_symmetric


def problem(dim: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    half = random.normal(size=(dim, dim))
    return half @ half.T + np.eye(dim), random.normal(size=dim), random.normal(size=dim)


@given(dim=st.integers(1, 30), seed=st.integers(0, 1000))
def test_enough_steps_solve_the_system(dim: int, seed: int) -> None:
    a, b, x = problem(dim, seed)
    found = linear_cgd(pack_symmetric(a), b, x, 10 * dim)
    # In exact arithmetic dim steps are enough; Kaldi allows five more, and rounding decides the rest.
    assert np.linalg.norm(a @ found - b) < 1e-3 * max(1.0, float(np.linalg.norm(a @ x - b)))


@given(dim=st.integers(2, 20), seed=st.integers(0, 1000))
def test_one_step_is_steepest_descent(dim: int, seed: int) -> None:
    a, b, x = problem(dim, seed)
    direction = b - a @ x
    expected = x + (direction @ direction) / (direction @ a @ direction) * direction
    # A step lowers the quadratic form but may raise the residual; Kaldi then returns the start.
    if np.linalg.norm(b - a @ expected) > np.linalg.norm(direction):
        expected = x
    assert np.allclose(linear_cgd(pack_symmetric(a), b, x, 1), expected)


def test_no_steps_change_nothing() -> None:
    a, b, x = problem(5, 1)
    assert np.array_equal(linear_cgd(pack_symmetric(a), b, x, 0), x)


def test_the_solution_stays() -> None:
    a, _, x = problem(4, 2)
    assert np.allclose(linear_cgd(pack_symmetric(a), a @ x, x, 15), x)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a triangle of 6 and a start of 3"):
        linear_cgd(np.ones(5), np.ones(3), np.ones(3), 1)
