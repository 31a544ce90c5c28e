"""Compiled graphs are the composition, trimmed; damage is named; files are replaced whole or not at all."""

import math
import multiprocessing
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, limited_memory
from golden_data import best_paths
from hypothesis import assume, given, settings
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
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import (
    CompiledGraph,
    StdConstFst,
    compile_graph,
    compiled_for,
    compiled_from,
    graph_fingerprint,
    graph_stamp,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import LatticeVectorFst
from pykaldi_server.kaldi.util.io import KaldiReader

# Weights that are pushed ahead are rounded to 1/1024.
COST_TOLERANCE = 0.01
OPTIONS = LatticeFasterDecoderOptions(beam=13.0, max_active=7000, min_active=200, lattice_beam=6.0)

# After so many frames some have been pruned, which happens every 25 frames, and some have not.
PARTLY_PRUNED_FRAMES = 32

# Zeros behind the records of a graph, at its end when it has no table of words.
PADDING_BYTES = 64

# A word of each of these labels, which need one, two, three and four bytes; state 0 has too many arcs to be
# counted in a byte.
LABELS = [1, 70, 300, 70_000, 2**24 + 1]
WIDE_HCL: States = [
    (1.5, [(label + i, label, 0.5 * i, 1 if i % 2 else 0) for label in LABELS for i in range(20)]),
    (0.0, [(5, 0, 0.25, 2)]),
    (math.inf, [(0, 0, 0.75, 0)]),
]
ANY_WORD: Model = {(): History(0.0, 0.0, dict.fromkeys(LABELS, 0.0)), (0,): History(0.5)}


def make_folder(folder: Path, hcl: bytes, grammar: bytes, disambig: str = "") -> Path:
    write(folder, "HCLr.fst", hcl)
    write(folder, "Gr.fst", grammar)
    write(folder, "disambig_tid.int", disambig.encode())
    return folder


def compiled(folder: Path) -> CompiledGraph:
    compile_graph(folder, folder / "a.graph")
    return CompiledGraph.read(str(folder / "a.graph"))


def paths_of(fst: StdConstFst) -> Paths:
    """All paths of an FST without cycles."""
    paths: Paths = {}

    def walk(state: int, inputs: tuple[int, ...], outputs: tuple[int, ...], cost: float) -> None:
        if fst.final(state) < math.inf:
            paths[inputs, outputs] = min(paths.get((inputs, outputs), math.inf), cost + fst.final(state))
        arcs = fst.arcs(state)
        assert arcs or fst.final(state) < math.inf, "a dead end"
        for arc in arcs:
            longer = inputs + (arc.ilabel,) * (arc.ilabel > 0)
            walk(arc.nextstate, longer, outputs + (arc.olabel,) * (arc.olabel > 0), cost + arc.weight)

    walk(fst.start(), (), (), 0.0)
    return paths


@given(hcl_states(), ngram_models() | grammar_states())
@settings(max_examples=60, deadline=None)
def test_compiled_graphs_are_compositions(
    tmp_path_factory: pytest.TempPathFactory, hcl: States, grammar: Model | States
) -> None:
    if isinstance(grammar, dict):
        packed, states = pack_ngram(grammar), ngram_states(grammar)
    else:
        packed, states = pack_const(grammar), grammar
    folder = make_folder(tmp_path_factory.mktemp("g"), pack_olabel_lookahead(hcl), packed, "6")
    expected = composed_paths(hcl, states, frozenset({6}))
    assume(any(inputs for inputs, _ in expected))
    found = paths_of(compiled(folder).to_const())
    assert found.keys() == expected.keys()
    for key, cost in expected.items():
        assert found[key] == pytest.approx(cost, abs=COST_TOLERANCE), key


def test_large_labels_and_many_arcs(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, pack_olabel_lookahead(WIDE_HCL), pack_ngram(ANY_WORD))
    graph = compiled(folder)
    assert graph.max_input_label() == LABELS[-1] + 19
    fst = graph.to_const()
    assert graph.output_labels() == fst.output_labels()
    assert graph.output_labels()
    reader = read_lookahead_graph(folder).reader()
    number = {reader.start(): fst.start()}
    open_states = [reader.start()]
    for state in open_states:  # grows
        arcs = reader.arcs(state)
        # Arcs without input label come first in a compiled graph; the others may change their order.
        ours = sorted((a.ilabel, a.olabel, a.weight) for a in arcs)
        assert ours == sorted((a.ilabel, a.olabel, a.weight) for a in fst.arcs(number[state]))
        assert fst.final(number[state]) == reader.final(state)
        for arc in arcs:
            match = next(
                a for a in fst.arcs(number[state]) if (a.ilabel, a.olabel) == (arc.ilabel, arc.olabel)
            )
            if arc.nextstate not in number:
                number[arc.nextstate] = match.nextstate
                open_states.append(arc.nextstate)
            assert number[arc.nextstate] == match.nextstate
    assert len(number) == graph.num_states()
    assert graph.num_arcs() == sum(fst.num_arcs(s) for s in range(fst.num_states()))


def test_dead_ends_are_left_out(tmp_path: Path) -> None:
    # Word 2 can come next, but nothing after it.
    hcl: States = [(math.inf, [(1, 1, 0.0, 1), (2, 2, 0.0, 2)]), (0.0, []), (math.inf, [])]
    grammar: States = [(0.0, [(1, 1, 0.0, 0), (2, 2, 0.0, 0)])]
    graph = compiled(make_folder(tmp_path, pack_olabel_lookahead(hcl), pack_const(grammar)))
    assert (graph.num_states(), graph.num_arcs()) == (2, 1)


def test_a_graph_without_paths(tmp_path: Path) -> None:
    hcl: States = [(math.inf, [(1, 1, 0.0, 1)]), (math.inf, [])]
    folder = make_folder(tmp_path, pack_olabel_lookahead(hcl), pack_const([(0.0, [(1, 1, 0.0, 0)])]))
    with pytest.raises(ModelFormatError, match="no path to a final state") as caught:
        compile_graph(folder, folder / "a.graph")
    assert str(caught.value).startswith(str(folder))
    assert not (folder / "a.graph").exists()


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hcl: States = [
        (0.5, [(1, 0, 0.5, 1), (2, 3, 0.25, 0), (0, 0, 0.25, 1)]),
        (math.inf, [(3, 1, 0.0, 0), (4, 2, 0.125, 1)]),
    ]
    folder = tmp_path_factory.mktemp("small")
    make_folder(
        folder, pack_olabel_lookahead(hcl), pack_ngram(ANY_WORD | {(1,): History(1.0, 2.0, {70: 1.0})})
    )
    return folder


@pytest.fixture(scope="module")
def small_file(small_folder: Path) -> bytes:
    compile_graph(small_folder, small_folder / "a.graph")
    return (small_folder / "a.graph").read_bytes()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage(tmp_path_factory: pytest.TempPathFactory, small_file: bytes, data: st.DataObject) -> None:
    path = write(tmp_path_factory.mktemp("g"), "a.graph", data.draw(damaged(small_file)))
    message, graph = str(path), None
    with limited_memory():
        try:
            graph = CompiledGraph.read(str(path))
        except ModelFormatError as error:
            message = str(error)
    assert message.startswith(str(path))
    if graph is not None:
        assert graph.to_const().num_arcs() == graph.num_arcs()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_searching_a_damaged_graph(
    tmp_path_factory: pytest.TempPathFactory, small_file: bytes, data: st.DataObject
) -> None:
    """A large graph is not checked before it is used: whatever is in it, a search stays within it."""
    path = write(tmp_path_factory.mktemp("g"), "a.graph", data.draw(damaged(small_file)))
    loglikes = np.log(np.full((6, 5), 0.2, np.float32))
    with limited_memory(), suppress(ModelFormatError, DecoderError, ConfigError):
        graph = CompiledGraph.read(str(path), check=False)
        assert graph.num_bytes() == path.stat().st_size
        decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, np.arange(-1, 5, dtype=np.int32))
        decoder.advance_decoding(loglikes)
        decoder.finalize_decoding()
        assert len(decoder.get_best_path().alignment) <= len(loglikes)
        assert decoder.get_raw_lattice().num_states() > 0


