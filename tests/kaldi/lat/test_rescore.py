"""Acoustic rescoring of lattices."""

import numpy as np
import pytest

from pykaldi_server.errors import LatticeError
from pykaldi_server.kaldi.lat import LatticeArc, LatticeVectorFst, LatticeWeight
from pykaldi_server.kaldi.lat.functions import rescore_lattice

ID2PDF = np.array([-1, 0, 0, 1], np.int32)


@pytest.fixture
def lattice() -> LatticeVectorFst:
    """Two frames, an arc without transition-id between them, and a state that cannot be reached."""
    lattice = LatticeVectorFst()
    for _ in range(5):
        lattice.add_state()
    lattice.set_start(0)
    lattice.add_arc(0, LatticeArc(2, 7, LatticeWeight(1.0, 10.0), 1))
    lattice.add_arc(0, LatticeArc(3, 8, LatticeWeight(2.0, 20.0), 1))
    lattice.add_arc(1, LatticeArc(0, 9, LatticeWeight(3.0, 30.0), 2))
    lattice.add_arc(2, LatticeArc(3, 0, LatticeWeight(4.0, 40.0), 4))
    lattice.add_arc(3, LatticeArc(1, 0, LatticeWeight(0.0, 0.0), 4))
    lattice.set_final(4, LatticeWeight(0.5, 0.0))
    return lattice


def test_scores_are_added_at_the_time_of_each_arc(lattice: LatticeVectorFst) -> None:
    scores = np.array([[0.25, 0.5], [1.0, 2.0]], np.float32)
    rescore_lattice(scores, ID2PDF, lattice)
    assert [arc.weight.value2 for arc in lattice.arcs(0)] == [10 - 0.25, 20 - 0.5]
    assert lattice.arcs(1)[0].weight.value2 == 30
    assert lattice.arcs(2)[0].weight.value2 == 40 - 2
    assert [arc.weight.value1 for state in range(3) for arc in lattice.arcs(state)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("frames", "pdfs", "ids", "message"),
    [
        (1, 2, 4, "expected a lattice of at most 1 frames, found frame 2"),
        (2, 2, 3, "expected transition-ids below 3, found 3"),
        (2, 1, 4, "expected pdfs below 1, found 1"),
    ],
)
def test_scores_of_another_model_are_refused(
    lattice: LatticeVectorFst, frames: int, pdfs: int, ids: int, message: str
) -> None:
    with pytest.raises(LatticeError, match=message):
        rescore_lattice(np.zeros((frames, pdfs), np.float32), ID2PDF[:ids], lattice)


def test_arrays_of_other_shapes_are_refused(lattice: LatticeVectorFst) -> None:
    with pytest.raises(ValueError, match=r"log_likelihoods: expected .* axes \(frames, pdfs\)"):
        rescore_lattice(np.zeros(4, np.float32), ID2PDF, lattice)
