"""OpenFst files: what is read is what was written, Kaldi's graphs load, and damage is named."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.fstext import (
    FstFormat,
    StdArc,
    StdConstFst,
    StdVectorFst,
    SymbolTable,
    read_decoding_graph,
    read_fst_kaldi,
)

FORMATS = [FstFormat.CONST, FstFormat.ALIGNED_CONST, FstFormat.VECTOR]

Arcs = list[tuple[int, int, float, int]]


def contents(fst: StdConstFst | StdVectorFst) -> tuple[int, list[tuple[float, Arcs]]]:
    """The start state and, for each state, its final cost and its arcs."""
    states = [
        (fst.final(s), [(a.ilabel, a.olabel, a.weight, a.nextstate) for a in fst.arcs(s)])
        for s in range(fst.num_states())
    ]
    return fst.start(), states


def build(states: list[tuple[float, Arcs]], start: int = 0) -> StdConstFst:
    fst = StdVectorFst()
    for final, _ in states:
        state = fst.add_state()
        if final != math.inf:
            fst.set_final(state, final)
    for state, (_, arcs) in enumerate(states):
        for arc in arcs:
            fst.add_arc(state, StdArc(*arc))
    if states:
        fst.set_start(start)
    return StdConstFst(fst)


SMALL = build(
    [(math.inf, [(0, 3, 0.5, 1), (2, 0, -1.0, 0), (7, 5, 0.0, 2)]), (2.5, []), (0.0, [(0, 0, 0.25, 0)])]
)


@st.composite
def fsts(draw: st.DrawFn) -> StdConstFst:
    count = draw(st.integers(0, 6))
    costs = st.floats(-20, 20, width=32)
    labels = st.integers(0, 2**31 - 1)
    arcs = st.tuples(labels, labels, costs, st.integers(0, max(count - 1, 0)))
    states = st.tuples(costs | st.just(math.inf), st.lists(arcs, max_size=4))
    return build(
        draw(st.lists(states, min_size=count, max_size=count)), draw(st.integers(0, max(count - 1, 0)))
    )


@given(fsts(), st.sampled_from(FORMATS), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, fst: StdConstFst, form: FstFormat, symbols: bool
) -> None:
    path = tmp_path_factory.mktemp("fst") / "a.fst"
    if symbols:
        table = SymbolTable("words")
        table.add_symbol("<eps>")
        table.add_pair("안녕", 12)
        fst.set_output_symbols(table)
    fst.write(str(path), form)
    again = read_fst_kaldi(path)
    assert contents(again) == contents(fst)
    assert again.num_arcs() == fst.num_arcs()
    assert again.max_input_label() == fst.max_input_label()
    assert again.input_symbols() is None
    if symbols:
        found = again.output_symbols()
        assert found is not None
        assert found.items() == [(0, "<eps>"), (12, "안녕")]


def test_epsilons_and_arcs_are_counted() -> None:
    assert [SMALL.num_arcs(s) for s in range(3)] == [3, 0, 1]
    assert [SMALL.num_input_epsilons(s) for s in range(3)] == [1, 0, 1]
    assert SMALL.num_arcs() == 4
    assert SMALL.max_output_label() == 5


@pytest.mark.parametrize(
    "labels", [[], [0], [3, 0, 1, 3], [2**31 - 1, 7, 2**26, 2**26 - 1, 2**26 + 5], list(range(200, 0, -1))]
)
def test_output_labels(labels: list[int]) -> None:
    fst = build([(0.0, [(1, label, 0.0, 0) for label in labels])])
    assert fst.output_labels() == sorted(set(labels) - {0})


def test_const_and_vector_fsts_convert(tmp_path: Path) -> None:
    assert contents(StdVectorFst(SMALL)) == contents(SMALL)
    assert contents(StdConstFst(StdVectorFst(SMALL))) == contents(SMALL)


def test_states_are_checked() -> None:
    for state in (-1, 3):
        with pytest.raises(IndexError, match="a state below 3"):
            SMALL.arcs(state)
    with pytest.raises(ModelFormatError, match="a state below 1"):
        build([(0.0, [(1, 1, 0.0, 1)])])
    with pytest.raises(ModelFormatError, match="a cost"):
        build([(0.0, [(1, 1, math.nan, 0)])])
    with pytest.raises(ModelFormatError, match="final cost"):
        build([(-math.inf, [])])


def test_graphs_of_the_demo_models_load(models: Path) -> None:
    digits = read_decoding_graph(models / "english" / "graph-digits" / "HCLG.fst")
    # The counts stand in the header: 8 bytes each, at 49 and 57.
    raw = (models / "english" / "graph-digits" / "HCLG.fst").read_bytes()
    assert (digits.num_states(), digits.num_arcs()) == struct.unpack_from("<qq", raw, 49)
    assert digits.start() == 0
    grammar = read_fst_kaldi(models / "english" / "rescore" / "G.fst")  # a vector FST
    assert grammar.num_states() == 43960
    assert any(grammar.final(s) != math.inf for s in range(grammar.num_states()))


def test_vector_fst_without_a_count_of_states(tmp_path: Path) -> None:
    path = tmp_path / "piped.fst"
    SMALL.write(str(path), FstFormat.VECTOR)
    raw = bytearray(path.read_bytes())
    header = 4 + 4 + len("vector") + 4 + len("standard") + 4 + 4 + 8
    assert struct.unpack_from("<q", raw, header + 8) == (3,)
    struct.pack_into("<q", raw, header + 8, -1)
    path.write_bytes(raw)
    assert contents(read_fst_kaldi(path)) == contents(SMALL)


def test_other_kinds_of_files_are_named(tmp_path: Path, models: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_fst_kaldi(tmp_path / "missing.fst")
    with pytest.raises(ModelFormatError, match="found a directory"):
        read_fst_kaldi(tmp_path)
    empty = tmp_path / "empty.fst"
    empty.write_bytes(b"")
    with pytest.raises(ModelFormatError, match="header of an OpenFst file"):
        read_fst_kaldi(empty)
    with pytest.raises(ModelFormatError, match='"ngram"'):
        read_fst_kaldi(models / "english" / "graph" / "Gr.fst")
    no_labels = tmp_path / "no-labels.fst"
    build([(0.0, [])]).write(str(no_labels))
    with pytest.raises(ModelFormatError, match="no input labels"):
        read_decoding_graph(no_labels)
    no_start = tmp_path / "no-start.fst"
    build([]).write(str(no_start))
    with pytest.raises(ModelFormatError, match="no start state"):
        read_decoding_graph(no_start)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("count", [-2, 4, 2**31, 2**62])
def test_absurd_counts_are_refused(tmp_path: Path, form: FstFormat, count: int) -> None:
    path = tmp_path / "a.fst"
    SMALL.write(str(path), form)
    raw = bytearray(path.read_bytes())
    kind = b"vector" if form == FstFormat.VECTOR else b"const"
    num_states = 4 + 4 + len(kind) + 4 + len("standard") + 4 + 4 + 8 + 8
    struct.pack_into("<q", raw, num_states, count)
    path.write_bytes(raw)
    with pytest.raises(ModelFormatError, match="at byte"):
        read_fst_kaldi(path)


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_refused_or_stay_safe(
    tmp_path_factory: pytest.TempPathFactory, form: FstFormat, data: st.DataObject
) -> None:
    """Whatever still loads after damage has valid states and labels, since everything is checked."""
    path = tmp_path_factory.mktemp("fst") / "a.fst"
    SMALL.write(str(path), form)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        fst = read_fst_kaldi(path)
    except ModelFormatError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    start, states = contents(fst)
    assert -1 <= start < max(len(states), 1)
    for final, arcs in states:
        assert final > -math.inf
        for ilabel, olabel, weight, nextstate in arcs:
            assert ilabel >= 0
            assert olabel >= 0
            assert weight > -math.inf
            assert 0 <= nextstate < len(states)