@pytest.mark.parametrize("number", [math.nan, -math.inf, math.inf, -3e38, 3e38])
def test_searching_a_graph_with_an_impossible_number(
    tmp_path: Path, small_file: bytes, number: float
) -> None:
    loglikes = np.log(np.full((6, 5), 0.2, np.float32))
    num_right = 0
    for place in range(0, len(small_file) - PADDING_BYTES, 4):
        content = small_file[:place] + np.float32(number).tobytes() + small_file[place + 4 :]
        with suppress(ModelFormatError, DecoderError, ConfigError):
            graph = CompiledGraph.read(str(write(tmp_path, "a.graph", content)), check=False)
            decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, np.arange(-1, 5, dtype=np.int32))
            decoder.advance_decoding(loglikes)
            decoder.finalize_decoding()
            assert len(decoder.get_best_path().alignment) <= len(loglikes)
            assert decoder.get_raw_lattice().num_states() > 0
            num_right += 1
    assert num_right > 0


def test_a_search_that_failed_leaves_nothing_to_the_next_one(tmp_path: Path, small_file: bytes) -> None:
    """All searches of a thread work in the same memory, in turn."""
    loglikes = np.log(np.full((6, 5), 0.2, np.float32))

    def search(content: bytes) -> list[int]:
        graph = CompiledGraph.read(str(write(tmp_path, "a.graph", content)), check=False)
        decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, np.arange(-1, 5, dtype=np.int32))
        decoder.advance_decoding(loglikes)
        return list(decoder.get_best_path().alignment)

    expected = search(small_file)
    num_failed = 0
    for place in range(0, len(small_file) - PADDING_BYTES, 4):
        damaged_file = small_file[:place] + b"\xff\xff\xff\x7f" + small_file[place + 4 :]
        with suppress(DecoderError, ConfigError):
            try:
                search(damaged_file)
            except ModelFormatError as error:
                num_failed += "expected next states below" in str(error)
        assert search(small_file) == expected
    assert num_failed > 0


