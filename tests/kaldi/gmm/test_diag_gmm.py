"""Diagonal Gaussian mixtures against their definition, on the background model of the i-vector extractor."""

import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.gmm import DiagGmm
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter


@pytest.fixture(scope="module")
def background(models: Path) -> DiagGmm:
    return DiagGmm.read(KaldiReader.open(models / "english/ivector/final.dubm"))


@pytest.fixture(scope="module")
def frames(background: DiagGmm) -> np.ndarray:
    random = np.random.default_rng(1)
    chosen = random.integers(background.num_gauss(), size=50)
    mean, deviation = (
        (background.means_invvars / background.inv_vars)[chosen],
        background.inv_vars[chosen] ** -0.5,
    )
    return (mean + random.normal(size=mean.shape) * deviation).astype(np.float32)


def by_definition(gmm: DiagGmm, frame: np.ndarray) -> np.ndarray:
    """Log of weight times density, in double precision."""
    variance = 1 / gmm.inv_vars.astype(np.float64)
    mean = gmm.means_invvars * variance
    distance = (np.square(frame - mean) / variance + np.log(2 * np.pi * variance)).sum(axis=1)
    log_likelihoods: np.ndarray = np.log(gmm.weights) - 0.5 * distance
    return log_likelihoods


def test_log_likelihoods_are_those_of_the_definition(background: DiagGmm, frames: np.ndarray) -> None:
    expected = np.array([by_definition(background, frame) for frame in frames])
    found = background.log_likelihoods(frames)
    assert found.dtype == np.float32
    # Sums of 80 products in single precision, of numbers up to some hundreds.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(
        background.log_likelihood(frames), np.logaddexp.reduce(expected, axis=1), atol=2e-3
    )


def test_posteriors_share_each_frame_out(background: DiagGmm, frames: np.ndarray) -> None:
    log_likelihood, posteriors = background.component_posteriors(frames)
    np.testing.assert_allclose(posteriors.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(log_likelihood, background.log_likelihood(frames))


def test_selection_gives_the_best_first(background: DiagGmm, frames: np.ndarray) -> None:
    scores = background.log_likelihoods(frames)
    log_likelihood, chosen = background.gaussian_selection(frames, 5)
    np.testing.assert_array_equal(chosen, np.argsort(-scores, axis=1)[:, :5])
    best = np.sort(scores, axis=1)[:, -5:].astype(np.float64)
    np.testing.assert_allclose(log_likelihood, np.logaddexp.reduce(best, axis=1), rtol=1e-5)


def test_selection_of_more_than_there_are_gives_all() -> None:
    gmm = DiagGmm(np.full(3, 1 / 3, np.float32), np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32))
    log_likelihood, chosen = gmm.gaussian_selection(np.zeros((1, 2), np.float32), 10)
    assert chosen.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(log_likelihood, -np.log(2 * np.pi), rtol=1e-6)


def test_a_gaussian_without_weight_counts_for_nothing() -> None:
    gmm = DiagGmm(np.array([1.0, 0.0], np.float32), np.zeros((2, 1), np.float32), np.ones((2, 1), np.float32))
    frames = np.array([[0.5], [1.0]], np.float32)
    alone = DiagGmm(np.ones(1, np.float32), np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    np.testing.assert_array_equal(gmm.log_likelihood(frames), alone.log_likelihood(frames))
    assert gmm.component_posteriors(frames)[1].tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("binary", [True, False])
def test_what_is_written_reads_back(background: DiagGmm, models: Path, binary: bool) -> None:
    file = io.BytesIO()
    background.write(KaldiWriter(file, binary))
    again = DiagGmm.read(KaldiReader(file.getvalue()))
    np.testing.assert_array_equal(again.weights, background.weights)
    np.testing.assert_array_equal(again.means_invvars, background.means_invvars)
    np.testing.assert_array_equal(again.inv_vars, background.inv_vars)
    np.testing.assert_array_equal(again.gconsts, background.gconsts)


def test_constants_equal_those_that_kaldi_stored(models: Path, background: DiagGmm) -> None:
    reader = KaldiReader.open(models / "english/ivector/final.dubm")
    reader.expect_token("<DiagGMM>")
    reader.expect_token("<GCONSTS>")
    np.testing.assert_allclose(background.gconsts, reader.read_vector(), rtol=1e-5)


def test_frames_of_another_dimension_are_refused(background: DiagGmm) -> None:
    with pytest.raises(ValueError, match=r"expected frames of dimension 40, found the shape \(2, 39\)"):
        background.log_likelihoods(np.zeros((2, 39), np.float32))


@pytest.mark.parametrize(
    ("weights", "inv_vars", "message"),
    [
        ("0.5 0.5 0.5", "1 1\n 1 1", "variances of shapes"),
        ("0.5 -0.5", "1 1\n 1 1", "found the negative weight -0.5"),
        ("0.5 0.5", "1 1\n 1 -1", "found the negative reciprocal of a variance -1"),
        ("0.5 0.5", "1 1\n 1 nan", "found nan at [1, 1]"),
        ("0.5 inf", "1 1\n 1 1", "finite numbers in the weights, found inf at [1]"),
        ("0.5 0.5", "0 1\n 1 1", "found nan in the constants (gconsts) at [0]"),
        ("0.5 0.5", "1 1 1\n 1 1 1", "variances of shapes"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(weights: str, inv_vars: str, message: str) -> None:
    text = (
        f"<DiagGMM> <WEIGHTS> [ {weights} ] <MEANS_INVVARS> [ 0 1\n 2 3 ]\n"
        f"<INV_VARS> [ {inv_vars} ]\n</DiagGMM>"
    )
    with pytest.raises(ModelFormatError, match=r"ubm: at byte \d+: expected") as raised:
        DiagGmm.read(KaldiReader(text.encode(), "ubm"))
    assert message in str(raised.value)
