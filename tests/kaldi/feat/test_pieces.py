"""Overlapping pieces of a vector."""

import numpy as np
import pytest

from pykaldi_server.kaldi.feat.pieces import pieces_of

X = np.arange(10, dtype=np.float32)


@pytest.mark.parametrize("step", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [1, 4, 10])
def test_pieces_begin_every_few_elements(length: int, step: int) -> None:
    found = pieces_of(X, length, step)
    assert found.tolist() == np.lib.stride_tricks.sliding_window_view(X, length)[::step].tolist()
    assert np.shares_memory(found, X)


def test_a_vector_without_a_whole_piece() -> None:
    with pytest.raises(ValueError, match="size of buffer"):
        pieces_of(X[:3], 5)
