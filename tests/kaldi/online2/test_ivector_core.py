"""The chain of the core from base features to i-vectors, against its parts one after the other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import DecoderError
from pykaldi_server.kaldi._core import (
    FrameBuffer,
    FrameWeights,
    GaussianPosteriors,
    OnlineCmvn,
    OnlineIvectorFeature,
    OnlineIvectorModel,
    PackedProduct,
    acc_ivector_stats,
    linear_cgd,
)

DIM, LEFT, RIGHT, FEAT_DIM, GAUSSIANS, IVECTOR_DIM = 3, 2, 1, 4, 9, 5
TRIANGLE = IVECTOR_DIM * (IVECTOR_DIM + 1) // 2
WINDOW = 20
Floats = NDArray[np.float32]

RANDOM = np.random.default_rng(7)
LDA = RANDOM.normal(size=(FEAT_DIM, DIM * (LEFT + 1 + RIGHT))).astype(np.float32)
VARIANCES = RANDOM.uniform(0.5, 2.0, (GAUSSIANS, FEAT_DIM)).astype(np.float32)
MEANS = RANDOM.normal(size=(GAUSSIANS, FEAT_DIM)).astype(np.float32)
LINEAR = RANDOM.normal(size=(GAUSSIANS, FEAT_DIM, IVECTOR_DIM))
HALVES = RANDOM.normal(size=(GAUSSIANS, IVECTOR_DIM, IVECTOR_DIM))
QUADRATIC = (HALVES @ HALVES.transpose(0, 2, 1))[:, *np.tril_indices(IVECTOR_DIM)].copy()
GLOBAL_STATS = np.array([[10.0, -20.0, 30.0, 10.0], [90.0, 90.0, 190.0, 0.0]])
PRIOR_OFFSET, NUM_GSELECT, MIN_POST, SCALE, NUM_CG_ITERS = 5.0, 4, 0.025, 0.1, 15


def model_of(kernels: str | None = None, adds_normalized: bool = False, **changes: Any) -> OnlineIvectorModel:
    arguments: dict[str, Any] = {
        "lda": PackedProduct(LDA, kernels=kernels),
        "gaussians": GaussianPosteriors(
            MEANS * VARIANCES, VARIANCES, np.zeros(GAUSSIANS, np.float32), kernels
        ),
        "linear": LINEAR,
        "quadratic": QUADRATIC,
        "left_context": LEFT,
        "right_context": RIGHT,
        "adds_normalized": adds_normalized,
        "num_gselect": NUM_GSELECT,
        "min_post": MIN_POST,
        "posterior_scale": SCALE,
    }
    return OnlineIvectorModel(**(arguments | changes))


def cmvn_of(dim: int = DIM, frozen: NDArray[np.float64] | None = None) -> OnlineCmvn:
    stats = GLOBAL_STATS if dim == DIM else np.ones((2, dim + 1))
    return OnlineCmvn(dim, WINDOW, 0, 10, True, False, [], stats, None, frozen)


def prior_terms() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    linear, quadratic = np.zeros(IVECTOR_DIM), np.zeros(TRIANGLE)
    linear[0] = PRIOR_OFFSET
    quadratic[np.cumsum(np.arange(1, IVECTOR_DIM + 1)) - 1] = 1.0
    return linear, quadratic


def feature_of(model: OnlineIvectorModel, base: FrameBuffer, **changes: Any) -> OnlineIvectorFeature:
    linear, quadratic = prior_terms()
    arguments: dict[str, Any] = {
        "model": model,
        "base": base,
        "cmvn": cmvn_of(),
        "prior_offset": PRIOR_OFFSET,
        "max_count": 0.0,
        "num_frames": 0.0,
        "linear_term": linear,
        "quadratic_term": quadratic,
    }
    return OnlineIvectorFeature(**(arguments | changes))


def frames_of(count: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(1.0, 2.0, (count, DIM)).astype(np.float32)


def transformed(frames: Floats, kernels: str | None) -> Floats:
    """All frames joined with their neighbours, and multiplied."""
    padded = np.pad(frames, ((LEFT, RIGHT), (0, 0)), mode="edge")
    return PackedProduct(LDA, kernels=kernels).multiply_spliced(padded)


def posteriors_of(selecting: Floats, weights: Floats, kernels: str | None) -> Floats:
    gaussians = GaussianPosteriors(MEANS * VARIANCES, VARIANCES, np.zeros(GAUSSIANS, np.float32), kernels)
    min_post = np.minimum(np.float32(MIN_POST) / np.abs(weights), np.float32(0.99))
    return gaussians.compute(selecting, NUM_GSELECT, min_post) * (np.float32(SCALE) * weights)[:, np.newaxis]


@pytest.mark.parametrize("adds_normalized", [False, True])
@pytest.mark.parametrize("frozen", [None, GLOBAL_STATS])
def test_the_chain_is_its_parts(
    kernels: str, adds_normalized: bool, frozen: NDArray[np.float64] | None
) -> None:
    frames = frames_of(3 * WINDOW)
    base = FrameBuffer(DIM)
    base.append(frames)
    feature = feature_of(model_of(kernels, adds_normalized), base, cmvn=cmvn_of(frozen=frozen))
    numbers = np.array([0, 1, 17, 40, 3 * WINDOW - 1])
    weights = np.array([1.0, -1.0, 1e-3, 0.999, 0.5], np.float32)
    pending = FrameWeights()
    pending.add(numbers, weights)
    feature.add(pending, 0, len(frames), True)
    ivector = feature.estimate(NUM_CG_ITERS)

    cmvn, leaving = cmvn_of(frozen=frozen), frames[: 2 * WINDOW]
    normalized = cmvn.normalize(frames, leaving) if frozen is None else cmvn.apply_frozen(frames)
    selecting = transformed(normalized, kernels)[numbers]
    added = selecting if adds_normalized else transformed(frames, kernels)[numbers]
    linear, quadratic, num_frames = acc_ivector_stats(
        added, posteriors_of(selecting, weights, kernels), LINEAR, QUADRATIC, *prior_terms(), kernels
    )
    found_frames, found_linear, found_quadratic = feature.stats()
    assert found_frames == num_frames
    np.testing.assert_array_equal(found_linear, linear)
    np.testing.assert_array_equal(found_quadratic, quadratic)
    expected = linear_cgd(quadratic, linear, np.eye(1, IVECTOR_DIM)[0] * PRIOR_OFFSET, NUM_CG_ITERS)
    expected[0] -= PRIOR_OFFSET
    np.testing.assert_allclose(ivector, expected, rtol=1e-5, atol=1e-5)
    total = np.zeros((2, DIM + 1))
    total[0, :DIM], total[1, :DIM] = frames.sum(0, np.float64), np.square(frames, dtype=np.float64).sum(0)
    total[0, DIM] = len(frames)
    np.testing.assert_allclose(feature.cmvn_total(), total)


@settings(max_examples=25, deadline=None)
@given(blocks=st.lists(st.integers(1, 30), min_size=3, max_size=20))
def test_blocks_change_nothing_but_the_order_of_sums(blocks: list[int]) -> None:
    """Nor does a history that is as short as the splicing and the window of CMVN allow."""
    frames = frames_of(sum(blocks))
    whole = FrameBuffer(DIM)
    whole.append(frames)
    expected = feature_of(model_of(), whole)
    expected.add(None, 0, len(frames), True)
    base = FrameBuffer(DIM, WINDOW + 40)
    feature = feature_of(model_of(), base, history=0)
    begin = end = 0
    for number, size in enumerate(blocks):
        base.append(frames[base.end : base.end + size])
        is_last = number == len(blocks) - 1
        begin, end = end, base.end if is_last else max(0, base.end - RIGHT)
        feature.add(None, begin, end, is_last)
    for term in range(3):
        np.testing.assert_allclose(feature.stats()[term], expected.stats()[term], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(feature.cmvn_total(), expected.cmvn_total())


def test_the_prior_grows_beyond_max_count() -> None:
    base = FrameBuffer(DIM)
    base.append(frames_of(40))
    plain, bounded = (feature_of(model_of(), base, max_count=most) for most in (0.0, 1.0))
    for feature in (plain, bounded):
        feature.add(None, 0, 40, True)
    num_frames, linear, quadratic = plain.stats()
    assert num_frames == pytest.approx(40 * SCALE)
    prior_linear, prior_quadratic = prior_terms()
    growth = num_frames / 1.0 - 1.0
    _, bounded_linear, bounded_quadratic = bounded.stats()
    np.testing.assert_allclose(bounded_linear, linear + growth * prior_linear)
    np.testing.assert_allclose(bounded_quadratic, quadratic + growth * prior_quadratic)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"linear": np.ones((2, FEAT_DIM, IVECTOR_DIM))}, "linear: expected terms of 9 Gaussians"),
        ({"linear": np.ones((GAUSSIANS, 3, IVECTOR_DIM))}, "features of 4, found 9 and 3"),
        ({"lda": PackedProduct(LDA[:3].copy())}, "linear: expected terms .* features of 3, found 9 and 4"),
        ({"quadratic": np.ones((GAUSSIANS, 2))}, r"quadratic: expected terms of shape \(9, 15\)"),
        ({"left_context": 3}, "expected contexts of 0 to .* frames that LDA reads, found 3 and 1"),
        ({"right_context": -1}, "expected contexts of 0 to .* found 2 and -1"),
        ({"num_gselect": 0}, "num_gselect: expected at least 1, found 0"),
    ],
)
def test_models_that_do_not_fit_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        model_of(**change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"base": FrameBuffer(DIM + 1)}, "base: expected features and CMVN of dimension 3, found 4 and 3"),
        ({"cmvn": cmvn_of(DIM + 1)}, "base: expected features and CMVN of dimension 3, found 3 and 4"),
        ({"linear_term": np.ones(2)}, "expected terms of i-vectors of 5, found 2 and 15 elements"),
        ({"history": -1}, "history: expected at least 0 frames, found -1"),
    ],
)
def test_streams_that_do_not_fit_are_refused(change: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"model": model_of(), "base": FrameBuffer(DIM)}
    with pytest.raises(ValueError, match=text):
        feature_of(**(arguments | change))


def test_cmvn_that_has_begun_is_refused() -> None:
    cmvn = cmvn_of()
    cmvn.count(frames_of(1))
    with pytest.raises(ValueError, match="cmvn: expected one that has had no frames"):
        feature_of(model_of(), FrameBuffer(DIM), cmvn=cmvn)


def test_frames_that_are_not_there_are_refused() -> None:
    base = FrameBuffer(DIM)
    base.append(frames_of(30))
    feature = feature_of(model_of(), base, history=5)
    with pytest.raises(IndexError, match="expected frames up to 29, which are ready, found 30"):
        feature.add(None, 0, 30, False)
    for begin, end in ((-1, 2), (3, 2), (0, 31), (0, 2**60)):
        with pytest.raises(IndexError, match=f"expected frames from 0 to 30, found {begin} to {end}"):
            feature.add(None, begin, end, True)
    pending = FrameWeights()
    pending.add(np.array([-(2**60)]), np.ones(1, np.float32))
    with pytest.raises(IndexError, match="which are kept"):
        feature.add(pending, 0, 30, True)


def test_sums_that_overflow_are_refused() -> None:
    base = FrameBuffer(DIM)
    base.append(np.full((9, DIM), 3e38, np.float32))
    feature = feature_of(model_of(), base)
    with pytest.raises(DecoderError, match="i-vector statistics: expected finite sums, found"):
        feature.add(None, 0, 9, True)
