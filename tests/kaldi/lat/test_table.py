"""Lattices on disk: Kaldi's files are read, what is written reads back the same, and damage is named."""

import math
from pathlib import Path

import pytest
from damage import damaged, refuses_or_reads
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import AnyLattice, arc_parts, final_parts, golden_lattices, raw_lattices

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.lat import LatticeArc, LatticeVectorFst, LatticeWeight
from pykaldi_server.kaldi.lat.functions import convert_lattice_to_compact_lattice
from pykaldi_server.kaldi.lat.table import (
    CompactLatticeWriter,
    LatticeWriter,
    SequentialCompactLatticeReader,
    SequentialLatticeReader,
    read_compact_lattice,
    read_lattice,
)
from pykaldi_server.kaldi.util.io import KaldiReader

Contents = tuple[int, list[tuple[object, list[tuple[object, int]]]]]


def contents(lattice: AnyLattice) -> Contents:
    """Start, and for each state its final weight and its arcs, as plain values."""

    def plain(ids: list[int], weight: LatticeWeight) -> tuple[object, ...]:
        return tuple(ids), weight.value1, weight.value2

    states: list[tuple[object, list[tuple[object, int]]]] = []
    for state in range(lattice.num_states()):
        arcs: list[tuple[object, int]] = []
        for arc in lattice.arcs(state):
            word, ids, weight = arc_parts(arc)
            arcs.append(((word, plain(ids, weight)), arc.nextstate))
        states.append((plain(*final_parts(lattice, state)), arcs))
    return lattice.start(), states


def read_text(text: str) -> LatticeVectorFst:
    return read_lattice(KaldiReader(text.encode(), "lat.txt"))


@pytest.mark.parametrize("folder", ["digits", "general", "segments", "gmm/fresh"])
def test_golden_text_survives_both_forms(golden: Path, tmp_path: Path, folder: str) -> None:
    lattices = golden_lattices(golden / folder)
    assert lattices
    for kind in ("ark", "ark,t"):
        with CompactLatticeWriter(f"{kind}:{tmp_path / 'lat'}") as writer:
            for key, lattice in lattices.items():
                writer[key] = lattice
        again = dict(SequentialCompactLatticeReader(f"ark:{tmp_path / 'lat'}"))
        assert list(again) == list(lattices)
        assert all(contents(again[key]) == contents(lattices[key]) for key in lattices)


def test_golden_lattice_is_as_in_the_text(golden: Path) -> None:
    lattice = golden_lattices(golden / "digits")["ps-goforward"]
    assert lattice.start() == 0
    assert sum(lattice.final(s).weight.value1 != math.inf for s in range(lattice.num_states())) > 0
    assert lattice.num_arcs() == sum(len(lattice.arcs(s)) for s in range(lattice.num_states())) > 50


@settings(max_examples=100, deadline=None)
@given(raw_lattices(), st.booleans())
def test_what_is_written_reads_back(lattice: LatticeVectorFst, binary: bool) -> None:
    lattice.connect()  # the text form does not keep states without arcs
    again = read_lattice(KaldiReader(lattice.write(binary), "lat", binary=False))
    assert contents(again) == contents(lattice)
    compact = convert_lattice_to_compact_lattice(lattice)
    compact_again = read_compact_lattice(KaldiReader(compact.write(binary), "lat", binary=False))
    assert contents(compact_again) == contents(compact)


def test_scripts_point_into_archives(tmp_path: Path) -> None:
    lattice = read_text("\n0 1 5 7 1.5,2\n1 0.5,0\n\n")
    with LatticeWriter(f"ark,scp:{tmp_path / 'a'},{tmp_path / 'b'}") as writer:
        for key in "xyz":
            writer.write(key, lattice)
    again = dict(SequentialLatticeReader(f"scp:{tmp_path / 'b'}"))
    assert [contents(value) for value in again.values()] == [contents(lattice)] * 3


