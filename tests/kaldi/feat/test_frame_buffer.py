"""The buffer of the newest frames: what it keeps, and what it refuses."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.kaldi._core import FrameBuffer

DIM = 3


def frames_from(begin: int, count: int) -> np.ndarray:
    """Frames whose elements say which they are."""
    return np.arange(begin * DIM, (begin + count) * DIM, dtype=np.float32).reshape(count, DIM)


@given(history=st.none() | st.integers(0, 40), blocks=st.lists(st.integers(0, 150), max_size=30))
def test_the_newest_frames_are_kept(history: int | None, blocks: list[int]) -> None:
    buffer = FrameBuffer(DIM, history)
    for block in blocks:
        buffer.append(frames_from(buffer.end, block))
        # After a block, at least those before it that the history names are there, and the block.
        begin = 0 if history is None else max(0, buffer.end - block - history)
        assert np.array_equal(buffer.get(begin, buffer.end), frames_from(begin, buffer.end - begin))
    assert buffer.end == sum(blocks)


def test_old_frames_are_dropped() -> None:
    buffer = FrameBuffer(DIM, history=10)
    for begin in range(0, 10_000, 5):
        buffer.append(frames_from(begin, 5))
    with pytest.raises(
        IndexError, match=r"expected frames from 9\d\d\d to 10000, which are kept, found 0 to 1"
    ):
        buffer.get(0, 1)


@pytest.mark.parametrize("block", [1, 7, 60])
def test_little_more_is_kept_than_the_history(block: int) -> None:
    history = 1000
    buffer = FrameBuffer(DIM, history)
    for begin in range(0, 10_000, block):
        buffer.append(frames_from(begin, block))
        with pytest.raises(IndexError, match="expected frames from") as failed:
            buffer.get(-1, 0)
        first = int(str(failed.value).split()[3])
        assert min(buffer.end, history) <= buffer.end - first <= 1.25 * history + 64 + block


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (2, 1), (3, 5), (2**62, 2**62), (-(2**62), 0)])
def test_frames_that_are_not_there(begin: int, end: int) -> None:
    buffer = FrameBuffer(DIM)
    buffer.append(frames_from(0, 4))
    text = f"expected frames from 0 to 4, which are kept, found {begin} to {end}"
    with pytest.raises(IndexError, match=re.escape(text)):
        buffer.get(begin, end)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="dim: expected 1 to 1048576, found 0"):
        FrameBuffer(0)
    with pytest.raises(ValueError, match="history: expected at least 0 frames, found -1"):
        FrameBuffer(DIM, -1)
    with pytest.raises(ValueError, match="frames: expected frames of dimension 3, found 2"):
        FrameBuffer(DIM).append(np.zeros((4, 2), np.float32))