def test_a_check_finds_what_reading_does_not(tmp_path: Path, small_file: bytes) -> None:
    content = bytearray(small_file)
    end_of_records = len(content) - PADDING_BYTES
    content[end_of_records - 4 : end_of_records] = b"\xff" * 4  # the last cost
    path = write(tmp_path, "a.graph", bytes(content))
    graph = CompiledGraph.read(str(path), check=False)
    with pytest.raises(ModelFormatError, match="at byte"):
        graph.check()
    with pytest.raises(ModelFormatError, match="at byte"):
        CompiledGraph.read(str(path))


def test_the_table_of_output_labels_is_that_of_the_arcs(tmp_path: Path) -> None:
    """Whoever opens a graph has them from the table, and goes through no arcs."""
    make_folder(tmp_path, pack_olabel_lookahead(WIDE_HCL), pack_ngram(ANY_WORD))
    compile_graph(tmp_path, tmp_path / "a.graph")
    intact = (tmp_path / "a.graph").read_bytes()
    labels = CompiledGraph.read(str(tmp_path / "a.graph")).output_labels()
    assert labels == LABELS
    table = np.array(labels, "<i4").tobytes()  # comes before the arcs
    for changed in ([*labels[:-1], labels[-1] + 1], [*labels[1:], labels[-1] + 1]):
        path = write(tmp_path, "b.graph", intact.replace(table, np.array(changed, "<i4").tobytes(), 1))
        graph = CompiledGraph.read(str(path), check=False)
        assert graph.output_labels() == changed
        with pytest.raises(
            ModelFormatError, match=r"expected the output labels of the arcs, next \d+, found"
        ):
            graph.check()
    path = write(tmp_path, "c.graph", intact.replace(table, np.array(labels[::-1], "<i4").tobytes(), 1))
    with pytest.raises(ModelFormatError, match="expected ascending output labels, found"):
        CompiledGraph.read(str(path), check=False)


def test_parts_of_known_sizes_and_times_are_not_read(tmp_path: Path) -> None:
    make_folder(tmp_path, pack_olabel_lookahead(WIDE_HCL), pack_ngram(ANY_WORD))
    out, grammar = tmp_path / "a.graph", tmp_path / "Gr.fst"
    assert not compiled_from(out, tmp_path)
    compile_graph(tmp_path, out)
    stamp = CompiledGraph.read_stamp(str(out))
    assert stamp == graph_stamp(tmp_path)
    assert compiled_from(out, tmp_path)
    # Another time, the same contents: they are compared, and the time is noted.
    os.utime(grammar, ns=(1, 1))
    assert CompiledGraph.read_stamp(str(out)) != graph_stamp(tmp_path)
    assert compiled_from(out, tmp_path)
    assert CompiledGraph.read_stamp(str(out)) == graph_stamp(tmp_path) != stamp
    CompiledGraph.read(str(out))
    # Other contents of another time, and of the same.
    content = bytearray(grammar.read_bytes())
    content[-5] ^= 1
    grammar.write_bytes(content)
    assert not compiled_from(out, tmp_path)
    os.utime(grammar, ns=(1, 1))
    assert compiled_from(out, tmp_path)
    assert not compiled_for(out, graph_fingerprint(tmp_path))


