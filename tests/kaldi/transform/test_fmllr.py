"""fMLLR statistics and transforms: by definition, and against adaptation states that Kaldi wrote."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvnState
from pykaldi_server.kaldi.transform import BasisFmllrEstimate, BasisFmllrOptions, FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter


@pytest.fixture(scope="module")
def basis(models: Path) -> BasisFmllrEstimate:
    reader = KaldiReader.open(models / "english-gmm/fmllr.basis")
    estimate = BasisFmllrEstimate.read(reader)
    reader.expect_end()
    return estimate


def read_state(path: Path) -> tuple[np.ndarray, FmllrDiagGmmAccs]:
    reader = KaldiReader(gzip.decompress(path.read_bytes()), path)
    reader.expect_token("<ONLINEGMMADAPTATIONSTATE>")
    reader.expect_token("<TRANSFORM>")
    transform = reader.read_matrix()
    reader.expect_token("<CMVNSTATS>")
    OnlineCmvnState.read(reader)
    reader.expect_token("<SPKSTATS>")
    return transform, FmllrDiagGmmAccs.read(reader)


def random_frames(dim: int, count: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(3)
    shape = (count, dim)
    return (
        random.normal(size=shape).astype(np.float32),
        random.normal(size=shape).astype(np.float32),
        random.uniform(0.5, 2, size=shape).astype(np.float32),
        random.uniform(0.1, 1, size=count),
    )


def test_statistics_by_definition_hold_the_last_frame_back() -> None:
    features, a, b, counts = random_frames(dim=3, count=300)
    accs = FmllrDiagGmmAccs.zero(3)
    for begin in range(0, 300, 70):
        block = slice(begin, begin + 70)
        accs.accumulate(features[block], a[block], b[block], counts[block])
    extended = np.hstack([features, np.ones((300, 1))])[:-1].astype(np.float64)
    np.testing.assert_allclose(accs.beta, counts[:-1].sum())
    np.testing.assert_allclose(accs.K, a[:-1].T @ extended)
    np.testing.assert_allclose(accs.G, np.einsum("td,ti,tj->dij", b[:-1], extended, extended))


@pytest.mark.parametrize("cut", [250, 299, 300])
def test_all_last_frames_that_are_equal_are_held_back(cut: int) -> None:
    features, a, b, counts = random_frames(dim=3, count=301)
    features[100:150] = features[100]  # equal frames before others count
    features[200:300] = features[200] * (1 + 1e-7 * np.random.default_rng(4).normal(size=(100, 3)))
    accs = FmllrDiagGmmAccs.zero(3)
    for block in (slice(0, cut), slice(cut, 300)):
        accs.accumulate(features[block], a[block], b[block], counts[block])
    np.testing.assert_allclose(accs.beta, counts[:200].sum())
    accs.accumulate(features[300:], a[300:], b[300:], counts[300:])
    np.testing.assert_allclose(accs.beta, counts[:300].sum())
    extended = np.hstack([features, np.ones((301, 1))])[:-1].astype(np.float64)
    np.testing.assert_allclose(accs.K, a[:-1].T @ extended)


def test_frames_without_posteriors_count_for_nothing() -> None:
    features, a, b, counts = random_frames(dim=2, count=10)
    counts[[2, 9]] = 0
    accs = FmllrDiagGmmAccs.zero(2)
    accs.accumulate(features, a, b, counts)
    np.testing.assert_allclose(accs.beta, counts.sum() - counts[8])
    accs.accumulate(features[:1], a[:1], b[:1], np.zeros(1))
    np.testing.assert_allclose(accs.beta, counts.sum() - counts[8])


def test_a_copy_shares_nothing() -> None:
    features, a, b, counts = random_frames(dim=2, count=10)
    accs = FmllrDiagGmmAccs.zero(2)
    accs.accumulate(features, a, b, counts)
    copy = accs.copy()
    before = copy.G.copy()
    accs.accumulate(features, a, b, counts)
    np.testing.assert_array_equal(copy.G, before)
    copy.accumulate(features, a, b, counts)
    np.testing.assert_array_equal(copy.G, accs.G)


@pytest.mark.parametrize("binary", [True, False])
def test_written_statistics_read_back(binary: bool) -> None:
    accs = FmllrDiagGmmAccs.zero(3)
    accs.accumulate(*random_frames(dim=3, count=50))
    file = io.BytesIO()
    accs.write(KaldiWriter(file, binary))
    again = FmllrDiagGmmAccs.read(KaldiReader(file.getvalue()))
    assert again.beta == accs.beta
    np.testing.assert_allclose(again.K, accs.K, rtol=1e-6)
    np.testing.assert_allclose(again.G, accs.G, rtol=1e-6)


def test_a_first_transform_is_kaldis(basis: BasisFmllrEstimate, shared_golden: Path) -> None:
    # Kaldi estimated this speaker's transform once, from nothing: no earlier transform had a part in it.
    expected, accs = read_state(shared_golden / "gmm/returning/ps-cards-001.adaptation.txt.gz")
    found = basis.compute_transform(accs, None, BasisFmllrOptions())
    assert found is not None
    assert found.dtype == np.float32
    # Kaldi computes in single precision and wrote six digits.
    np.testing.assert_allclose(found, expected, atol=3e-5)


def test_estimation_raises_the_auxiliary_function(basis: BasisFmllrEstimate, golden: Path) -> None:
    transform, accs = read_state(golden / "gmm/returning/ps-librivox-0930.adaptation.txt.gz")
    start = np.eye(*transform.shape)
    values = [accs.auxiliary_function(start)]
    for num_iters in (1, 5, 10):
        found = basis.compute_transform(accs, None, BasisFmllrOptions(num_iters=num_iters))
        assert found is not None
        values.append(accs.auxiliary_function(found.astype(np.float64)))
    assert values == sorted(values)


def test_too_little_speech_leaves_the_transform_alone(basis: BasisFmllrEstimate) -> None:
    accs = FmllrDiagGmmAccs.zero(basis.dim())
    accs.beta = 49.9
    transform = np.eye(basis.dim(), basis.dim() + 1, dtype=np.float32)
    assert basis.compute_transform(accs, None, BasisFmllrOptions()) is None
    assert basis.compute_transform(accs, transform, BasisFmllrOptions()) is transform


def test_statistics_beyond_all_numbers_leave_the_transform_alone(basis: BasisFmllrEstimate) -> None:
    accs = FmllrDiagGmmAccs.zero(basis.dim())
    accs.beta = 1e4
    accs.K[:] = 1e300
    accs.G[:] = -1e300
    assert basis.compute_transform(accs, None, BasisFmllrOptions()) is None


def test_the_basis_writes_back_byte_for_byte(models: Path, basis: BasisFmllrEstimate) -> None:
    file = io.BytesIO()
    basis.write(KaldiWriter(file))
    # The tool that made the file wrote the number of matrices as an unsigned integer: a sign in one byte.
    original = (models / "english-gmm/fmllr.basis").read_bytes()
    assert file.getvalue() == original.replace(b"\xfc\xfa\x00\x00\x00", b"\x04\xfa\x00\x00\x00", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<BASISFMLLRPARAM> <NUMBASIS> 0 <BASIS> ", "expected basis matrices, found none"),
        ("<BASISFMLLRPARAM> <NUMBASIS> 2000000000 <BASIS> ", "expected a count of basis matrices"),
        ("<BASISFMLLRPARAM> <NUMBASIS> 1 <BASIS> [ 1 2 3 ]\n", "basis matrix 0 of 1 x 2, found (1, 3)"),
        (
            "<BASISFMLLRPARAM> <NUMBASIS> 1 <BASIS> [ 1 inf ]\n",
            "expected finite numbers in basis matrix 0, found inf at [0, 1]",
        ),
        ("<BASISFMLLRPARAM> <NUMBASIS> 1 <BASIS> [ ]\n", "basis matrix 0 of 1 x 2, found (0, 0)"),
    ],
)
def test_a_damaged_basis_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelFormatError, match=r"fmllr\.basis: at byte \d+: ") as raised:
        BasisFmllrEstimate.read(KaldiReader(text.encode(), "fmllr.basis"))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<DIMENSION> 2 <BETA> 1 <K> [ 1 2 ]\n", "expected a matrix K of 2 x 3, found (1, 2)"),
        ("<DIMENSION> 1 <BETA> 1 <K> [ 1 2 ]\n<G> 2 ", "expected 1 matrices G"),
        ("<DIMENSION> 1 <BETA> 1 <K> [ 1 2 ]\n<G> 1 [ 1 ]\n", "expected a matrix G of 2 rows, found 1"),
        ("<DIMENSION> 1 <BETA> nan <K> [ 1 2 ]\n<G> 1 [ 1\n 0 1 ]\n", "the count (beta), found nan"),
        ("<DIMENSION> 1 <BETA> -1 <K> [ 1 2 ]\n<G> 1 [ 1\n 0 1 ]\n", "0 or more, found -1.0"),
    ],
)
def test_damaged_statistics_are_refused(text: str, message: str) -> None:
    with pytest.raises(ModelFormatError, match=r"state: at byte \d+: ") as raised:
        FmllrDiagGmmAccs.read(KaldiReader(text.encode(), "state"))
    assert message in str(raised.value)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="num-iters"):
        BasisFmllrOptions(num_iters=0).validate()
    with pytest.raises(ConfigError, match="size-scale"):
        BasisFmllrOptions(size_scale=0).validate()
