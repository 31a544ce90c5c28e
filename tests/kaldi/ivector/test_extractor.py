"""The extractor's file survives, and statistics mean what their formulas say."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import DecoderError
from pykaldi_server.kaldi._core import acc_ivector_stats
from pykaldi_server.kaldi.ivector import IvectorExtractor, OnlineIvectorEstimationStats
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter, pack_symmetric, unpack_symmetric

GAUSSIANS, FEAT_DIM, IVECTOR_DIM = 4, 3, 2


def extractor(seed: int = 0) -> IvectorExtractor:
    random = np.random.default_rng(seed)
    projections = [random.normal(size=(FEAT_DIM, IVECTOR_DIM)) for _ in range(GAUSSIANS)]
    halves = [random.normal(size=(FEAT_DIM, FEAT_DIM)) for _ in range(GAUSSIANS)]
    variances = [pack_symmetric(half @ half.T + np.eye(FEAT_DIM)) for half in halves]
    return IvectorExtractor(projections, variances, 5.0)


def test_file_of_the_model_survives_byte_for_byte(models: Path) -> None:
    path = models / "english" / "ivector" / "final.ie"
    file = io.BytesIO()
    IvectorExtractor.read(KaldiReader.open(path)).write(KaldiWriter(file))
    assert file.getvalue() == path.read_bytes()


@given(seed=st.integers(0, 100), frames=st.integers(1, 20))
def test_statistics_are_the_sums_of_the_formula(seed: int, frames: int) -> None:
    model, random = extractor(seed), np.random.default_rng(seed)
    features = random.normal(size=(frames, FEAT_DIM)).astype(np.float32)
    kept = random.random((frames, GAUSSIANS)) < 0.5
    posteriors = (random.normal(size=(frames, GAUSSIANS)) * kept).astype(np.float32)
    stats = OnlineIvectorEstimationStats.from_prior(IVECTOR_DIM, 5.0, 0.0)
    stats.acc_stats(model, features, posteriors)
    quadratic, linear = np.eye(IVECTOR_DIM), np.array([5.0, 0.0])
    for t in range(frames):
        for g in range(GAUSSIANS):
            quadratic += posteriors[t, g] * unpack_symmetric(model.quadratic[g])
            linear += posteriors[t, g] * model.linear[g].T @ features[t]
    assert np.allclose(unpack_symmetric(stats.quadratic_term), quadratic)
    assert np.allclose(stats.linear_term, linear)
    assert stats.num_frames == pytest.approx(posteriors.sum(dtype=np.float64))


def test_all_kernels_add_the_same(kernels: str) -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(9, 40)).astype(np.float32)
    posteriors = (random.random((9, 7)) * (random.random((9, 7)) < 0.3)).astype(np.float32)
    linear, quadratic = random.normal(size=(7, 40, 33)), random.normal(size=(7, 33 * 17))
    linear_term, quadratic_term, num_frames = acc_ivector_stats(
        features, posteriors, linear, quadratic, np.ones(33), np.ones(33 * 17), kernels
    )
    first_order = posteriors.astype(np.float64).T @ features
    np.testing.assert_allclose(linear_term, 1 + np.einsum("gd,gdi->i", first_order, linear))
    np.testing.assert_allclose(quadratic_term, 1 + posteriors.astype(np.float64).sum(axis=0) @ quadratic)
    assert num_frames == pytest.approx(posteriors.sum(dtype=np.float64))


def test_sums_that_overflow_are_refused() -> None:
    one, huge = np.ones((1, 1), np.float32), np.full((1, 1), 1e308)
    with pytest.raises(DecoderError, match=r"i-vector statistics: expected finite sums, found inf at \[0\]"):
        acc_ivector_stats(10 * one, one, huge[np.newaxis], np.ones((1, 1)), np.ones(1), np.ones(1))


def test_prior_grows_beyond_max_count() -> None:
    model = extractor()
    stats = OnlineIvectorEstimationStats.from_prior(IVECTOR_DIM, 5.0, max_count=10.0)
    posteriors = np.zeros((40, GAUSSIANS), np.float32)
    posteriors[:, 0] = 1.0
    stats.acc_stats(model, np.zeros((40, FEAT_DIM), np.float32), posteriors)
    # 40 frames are four times max-count: the prior counts four times, too.
    expected = 4.0 * np.eye(IVECTOR_DIM) + 40.0 * unpack_symmetric(model.quadratic[0])
    assert np.allclose(unpack_symmetric(stats.quadratic_term), expected)
    assert np.allclose(stats.linear_term, [20.0, 0.0])


@pytest.mark.parametrize("max_count", [0.0, 10.0])
def test_scaling_leaves_the_prior_whole(max_count: float) -> None:
    model = extractor()
    stats = OnlineIvectorEstimationStats.from_prior(IVECTOR_DIM, 5.0, max_count)
    features = np.ones((8, FEAT_DIM), np.float32)
    posteriors = np.full((8, GAUSSIANS), 0.25, np.float32)
    stats.acc_stats(model, features, posteriors)
    stats.scale(0.5)
    half = OnlineIvectorEstimationStats.from_prior(IVECTOR_DIM, 5.0, max_count)
    half.acc_stats(model, features, 0.5 * posteriors)
    assert np.allclose(stats.quadratic_term, half.quadratic_term)
    assert np.allclose(stats.linear_term, half.linear_term)


def test_without_frames_the_ivector_is_the_prior() -> None:
    stats = OnlineIvectorEstimationStats.from_prior(IVECTOR_DIM, 5.0, 0.0)
    assert stats.get_ivector(15, np.ones(IVECTOR_DIM)).tolist() == [5.0, 0.0]


def test_older_form_without_max_count_is_read() -> None:
    text = (
        b"<OnlineIvectorEstimationStats> <PriorOffset> 5 <NumFrames> 2 <QuadraticTerm> [ 1\n0 1 ]\n"
        b"<LinearTerm>  [ 5 0 ]\n</OnlineIvectorEstimationStats> "
    )
    stats = OnlineIvectorEstimationStats.read(KaldiReader(text))
    assert (stats.max_count, stats.num_frames, stats.ivector_dim()) == (0.0, 2.0, 2)


@pytest.mark.parametrize(
    ("projections", "variances", "message"),
    [
        ([], [], "0 projections"),
        ([np.ones((2, 3))], [np.ones(4)], "not of dimension 2"),
        ([np.ones((2, 3)), np.ones((3, 3))], [np.ones(3)] * 2, r"of the shapes \[\(2, 3\), \(3, 3\)\]"),
        ([np.full((2, 3), np.nan)], [np.ones(3)], r"nan at \[0, 0\] in the projection of Gaussian 0"),
        ([np.full((2, 3), 1e200)], [np.full(3, 1e200)], r"inf at \[0, 0, 0\] in the products of inverse"),
        ([np.full((2, 3), 1e200)], [np.ones(3)], r"inf at \[0, 0\] in the products of projections"),
    ],
)
def test_parts_that_make_no_sense_are_refused(
    projections: list[NDArray[np.float64]], variances: list[NDArray[np.float64]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        IvectorExtractor(projections, variances, 1.0)
