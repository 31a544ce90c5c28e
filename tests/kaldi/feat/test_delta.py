"""Time derivatives by their definition."""

import numpy as np
import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat import DeltaFeaturesOptions, OnlineDeltaFeature, OnlineMatrixFeature


def slope(frames: np.ndarray, window: int) -> np.ndarray:
    """Slope of the regression line around each frame, outermost frames repeated."""
    padded = np.pad(frames, ((window, window), (0, 0)), mode="edge")
    offsets = range(-window, window + 1)
    total = np.sum([j * padded[window + j : len(padded) - window + j] for j in offsets], axis=0)
    deltas: np.ndarray = total / sum(j * j for j in offsets)
    return deltas


@pytest.mark.parametrize("window", [1, 2, 3])
def test_derivatives_inside_the_stream(window: int) -> None:
    frames = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    feature = OnlineDeltaFeature(DeltaFeaturesOptions(window=window), OnlineMatrixFeature(frames))
    assert feature.dim() == 9
    found = feature.get_frames(0, 60)
    first = slope(frames, window)
    np.testing.assert_allclose(found[:, :6], np.hstack([frames, first]), atol=1e-6)
    # At the ends Kaldi repeats the outermost frame, not the outermost derivative.
    inner = slice(2 * window, 60 - 2 * window)
    np.testing.assert_allclose(found[inner, 6:], slope(first, window)[inner], atol=1e-6)


def test_derivatives_at_the_ends_repeat_the_outermost_frame() -> None:
    frames = np.arange(5, dtype=np.float32)[:, np.newaxis]
    long = np.pad(frames, ((20, 20), (0, 0)), mode="edge")
    options = DeltaFeaturesOptions(order=3)
    found = OnlineDeltaFeature(options, OnlineMatrixFeature(frames)).get_frames(0, 5)
    expected = OnlineDeltaFeature(options, OnlineMatrixFeature(long)).get_frames(20, 25)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("options", [DeltaFeaturesOptions(window=0), DeltaFeaturesOptions(order=-1)])
def test_options_that_make_no_sense_are_refused(options: DeltaFeaturesOptions) -> None:
    with pytest.raises(ConfigError, match="delta-order, delta-window"):
        OnlineDeltaFeature(options, OnlineMatrixFeature(np.zeros((1, 1), np.float32)))