def test_a_graph_is_made_when_its_parts_change(tmp_path: Path) -> None:
    make_folder(tmp_path, pack_olabel_lookahead(WIDE_HCL), pack_ngram(ANY_WORD))
    out = tmp_path / "a.graph"
    assert not compiled_for(out, graph_fingerprint(tmp_path))
    steps: list[str] = []
    compile_graph(tmp_path, out, lambda what, _done, _total: steps.append(what))
    assert list(dict.fromkeys(steps)) == ["composing", "ordering", "measuring", "writing"]
    first = out.read_bytes()
    inode = out.stat().st_ino
    compile_graph(tmp_path, out, lambda what, _done, _total: pytest.fail(what))
    assert out.stat().st_ino == inode

    write(tmp_path, "disambig_tid.int", b"5")
    assert not compiled_for(out, graph_fingerprint(tmp_path))
    compile_graph(tmp_path, out)
    assert compiled_for(out, graph_fingerprint(tmp_path))
    assert out.read_bytes() != first


def test_what_killed_processes_left_is_removed(tmp_path: Path, small_folder: Path) -> None:
    leftovers = [tmp_path / ".m[v2].graph-abc", tmp_path / ".other.graph-abc"]
    for leftover in leftovers:
        leftover.touch()
    compile_graph(small_folder, tmp_path / "m[v2].graph")
    assert [leftover.exists() for leftover in leftovers] == [False, True]


def test_unfinished_work_leaves_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path, pack_olabel_lookahead(WIDE_HCL), pack_ngram(ANY_WORD))
    before = sorted(path.name for path in tmp_path.iterdir())

    def stop_writing(what: str, _done: int, _total: int) -> None:
        if what == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_graph(tmp_path, tmp_path / "a.graph", stop_writing)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    # What a process left that was killed goes with the next one.
    write(tmp_path, ".a.graph-killed", b"half")
    compile_graph(tmp_path, tmp_path / "a.graph")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "a.graph"])


def test_processes_that_want_the_same_graph(models: Path, tmp_path: Path) -> None:
    folder, out = models / "english" / "graph", tmp_path / "a.graph"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=compile_graph, args=(folder, out)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.graph"]
    assert compiled_for(out, graph_fingerprint(folder))


# The English demo model.


@pytest.fixture(scope="module")
def english(models: Path, tmp_path_factory: pytest.TempPathFactory) -> CompiledGraph:
    out = tmp_path_factory.mktemp("compiled") / "english.graph"
    compile_graph(models / "english" / "graph", out)
    return CompiledGraph.read(str(out))


def test_words_of_general_english(english: CompiledGraph, models: Path) -> None:
    """Not every word of the language model has to be in the graph."""
    grammar = read_lookahead_graph(models / "english" / "graph").output_labels()
    assert set(english.output_labels()) <= set(grammar)
    assert len(english.output_labels()) > 20_000
    symbols = english.output_symbols()
    assert symbols is not None
    assert all(symbols.member_index(label) for label in grammar)


def test_all_kernels_make_the_same_lattices(
    english: CompiledGraph, golden: Path, models: Path, monkeypatch: pytest.MonkeyPatch, kernels: str
) -> None:
    """Bit by bit: all compute the same sums, and take what is below the same cutoff."""
    monkeypatch.setenv("PYKALDI_SERVER_KERNELS", kernels)
    trans_model = TransitionModel.read(KaldiReader.open(models / "english" / "am" / "final.mdl"))
    loglikes = np.load(golden / "general" / "loglikes.npz")
    static = english.to_const()
    for name in loglikes.files[:2]:
        unpruned, lattices = [], []
        for graph in (english, static):
            decoder = LatticeFasterOnlineDecoder(graph, OPTIONS, trans_model.id2pdf)
            decoder.advance_decoding(loglikes[name][:PARTLY_PRUNED_FRAMES])
            unpruned.append(links(decoder.get_raw_lattice(use_final_probs=False)))
            decoder.advance_decoding(loglikes[name][PARTLY_PRUNED_FRAMES:])
            decoder.finalize_decoding()
            lattices.append(links(decoder.get_raw_lattice()))
        assert unpruned[0] == unpruned[1], name
        assert lattices[0] == lattices[1], name