def test_text_defaults_and_order() -> None:
    lattice = read_text("\n3 1 5 7\n1\n0 Infinity,Infinity\n\n")
    assert lattice.start() == 3
    assert lattice.num_states() == 4
    assert lattice.final(1) == LatticeWeight.one()
    assert lattice.final(0) == LatticeWeight.zero()
    arc = lattice.arcs(3)[0]
    assert (arc.ilabel, arc.olabel, arc.weight, arc.nextstate) == (5, 7, LatticeWeight.one(), 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n0 1 7 1,2,3_4\n1 0,0,5\n\n", [[3, 4]]),
        ("\n0\n\n", []),
        ("\n0 1 7\n1\n\n", [[]]),
        ("\n0 1 7 -1,2,\n1\n", [[]]),
        ("  \n0 1 3 7 1,2\r\n1\r\n\n", [[3]]),  # the other kind is converted
    ],
)
def test_compact_text(text: str, words: list[list[int]]) -> None:
    lattice = read_compact_lattice(KaldiReader(text.encode(), "lat.txt"))
    assert [arc.weight.string for s in range(lattice.num_states()) for arc in lattice.arcs(s)] == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n0 1 5 7 nan,1\n", "costs"),
        ("\n0 1 5 7 1,-Infinity\n", "costs"),
        ("\n0 1 5 7 Infinity,Infinity\n", "finite costs"),
        ("\n0 1 5 7 Infinity,1\n", "finite costs"),
        ("\n0 1 5 -7 1,1\n", "a word"),
        ("\n0 1 5 7 1\n", "graph,acoustic"),
        ("\n0 1 5 1,2,3__4\n", "a transition-id"),
        ("\n0 1 5 1,2,3_\n", "graph,acoustic,1_2_3"),
        ("\n0 1 5 1,2,3\n1 0,0\n", "graph,acoustic,1_2_3"),
        ("\n0 1 2 3 4 5\n", "at most 5 fields"),
        ("\n0 1000000 5 7\n", "a state below"),
        ("\nx\n", "a state"),
        (" 0 1 2 3\n", "a newline"),
    ],
)
def test_bad_text_is_named(text: str, expected: str) -> None:
    with pytest.raises(ModelFormatError, match=r"^lat\.txt: at byte \d+: expected .*") as error:
        read_compact_lattice(KaldiReader(text.encode(), "lat.txt"))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("text", "cost"), [("1e-50", 0.0), ("-1e-40", -1e-40), ("+2.5", 2.5), ("1_000", None), ("1e39", None)]
)
def test_costs_are_read_as_kaldi_reads_them(text: str, cost: float | None) -> None:
    reader = KaldiReader(f"\n0 1 5 7 {text},1\n1\n".encode(), "lat.txt")
    if cost is None:
        with pytest.raises(ModelFormatError, match="costs"):
            read_lattice(reader)
    else:
        assert read_lattice(reader).arcs(0)[0].weight.value1 == pytest.approx(cost, rel=1e-4, abs=0)


def test_empty_lattice_has_no_start() -> None:
    lattice = LatticeVectorFst()
    for binary in (True, False):
        again = read_lattice(KaldiReader(lattice.write(binary), "lat", binary=False))
        assert (again.start(), again.num_states()) == (-1, 0)


def test_arcs_lead_to_states_that_exist() -> None:
    lattice = LatticeVectorFst()
    state = lattice.add_state()
    with pytest.raises(IndexError, match="expected a state below 1, found 1"):
        lattice.add_arc(state, LatticeArc(1, 1, LatticeWeight.one(), 1))
    with pytest.raises(ValueError, match="labels of 0 or more"):
        lattice.add_arc(state, LatticeArc(-1, 1, LatticeWeight.one(), 0))
    with pytest.raises(IndexError):
        lattice.set_start(1)


SMALL = read_text("\n0 1 5 7 1.5,2\n0 2 0 3 -0.5,0\n1 2 4 0\n2 0.5,0.25\n\n")
SMALL_COMPACT = read_compact_lattice(
    KaldiReader(b"\n0 1 7 1.5,2,1_2_3\n0 2 3 -1,1,\n1 2 4\n2 0.5,1,7\n\n", "x")
)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.booleans())
def test_damage_is_refused_or_harmless(data: st.DataObject, binary: bool, compact: bool) -> None:
    source = (SMALL_COMPACT if compact else SMALL).write(binary)
    read = read_compact_lattice if data.draw(st.booleans()) else read_lattice
    refuses_or_reads(read, data.draw(damaged(source)), binary=False)
