"""Posteriors of the best Gaussians, against their definition, with all kernels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import GaussianPosteriors
from pykaldi_server.kaldi.gmm import DiagGmm

Floats = NDArray[np.float32]
NUM_GAUSS, DIM = 37, 5


@pytest.fixture(scope="module")
def mixture() -> DiagGmm:
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.ones(NUM_GAUSS))
    inv_vars = random.uniform(0.5, 2, (NUM_GAUSS, DIM))
    means = random.normal(0, 1.5, (NUM_GAUSS, DIM))
    parts = (weights, means * inv_vars, inv_vars)
    return DiagGmm(*(part.astype(np.float32) for part in parts))


def make(mixture: DiagGmm, kernels: str | None = None) -> GaussianPosteriors:
    return GaussianPosteriors(mixture.means_invvars, mixture.inv_vars, mixture.gconsts, kernels)


def by_definition(scores: Floats, num_gselect: int, min_post: float) -> NDArray[np.float64]:
    """The posteriors of one frame, step by step."""
    best = np.argsort(-scores.astype(np.float64), kind="stable")[:num_gselect]
    shares = {int(g): float(np.exp(float(scores[g]) - float(scores[best[0]]))) for g in best}
    shares = {g: share for g, share in shares.items() if share > min_post}
    total = sum(shares.values())
    shares = {g: share for g, share in shares.items() if share >= min_post * total or g == best[0]}
    posteriors = np.zeros(len(scores))
    for g, share in shares.items():
        posteriors[g] = share / sum(shares.values())
    return posteriors


@pytest.mark.parametrize("num_gselect", [1, 2, 5, NUM_GAUSS, 1000])
def test_equals_the_definition(mixture: DiagGmm, kernels: str, num_gselect: int) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(50, DIM)).astype(np.float32)
    min_post = random.choice(np.array([0, 0.025, 0.4, 0.99], np.float32), 50)
    result = make(mixture, kernels).compute(features, num_gselect, min_post)
    assert result.shape == (50, NUM_GAUSS)
    scores = mixture.log_likelihoods(features)
    expected = [by_definition(*each) for each in zip(scores, [num_gselect] * 50, min_post, strict=True)]
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert ((result > 0).sum(axis=1) <= num_gselect).all()


def test_of_equal_gaussians_the_later_ones_are_kept() -> None:
    ones = np.ones((6, 2), np.float32)
    same = GaussianPosteriors(ones, ones, np.zeros(6, np.float32))
    zero = np.zeros(1, np.float32)
    assert same.compute(ones[:1], 2, zero).tolist() == [[0, 0, 0, 0, 0.5, 0.5]]


@pytest.mark.parametrize("place", [0, 3, 5])
def test_scores_that_are_not_finite_make_nan(place: int) -> None:
    ones = np.ones((6, 2), np.float32)
    constants = np.arange(6, dtype=np.float32)
    for bad in (np.nan, np.inf):
        constants[place] = bad
        broken = GaussianPosteriors(ones, ones, constants)
        assert np.isnan(broken.compute(ones[:2], 2, np.zeros(2, np.float32))).all()


def test_a_gaussian_that_is_switched_off_gets_nothing() -> None:
    ones = np.ones((3, 2), np.float32)
    mixture = GaussianPosteriors(ones, ones, np.array([0, -np.inf, 0], np.float32))
    assert mixture.compute(ones[:1], 3, np.zeros(1, np.float32)).tolist() == [[0.5, 0, 0.5]]
