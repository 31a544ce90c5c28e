"""The search against Kaldi's, on the log-likelihoods that Kaldi's decoder saw.

Words and alignments are compared exactly: the two searches differ only in the order in which a frame's tokens
are visited, which matters at the very edge of the beam alone. Costs are sums of a few hundred float32 numbers
in another order, hence 1e-3 relative.
"""

from pathlib import Path

import numpy as np
import pytest
from golden_data import BestPath, best_paths, delta_weights, partials
from lattices import golden_lattices

from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import StdConstFst, SymbolTable, indices_to_symbols, read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import (
    determinize_lattice_phone_pruned,
    get_linear_symbol_sequence,
    nbest,
)
from pykaldi_server.kaldi.online2 import OnlineSilenceWeighting, OnlineSilenceWeightingConfig
from pykaldi_server.kaldi.util.io import KaldiReader

COST_TOLERANCE = 1e-3
OPTIONS = LatticeFasterDecoderOptions(beam=13.0, max_active=7000, min_active=200, lattice_beam=6.0)
# The network computes 21 input frames at once, which are 7 frames of the decoder.
CHUNK_FRAMES = 7
SUBSAMPLING = 3
SILENCE_WEIGHTING = OnlineSilenceWeightingConfig("1:2:3:4:5:6:7:8:9:10", silence_weight=1e-3)


@pytest.fixture(scope="module")
def trans_model(models: Path) -> TransitionModel:
    return TransitionModel.read(KaldiReader.open(models / "english" / "am" / "final.mdl"))


@pytest.fixture(scope="module")
def digits_graph(models: Path) -> StdConstFst:
    return read_decoding_graph(models / "english" / "graph-digits" / "HCLG.fst")


def same_path(path: _core.BestPath, words: SymbolTable, expected: BestPath) -> bool:
    return (
        indices_to_symbols(words, path.words) == expected.words
        and path.graph_cost == pytest.approx(expected.graph_cost, rel=COST_TOLERANCE, abs=COST_TOLERANCE)
        and path.acoustic_cost == pytest.approx(expected.acoustic_cost, rel=COST_TOLERANCE)
    )


def check_recordings(
    folder: Path, graph: StdConstFst, trans_model: TransitionModel, words: SymbolTable
) -> int:
    """Decodes every recording of a folder as Kaldi did, and compares all there is to compare."""
    golden_best, golden_partials = best_paths(folder / "best_path.txt"), partials(folder / "partials.txt.gz")
    golden_weights = delta_weights(folder / "delta_weights.txt.gz")
    loglikes = np.load(folder / "loglikes.npz")
    for name in loglikes.files:
        decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
        weighting = OnlineSilenceWeighting(trans_model, SILENCE_WEIGHTING, SUBSAMPLING)
        block = loglikes[name]
        for partial, (samples, weights) in zip(golden_partials[name], golden_weights[name], strict=True):
            assert partial.samples == samples
            weighting.compute_current_traceback(decoder)
            if weights:
                deltas = weighting.get_delta_weights(weights[-1][0] + 1)
                assert [(f, pytest.approx(d, abs=1e-5)) for f, d in weights] == list(
                    zip(deltas.frames, deltas.deltas, strict=True)
                ), (name, samples)
            while decoder.num_frames_decoded() < partial.frames:
                begin = decoder.num_frames_decoded()
                decoder.advance_decoding(block[begin : min(begin + CHUNK_FRAMES, partial.frames)])
            if partial.path is not None:
                path = decoder.get_best_path(use_final_probs=False)
                assert same_path(path, words, partial.path), (name, samples)
                assert np.array_equal(decoder.partial_words(), path.words)
        decoder.finalize_decoding()
        path = decoder.get_best_path()
        assert same_path(path, words, golden_best[name]), name
        assert path.alignment.tolist() == golden_best[name].alignment
    return len(loglikes.files)


# Paths of a lattice that are compared: all that are 0.5 better than the lattice beam, as far as these go.
NUM_PATHS = 300
LATTICE_MARGIN = 0.5


def sentences(lattice: CompactLatticeVectorFst) -> dict[tuple[int, ...], float]:
    """The best sentences of a lattice, and their costs relative to the best one."""
    found = {}
    for path in nbest(lattice, NUM_PATHS):
        _, words, weight = get_linear_symbol_sequence(path)
        found[tuple(words)] = weight.value1 + weight.value2
    best = min(found.values())
    return {words: cost - best for words, cost in found.items()}


