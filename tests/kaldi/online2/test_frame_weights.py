"""Changes of frame weights are added up until they are taken."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.kaldi._core import FrameWeights

# Multiples of a power of two: sums are exact, so that some of them are 0.
changes = st.lists(st.tuples(st.integers(0, 20), st.integers(-3, 3).map(lambda n: n / 4)), max_size=12)


@given(st.lists(st.tuples(changes, st.integers(0, 22)), max_size=8))
def test_each_frame_is_taken_with_the_sum_of_its_changes(
    rounds: list[tuple[list[tuple[int, float]], int]],
) -> None:
    weights, expected = FrameWeights(), defaultdict[int, float](float)
    for pairs, end in rounds:
        weights.add(
            np.array([frame for frame, _ in pairs], np.int64),
            np.array([delta for _, delta in pairs], np.float32),
        )
        for frame, delta in pairs:
            expected[frame] += delta
        frames, sums = weights.take(end)
        before = {frame: expected.pop(frame) for frame in sorted(expected) if frame < end}
        assert dict(zip(frames.tolist(), sums.tolist(), strict=True)) == {
            f: s for f, s in before.items() if s
        }
        assert frames.tolist() == sorted(frames.tolist())
        assert frames.dtype == np.int64
        assert sums.dtype == np.float32


def test_changes_that_do_not_fit_are_refused() -> None:
    weights = FrameWeights()
    with pytest.raises(ValueError, match="expected a frame for each change, found 2 frames and 1 changes"):
        weights.add(np.zeros(2, np.int64), np.zeros(1, np.float32))
    with pytest.raises(TypeError, match="frames: expected a contiguous array of int64"):
        weights.add(np.zeros(1, np.int32), np.zeros(1, np.float32))
    assert len(weights.take(9)[0]) == 0