def test_links_have_the_labels_and_costs_of_their_arcs(
    english: CompiledGraph, golden: Path, models: Path
) -> None:
    """Before the first pruning of a frame, when they are looked up on demand, and after it."""
    id2pdf = TransitionModel.read(KaldiReader.open(models / "english" / "am" / "final.mdl")).id2pdf
    loglikes = np.load(golden / "general" / "loglikes.npz")
    arcs: dict[tuple[int, int], set[float]] = {}
    static = english.to_const()
    for state in range(static.num_states()):
        for arc in static.arcs(state):
            arcs.setdefault((arc.ilabel, arc.olabel), set()).add(arc.weight)
    for name in loglikes.files[:2]:
        decoder = LatticeFasterOnlineDecoder(english, OPTIONS, id2pdf)
        decoder.advance_decoding(loglikes[name][:PARTLY_PRUNED_FRAMES])
        path = decoder.get_best_path(use_final_probs=False)
        frames = np.arange(len(path.alignment))
        costs = -loglikes[name][frames, id2pdf[path.alignment]].astype(np.float64)
        assert len(frames) == min(PARTLY_PRUNED_FRAMES, len(loglikes[name]))
        assert path.acoustic_cost == pytest.approx(costs.sum())
        found = links(decoder.get_raw_lattice(use_final_probs=False))
        assert len(found) > len(frames)
        for ilabel, olabel, graph_cost, _acoustic_cost in found:
            assert graph_cost in arcs[ilabel, olabel]


def links(lattice: LatticeVectorFst) -> list[tuple[int, int, float, float]]:
    """The arcs of a lattice, without regard to the numbers of its states."""
    arcs = [arc for state in range(lattice.num_states()) for arc in lattice.arcs(state)]
    return sorted((arc.ilabel, arc.olabel, arc.weight.value1, arc.weight.value2) for arc in arcs)


def test_general_english(english: CompiledGraph, golden: Path, models: Path) -> None:
    trans_model = TransitionModel.read(KaldiReader.open(models / "english" / "am" / "final.mdl"))
    loglikes = np.load(golden / "general" / "loglikes.npz")
    expected = best_paths(golden / "general" / "best_path.txt")
    assert loglikes.files
    for name in loglikes.files:
        decoder = LatticeFasterOnlineDecoder(english, OPTIONS, trans_model.id2pdf)
        decoder.advance_decoding(loglikes[name])
        decoder.finalize_decoding()
        path = decoder.get_best_path()
        assert path.alignment.tolist() == expected[name].alignment
        assert path.graph_cost == pytest.approx(expected[name].graph_cost, rel=1e-3)


def read_const(path: Path) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """States and arcs of an unaligned const FST without symbols."""
    header_bytes = 4 + 4 + len("const") + 4 + len("standard") + 4 + 4 + 8
    num_states, num_arcs = np.fromfile(path, "<i8", 2, offset=header_bytes + 8)
    states = np.dtype([("final", "<u4"), ("begin", "<u4"), ("arcs", "<u4"), ("epsilons", "<u4", 2)])
    arcs = np.dtype([("labels", "<u8"), ("weight", "<u4"), ("next", "<i4")])
    offset = header_bytes + 24
    return (
        np.fromfile(path, states, num_states, offset=offset),
        np.fromfile(path, arcs, num_arcs, offset=offset + num_states * states.itemsize),
    )


def signatures(path: Path) -> NDArray[np.uint64]:
    """A number for each state that stands for all paths of a few arcs from there, labels and exact costs."""
    states, arcs = read_const(path)
    factor = np.uint64(0x9E3779B97F4A7C15)
    source = np.repeat(np.arange(len(states)), states["arcs"])

    def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        values = (values ^ (values >> np.uint64(31))) * factor
        return values ^ (values >> np.uint64(29))

    found = mixed(states["final"].astype(np.uint64) + factor)
    labels = mixed(arcs["labels"]) ^ arcs["weight"]
    for _ in range(6):
        sums = np.zeros(len(states), np.uint64)
        np.add.at(sums, source, mixed(labels + mixed(found[arcs["next"]])))
        found = mixed(found * factor + sums)
    return np.sort(found)


def test_english_is_the_graph_that_openfst_composed(
    english: CompiledGraph, shared_golden: Path, tmp_path: Path
) -> None:
    fst = english.to_const()
    fst.set_output_symbols(None)
    fst.write(str(tmp_path / "HCLG.fst"))
    theirs = shared_golden / "general" / "HCLG.fst"
    assert np.array_equal(signatures(tmp_path / "HCLG.fst"), signatures(theirs))
