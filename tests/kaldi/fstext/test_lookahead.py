"""Lookahead graphs: what is composed is the composition, damage is named, threads and bounds change nothing.

Costs of paths are compared within 0.01: weights that are pushed ahead are rounded to 1/1024 where they become
part of a state, as in OpenFst.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, limited_memory
from golden_data import BestPath, best_paths
from hypothesis import given, settings
from hypothesis import strategies as st
from lookahead_files import (
    History,
    Model,
    Paths,
    States,
    composed_paths,
    grammar_states,
    hcl_states,
    ngram_models,
    ngram_states,
    pack_const,
    pack_ngram,
    pack_olabel_lookahead,
    write,
)

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import (
    LookaheadFst,
    StdArc,
    StdConstFst,
    StdVectorFst,
    SymbolTable,
    indices_to_symbols,
    read_disambig_labels,
    read_fst_kaldi,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader

COST_TOLERANCE = 0.01
OPTIONS = LatticeFasterDecoderOptions(beam=13.0, max_active=7000, min_active=200, lattice_beam=6.0)
# A network computes 7 frames of the decoder at once.
CHUNK_FRAMES = 7

HCL: States = [
    (math.inf, [(1, 0, 0.5, 1), (2, 0, 0.25, 2), (3, 3, 1.0, 3)]),
    (math.inf, [(4, 1, 0.0, 3), (5, 2, 0.0, 3)]),
    (math.inf, [(6, 4, 0.0, 3), (2, 0, 0.1, 2)]),
    (0.5, [(1, 0, 0.0, 0)]),
]
MODEL: Model = {
    (): History(0.0, 3.0, {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}),
    (0,): History(0.5, math.inf, {1: 0.5}),
    (1,): History(0.25, 1.0, {2: 0.5, 4: 0.75}),
    (2, 1): History(0.125, 2.0, {1: 0.5}),
    (2,): History(0.75, math.inf, {}),
}


def read(folder: Path, hcl: bytes, grammar: bytes, disambig: list[int] | None = None) -> LookaheadFst:
    hcl_path = write(folder, "HCLr.fst", hcl)
    return LookaheadFst.read(str(hcl_path), str(write(folder, "Gr.fst", grammar)), disambig or [])


def walked_paths(fst: LookaheadFst) -> Paths:
    """All paths of a composition without cycles."""
    reader = fst.reader()
    paths: Paths = {}

    def walk(state: int, inputs: tuple[int, ...], outputs: tuple[int, ...], cost: float) -> None:
        if reader.final(state) < math.inf:
            paths[inputs, outputs] = min(paths.get((inputs, outputs), math.inf), cost + reader.final(state))
        arcs = reader.arcs(state)
        assert reader.num_input_epsilons(state) == sum(arc.ilabel == 0 for arc in arcs)
        for arc in arcs:
            walk(
                arc.nextstate,
                inputs + (arc.ilabel,) * (arc.ilabel > 0),
                outputs + (arc.olabel,) * (arc.olabel > 0),
                cost + arc.weight,
            )

    walk(reader.start(), (), (), 0.0)
    return paths


def visit_some_states(fst: LookaheadFst) -> None:
    reader = fst.reader()
    states = [reader.start()] if reader.start() >= 0 else []
    for state in states:
        reader.final(state)
        arcs = reader.arcs(state)
        if len(states) < 99:
            states += {arc.nextstate for arc in arcs} - set(states)


def assert_same(found: Paths, expected: Paths) -> None:
    assert found.keys() == expected.keys()
    for key, cost in expected.items():
        assert found[key] == pytest.approx(cost, abs=COST_TOLERANCE), key


@given(hcl_states(), ngram_models(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_composition_with_an_ngram_model(
    tmp_path_factory: pytest.TempPathFactory, hcl: States, model: Model, keep_map: bool
) -> None:
    fst = read(tmp_path_factory.mktemp("g"), pack_olabel_lookahead(hcl, keep_map), pack_ngram(model))
    assert_same(walked_paths(fst), composed_paths(hcl, ngram_states(model)))


@given(hcl_states(), grammar_states())
@settings(max_examples=60, deadline=None)
def test_composition_with_a_const_grammar(
    tmp_path_factory: pytest.TempPathFactory, hcl: States, grammar: States
) -> None:
    disambig = [5, 6]
    folder = tmp_path_factory.mktemp("g")
    fst = read(folder, pack_olabel_lookahead(hcl), pack_const(grammar), disambig)
    assert_same(walked_paths(fst), composed_paths(hcl, grammar, frozenset(disambig)))
    assert fst.max_input_label() <= 4


@given(ngram_models())
@settings(max_examples=30, deadline=None)
def test_an_ngram_model_is_the_fst_it_stands_for(
    tmp_path_factory: pytest.TempPathFactory, model: Model
) -> None:
    # Composed with a chain of any words, a model shows all its sequences of that length.
    chain: States = [(math.inf, [(word, word, 0.0, i + 1) for word in range(1, 5)]) for i in range(3)]
    chain.append((0.0, []))
    folder = tmp_path_factory.mktemp("g")
    fst = read(folder, pack_olabel_lookahead(chain), pack_ngram(model))
    assert_same(walked_paths(fst), composed_paths(chain, ngram_states(model)))


def test_dead_ends_are_not_entered(tmp_path: Path) -> None:
    grammar: States = [(math.inf, [(4, 40, 1.5, 1)]), (0.0, [])]
    reader = read(tmp_path, pack_olabel_lookahead(HCL), pack_const(grammar)).reader()
    arcs = reader.arcs(reader.start())
    # Word 4 is the only one that comes to an end, so it is put out at once, with its cost.
    assert [(arc.ilabel, arc.olabel, arc.weight) for arc in arcs] == [(2, 40, 1.75)]


def test_a_weight_is_pushed_ahead_and_taken_off(tmp_path: Path) -> None:
    reader = read(tmp_path, pack_olabel_lookahead(HCL), pack_ngram(MODEL)).reader()
    backoff = next(arc for arc in reader.arcs(reader.start()) if arc.ilabel == 0)
    first = next(arc for arc in reader.arcs(backoff.nextstate) if arc.ilabel == 1)
    log_sum = -math.log(math.exp(-1.0) + math.exp(-2.0))
    assert first.weight == pytest.approx(0.5 + log_sum, abs=1e-6)
    words = {arc.ilabel: arc.weight for arc in reader.arcs(first.nextstate)}
    rounded = math.floor(log_sum * 1024 + 0.5) / 1024
    assert words == {4: pytest.approx(1.0 - rounded, abs=1e-6), 5: pytest.approx(2.0 - rounded, abs=1e-6)}


def test_readers_ask_for_states_that_exist(tmp_path: Path) -> None:
    reader = read(tmp_path, pack_olabel_lookahead(HCL), pack_ngram(MODEL)).reader()
    start = reader.start()
    for state in (-1, start + 1):
        with pytest.raises(IndexError, match="a state below 1"):
            reader.arcs(state)


@given(st.data(), st.sampled_from(["hcl", "ngram", "const"]))
@settings(max_examples=300, deadline=None)
def test_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, which: str) -> None:
    files = {"hcl": pack_olabel_lookahead(HCL), "ngram": pack_ngram(MODEL), "const": pack_const(HCL[:1])}
    files[which] = data.draw(damaged(files[which]))
    folder = tmp_path_factory.mktemp("g")
    grammar = files["const" if which == "const" else "ngram"]
    message, fst = str(folder), None
    with limited_memory():
        try:
            fst = read(folder, files["hcl"], grammar)
        except ModelFormatError as error:
            message = str(error)
    assert message.startswith(str(folder))
    if fst is not None:
        visit_some_states(fst)


def test_input_labels_do_not_ask_for_much_memory(tmp_path: Path) -> None:
    hcl = [*HCL[:2], (math.inf, [(2147483647, 4, 0.0, 3), (2, 0, 0.1, 2)]), HCL[3]]
    with limited_memory(), pytest.raises(ModelFormatError, match=r"input labels up to .* found 2147483647"):
        read(tmp_path, pack_olabel_lookahead(hcl), pack_ngram(MODEL))


@pytest.mark.parametrize("word", ["0", "-1", "2147483648", "x"])
def test_disambiguation_labels_are_labels(tmp_path: Path, word: str) -> None:
    path = write(tmp_path, "disambig_tid.int", f"7\n{word}\n".encode())
    with pytest.raises(ModelFormatError, match=r"disambig_tid\.int: expected input labels"):
        read_disambig_labels(path)


def test_missing_and_empty_graphs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_lookahead_graph(tmp_path)
    write(tmp_path, "Gr.fst", pack_ngram(MODEL))
    write(tmp_path, "HCLr.fst", pack_olabel_lookahead([(0.0, [])]))
    with pytest.raises(ModelFormatError, match="a decoding graph"):
        read_lookahead_graph(tmp_path)
    write(tmp_path, "HCLr.fst", pack_ngram(MODEL))
    with pytest.raises(ModelFormatError, match='"olabel_lookahead"'):
        read_lookahead_graph(tmp_path)


# The English demo model. Log-likelihoods are those that Kaldi's decoder saw; Kaldi searched the graph that
# OpenFst had composed.


@pytest.fixture(scope="module")
def trans_model(models: Path) -> TransitionModel:
    return TransitionModel.read(KaldiReader.open(models / "english" / "am" / "final.mdl"))


def english_graph(models: Path, **options: int) -> LookaheadFst:
    return read_lookahead_graph(models / "english" / "graph", **options)


def decode(
    graph: LookaheadFst, trans_model: TransitionModel, loglikes: np.ndarray, words: SymbolTable | None = None
) -> BestPath:
    decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
    for begin in range(0, len(loglikes), CHUNK_FRAMES):
        decoder.advance_decoding(loglikes[begin : begin + CHUNK_FRAMES])
        decoder.traceback()
    partial = decoder.partial_words()
    assert partial.tolist() == decoder.get_best_path(use_final_probs=False).words.tolist()
    decoder.finalize_decoding()
    path = decoder.get_best_path()
    table = words or graph.output_symbols()
    assert table is not None
    spoken = indices_to_symbols(table, path.words)
    return BestPath(path.graph_cost, path.acoustic_cost, spoken, path.alignment.tolist())


def assert_golden(found: dict[str, BestPath], folder: Path) -> None:
    golden = best_paths(folder / "best_path.txt")
    for name, path in found.items():
        expected = golden[name]
        assert (path.words, path.alignment) == (expected.words, expected.alignment), name
        assert path.graph_cost == pytest.approx(expected.graph_cost, rel=1e-3)
        assert path.acoustic_cost == pytest.approx(expected.acoustic_cost, rel=1e-3)


def test_general_english(golden: Path, models: Path, trans_model: TransitionModel) -> None:
    graph = english_graph(models)
    loglikes = np.load(golden / "general" / "loglikes.npz")
    found = {name: decode(graph, trans_model, loglikes[name]) for name in loglikes.files}
    assert found
    assert_golden(found, golden / "general")


def test_a_const_grammar_with_its_own_words(
    golden: Path, models: Path, trans_model: TransitionModel, tmp_path: Path
) -> None:
    # The same model as Kaldi's recipes have it: backoff by the word #0, relabelled words on the input side
    # only. Here the other side has them in reverse.
    source = read_fst_kaldi(models / "english" / "rescore" / "G.fst")
    words = SymbolTable.read_text(str(models / "english" / "graph" / "words.txt"))
    backoff = words.find_index("#0")
    grammar = StdVectorFst()
    for state in range(source.num_states()):
        grammar.add_state()
        if source.final(state) < math.inf:
            grammar.set_final(state, source.final(state))
        for arc in sorted(source.arcs(state), key=lambda arc: arc.ilabel):
            olabel = backoff - arc.olabel if 0 < arc.olabel < backoff else 0
            grammar.add_arc(state, StdArc(arc.ilabel, olabel, arc.weight, arc.nextstate))
    grammar.set_start(source.start())
    StdConstFst(grammar).write(str(tmp_path / "Gr.fst"))
    for name in ("HCLr.fst", "disambig_tid.int"):
        (tmp_path / name).symlink_to(models / "english" / "graph" / name)
    reverse = SymbolTable()
    for key, symbol in words.items():
        reverse.add_pair(symbol, backoff - key if 0 < key < backoff else key)

    graph = read_lookahead_graph(tmp_path)
    loglikes = np.load(golden / "general" / "loglikes.npz")
    found = {name: decode(graph, trans_model, loglikes[name], reverse) for name in loglikes.files}
    assert_golden(found, golden / "general")


def test_all_speakers(shared_golden: Path, models: Path, trans_model: TransitionModel) -> None:
    graph = english_graph(models)
    loglikes = np.load(shared_golden / "general" / "loglikes.npz")
    found = {name: decode(graph, trans_model, loglikes[name]) for name in loglikes.files}
    assert_golden(found, shared_golden / "general")


def tracebacks(
    graph: LookaheadFst, trans_model: TransitionModel, loglikes: np.ndarray
) -> list[tuple[int, list[int]]]:
    decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
    changes = []
    for begin in range(0, len(loglikes), CHUNK_FRAMES):
        decoder.advance_decoding(loglikes[begin : begin + CHUNK_FRAMES])
        first, transition_ids = decoder.traceback()
        changes.append((first, transition_ids.tolist()))
    return changes


def test_a_full_store_changes_nothing(golden: Path, models: Path, trans_model: TransitionModel) -> None:
    graph = english_graph(models, store_bytes=1)
    loglikes = np.load(golden / "general" / "loglikes.npz")
    name = loglikes.files[0]
    assert_golden({name: decode(graph, trans_model, loglikes[name])}, golden / "general")
    # States get new numbers before each block; the best path is followed all the same.
    assert tracebacks(graph, trans_model, loglikes[name]) == tracebacks(
        english_graph(models), trans_model, loglikes[name]
    )


def test_threads_share_a_graph(golden: Path, models: Path, trans_model: TransitionModel) -> None:
    # A store for about a second of speech: threads fill it, leave it, and find each other's states.
    graph = english_graph(models, store_bytes=4 << 20)
    loglikes = np.load(golden / "general" / "loglikes.npz")
    blocks = {name: loglikes[name] for name in loglikes.files}
    names = list(blocks) * 2
    with ThreadPoolExecutor(4) as pool:
        for name, path in zip(
            names, pool.map(lambda name: decode(graph, trans_model, blocks[name]), names), strict=True
        ):
            assert_golden({name: path}, golden / "general")


def test_words_are_those_of_words_txt(models: Path) -> None:
    folder = models / "english" / "graph"
    table = SymbolTable.read_text(str(folder / "words.txt"))
    embedded = english_graph(models).output_symbols()
    assert embedded is not None
    assert dict(embedded.items()) == dict(table.items())
