"""Acoustic models of diagonal Gaussian mixtures against gmm-compute-likes."""

import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter


def read_model(path: Path) -> AmDiagGmm:
    reader = KaldiReader.open(path)
    TransitionModel.read(reader)
    model = AmDiagGmm.read(reader)
    reader.expect_end()
    return model


@pytest.fixture(scope="module")
def model(models: Path) -> AmDiagGmm:
    return read_model(models / "english-gmm/final.mdl")


@pytest.mark.parametrize("name", ["final.mdl", "final.oalimdl"])
@pytest.mark.parametrize("folder", ["golden", "shared_golden"])
def test_log_likelihoods_are_kaldis(
    request: pytest.FixtureRequest, models: Path, folder: str, name: str
) -> None:
    golden_gmm = request.getfixturevalue(folder) / "gmm"
    am = read_model(models / "english-gmm" / name)
    features = np.load(golden_gmm / "lda_features.npz")
    with np.load(golden_gmm / f"likes_{name}.npz") as expected:
        for recording in expected.files:
            found = am.log_likelihoods(features[recording])
            # The golden numbers have seven digits; sums of 80 products differ by rounding.
            np.testing.assert_allclose(found, expected[recording], rtol=1e-5)


def test_each_pdf_scores_as_its_own_mixture(model: AmDiagGmm) -> None:
    frames = np.random.default_rng(0).normal(scale=3, size=(70, model.dim())).astype(np.float32)
    together = model.log_likelihoods(frames)
    assert together.shape == (70, model.num_pdfs())
    for pdf in (0, 1, 300, model.num_pdfs() - 1):
        mixture = model.get_pdf(pdf)
        assert mixture.num_gauss() == model.num_gauss_in_pdf(pdf)
        np.testing.assert_allclose(together[:, pdf], mixture.log_likelihood(frames), rtol=1e-5)


def test_no_frames_give_no_scores(model: AmDiagGmm) -> None:
    assert model.log_likelihoods(np.zeros((0, model.dim()), np.float32)).shape == (0, model.num_pdfs())


def test_a_pdf_whose_gaussians_are_all_switched_off_scores_minus_infinity() -> None:
    am = AmDiagGmm(
        np.array([1, 0], np.float32),
        np.zeros((2, 1), np.float32),
        np.ones((2, 1), np.float32),
        np.array([1, 1]),
    )
    scores = am.log_likelihoods(np.zeros((1, 1), np.float32))
    np.testing.assert_allclose(scores, [[-0.5 * np.log(2 * np.pi), -np.inf]], rtol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_what_is_written_reads_back(model: AmDiagGmm, binary: bool) -> None:
    file = io.BytesIO()
    model.write(KaldiWriter(file, binary))
    again = AmDiagGmm.read(KaldiReader(file.getvalue()))
    frames = np.ones((1, model.dim()), np.float32)
    np.testing.assert_array_equal(again.log_likelihoods(frames), model.log_likelihoods(frames))


MIXTURE = "<DiagGMM> <WEIGHTS> [ 1 ] <MEANS_INVVARS> [ 0 1 ]\n<INV_VARS> [ 1 1 ]\n</DiagGMM> "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<DIMENSION> 2 <NUMPDFS> 0 ", "expected pdfs, found none"),
        ("<DIMENSION> 2 <NUMPDFS> 2000000000 " + MIXTURE, "expected a count of pdfs of at most"),
        ("<DIMENSION> 2 <NUMPDFS> 2 " + MIXTURE, "expected a token, found the end of the file"),
        ("<DIMENSION> 3 <NUMPDFS> 1 " + MIXTURE, "of the shape (1, 3) for pdf 0, found (1, 2) and (1, 2)"),
        ("<DIMENSION> 2 <NUMPDFS> 1 " + MIXTURE.replace("[ 1 ]", "[ -1 ]"), "found the negative weight -1"),
        ("<DIMENSION> 0 <NUMPDFS> 1 " + MIXTURE.replace("[ 1 ]", "[ ]"), "of the shape (0, 0) for pdf 0"),
    ],
)
def test_a_damaged_model_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(ModelFormatError, match=r"am: at byte \d+: ") as raised:
        AmDiagGmm.read(KaldiReader(text.encode(), "am"))
    assert message in str(raised.value)


def test_posteriors_of_gaussians_and_their_parameters_by_definition(model: AmDiagGmm) -> None:
    frames = np.random.default_rng(5).normal(scale=2, size=(3, model.dim())).astype(np.float32)
    pdf_posteriors = np.zeros((3, model.num_pdfs()), np.float32)
    pdf_posteriors[[0, 0, 2], [7, 300, 615]] = [0.5, 0.25, 2.0]
    posteriors = model.gaussian_posteriors(frames, pdf_posteriors)
    np.testing.assert_allclose(posteriors.sum(axis=1), [0.75, 0, 2], rtol=1e-5)
    means_invvars, inv_vars = model.weighted_parameters(posteriors)
    expected = np.zeros((2, 3, model.dim()))
    for frame, pdf in np.argwhere(pdf_posteriors):
        mixture = model.get_pdf(pdf)
        shares = mixture.component_posteriors(frames[[frame]])[1][0] * pdf_posteriors[frame, pdf]
        expected[0, frame] += shares @ mixture.means_invvars
        expected[1, frame] += shares @ mixture.inv_vars
    np.testing.assert_allclose(means_invvars, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inv_vars, expected[1], rtol=1e-4, atol=1e-5)


def test_models_with_other_numbers_of_gaussians_are_told_apart(models: Path, model: AmDiagGmm) -> None:
    assert model.has_same_gaussians(read_model(models / "english-gmm/final.oalimdl"))
    one = AmDiagGmm(
        np.ones(1, np.float32), np.zeros((1, 40), np.float32), np.ones((1, 40), np.float32), np.array([1])
    )
    assert not model.has_same_gaussians(one)
