"""From Kaldi's log-likelihoods to lattices: the same word sequences at the same costs as Kaldi's.

At the very edge of the beam the searches may differ, because they visit the tokens of a frame in another
order: hence half a unit less than the lattice beam. Costs are sums of float32 numbers, and six digits an arc
in the golden text.
"""

from pathlib import Path

import numpy as np
import pytest
from lattices import golden_lattices, missing_sentences

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import StdConstFst, read_decoding_graph
from pykaldi_server.kaldi.hmm.transition_model import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import determinize_lattice_phone_pruned
from pykaldi_server.kaldi.util.io import KaldiReader

OPTIONS = LatticeFasterDecoderOptions(beam=13.0, max_active=7000, min_active=200, lattice_beam=6.0)
CHUNK_FRAMES = 7
COMPARED_BEAM = 5.5
COST_TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def trans_model(models: Path) -> TransitionModel:
    return TransitionModel.read(KaldiReader.open(models / "english/am/final.mdl"))


def decode(graph: StdConstFst, trans_model: TransitionModel, loglikes: np.ndarray) -> CompactLatticeVectorFst:
    decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
    for begin in range(0, len(loglikes), CHUNK_FRAMES):
        decoder.advance_decoding(loglikes[begin : begin + CHUNK_FRAMES])
    decoder.finalize_decoding()
    return determinize_lattice_phone_pruned(decoder.get_raw_lattice(), trans_model, OPTIONS.lattice_beam)


def check_folder(folder: Path, graph: StdConstFst, trans_model: TransitionModel) -> None:
    expected = golden_lattices(folder)
    loglikes = np.load(folder / "loglikes.npz")
    assert loglikes.files
    for name in loglikes.files:
        lattice = decode(graph, trans_model, loglikes[name])
        assert not missing_sentences(expected[name], lattice, COMPARED_BEAM, COST_TOLERANCE), name
        assert not missing_sentences(lattice, expected[name], COMPARED_BEAM, COST_TOLERANCE), name


@pytest.mark.parametrize("folder", ["digits", "digits-005"])
def test_digits(golden_root: Path, models: Path, trans_model: TransitionModel, folder: str) -> None:
    graph = read_decoding_graph(models / "english/graph-digits/HCLG.fst")
    check_folder(golden_root / folder, graph, trans_model)


@pytest.mark.parametrize("folder", ["general", "returning"])
def test_general(shared_golden: Path, trans_model: TransitionModel, folder: str) -> None:
    check_folder(shared_golden / folder, read_decoding_graph(shared_golden / "general/HCLG.fst"), trans_model)


def test_what_differs_is_noticed(golden: Path) -> None:
    lattices = golden_lattices(golden / "digits")
    lattice = lattices["ps-goforward"]
    assert not missing_sentences(lattice, lattice, COMPARED_BEAM, COST_TOLERANCE)
    other = lattice.copy()
    other.scale(1.001, 1.0)
    assert missing_sentences(lattice, other, COMPARED_BEAM, COST_TOLERANCE)
    assert missing_sentences(lattice, lattices["ps-cards-001"], COMPARED_BEAM, COST_TOLERANCE)