def check_lattices(folder: Path, graph: StdConstFst, trans_model: TransitionModel) -> int:
    """Compares determinized lattices: the sentences within the lattice beam, and what they cost."""
    golden_of, loglikes = golden_lattices(folder), np.load(folder / "loglikes.npz")
    compared = 0
    for name in loglikes.files:
        decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
        decoder.advance_decoding(loglikes[name])
        decoder.finalize_decoding()
        lattice = determinize_lattice_phone_pruned(
            decoder.get_raw_lattice(), trans_model, OPTIONS.lattice_beam
        )
        ours, kaldis = sentences(lattice), sentences(golden_of[name])
        # Beyond the last of the compared paths a lattice may have more, as good as those of the other.
        ends = [max(found.values()) for found in (ours, kaldis) if len(found) == NUM_PATHS]
        limit = min([OPTIONS.lattice_beam - LATTICE_MARGIN, *(end - COST_TOLERANCE for end in ends)])
        expected = {words: cost for words, cost in kaldis.items() if cost < limit}
        assert {words for words, cost in ours.items() if cost < limit} == expected.keys(), name
        assert all(abs(ours[words] - cost) < 0.01 for words, cost in expected.items())
        compared += len(expected)
    return compared


@pytest.mark.parametrize("folder", ["digits", "digits-005"])
def test_digits(
    folder: str, golden: Path, models: Path, digits_graph: StdConstFst, trans_model: TransitionModel
) -> None:
    words = SymbolTable.read_text(str(models / "english" / "graph-digits" / "words.txt"))
    assert check_recordings(golden / folder, digits_graph, trans_model, words) >= 1
    assert check_lattices(golden / folder, digits_graph, trans_model) >= 1


@pytest.mark.parametrize("folder", ["digits", "digits-005"])
def test_digits_of_all_speakers(
    folder: str, shared_golden: Path, models: Path, digits_graph: StdConstFst, trans_model: TransitionModel
) -> None:
    words = SymbolTable.read_text(str(models / "english" / "graph-digits" / "words.txt"))
    assert check_recordings(shared_golden / folder, digits_graph, trans_model, words) >= 2
    assert check_lattices(shared_golden / folder, digits_graph, trans_model) > 10


def test_general_english(shared_golden: Path, models: Path, trans_model: TransitionModel) -> None:
    graph = read_decoding_graph(shared_golden / "general" / "HCLG.fst")
    words = SymbolTable.read_text(str(models / "english" / "graph" / "words.txt"))
    assert check_recordings(shared_golden / "general", graph, trans_model, words) == 6
    assert check_lattices(shared_golden / "general", graph, trans_model) > 100


def test_blocks_of_other_sizes_give_the_same(
    golden: Path, digits_graph: StdConstFst, trans_model: TransitionModel
) -> None:
    loglikes = np.load(golden / "digits" / "loglikes.npz")["ps-librivox-0880"]
    results = []
    for size in (1, 10, len(loglikes)):
        decoder = LatticeFasterOnlineDecoder(digits_graph, OPTIONS, trans_model.id2pdf)
        for begin in range(0, len(loglikes), size):
            decoder.advance_decoding(loglikes[begin : begin + size])
        decoder.finalize_decoding()
        path = decoder.get_best_path()
        results.append((path.words.tolist(), path.alignment.tolist(), path.graph_cost, path.acoustic_cost))
    assert results[0] == results[1] == results[2]


def test_acoustic_costs_are_exact(
    golden: Path, digits_graph: StdConstFst, trans_model: TransitionModel
) -> None:
    loglikes = np.load(golden / "digits" / "loglikes.npz")["ps-librivox-0880"]
    decoder = LatticeFasterOnlineDecoder(digits_graph, OPTIONS, trans_model.id2pdf)
    decoder.advance_decoding(loglikes)
    path = decoder.get_best_path()
    on_path = loglikes[np.arange(len(loglikes)), trans_model.id2pdf[path.alignment]]
    assert path.acoustic_cost == pytest.approx(-on_path.astype(np.float64).sum(), abs=1e-9)


def test_a_second_utterance_starts_afresh(
    golden: Path, digits_graph: StdConstFst, trans_model: TransitionModel
) -> None:
    loglikes = np.load(golden / "digits" / "loglikes.npz")
    decoder = LatticeFasterOnlineDecoder(digits_graph, OPTIONS, trans_model.id2pdf)
    decoder.advance_decoding(loglikes["ps-librivox-0880"])
    decoder.traceback()
    decoder.finalize_decoding()
    alone = LatticeFasterOnlineDecoder(digits_graph, OPTIONS, trans_model.id2pdf)
    decoder.init_decoding()
    for each in (decoder, alone):
        assert each.num_frames_decoded() == 0
        each.advance_decoding(loglikes["ps-tidigits-2934z"])
    assert decoder.get_best_path().alignment.tolist() == alone.get_best_path().alignment.tolist()
    assert [part.tolist() for part in map(np.asarray, decoder.traceback())] == [
        part.tolist() for part in map(np.asarray, alone.traceback())
    ]
