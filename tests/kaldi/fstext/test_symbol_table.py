"""Symbol tables: text and binary forms, lookups both ways, and damage."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.fstext import NO_SYMBOL, SymbolTable, indices_to_symbols


def test_words_of_the_demo_model(models: Path) -> None:
    path = models / "english" / "graph-digits" / "words.txt"
    table = SymbolTable.read_text(str(path))
    lines = [line.split() for line in path.read_text().splitlines()]
    assert table.items() == [(int(key), symbol) for symbol, key in lines]
    for symbol, key in lines:
        assert table.find_symbol(int(key)) == symbol
        assert table.find_index(symbol) == int(key)
    assert indices_to_symbols(table, [1, 2]) == [lines[1][0], lines[2][0]]
    with pytest.raises(KeyError, match="999999"):
        indices_to_symbols(table, [1, 999999])


def test_lookups_that_fail() -> None:
    table = SymbolTable("few")
    assert table.find_index("a") == NO_SYMBOL
    assert table.find_symbol(0) == ""
    assert not table.member_index(0)
    assert not table.member_symbol("a")
    with pytest.raises(ValueError, match="key of 0 or more"):
        table.add_pair("a", -1)


def test_a_symbol_keeps_its_first_key_and_a_key_its_first_symbol() -> None:
    table = SymbolTable()
    assert table.add_pair("a", 7) == 7
    assert table.add_pair("a", 8) == 7
    assert table.add_pair("b", 7) == 7
    assert table.find_symbol(7) == "a"
    assert table.find_index("b") == 7
    assert table.add_symbol("c") == 8
    assert table.available_key() == 9


symbols = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=6)


@given(st.dictionaries(symbols, st.integers(0, 2**40) | st.integers(0, 50), max_size=120))
@settings(max_examples=60, deadline=None)
def test_both_forms_round_trip(tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, int]) -> None:
    folder = tmp_path_factory.mktemp("symbols")
    table = SymbolTable("some")
    for symbol, key in pairs.items():
        assert table.add_pair(symbol, key) == key
    table.write(str(folder / "a.syms"))
    table.write_text(str(folder / "a.txt"))
    first_of_key = {key: symbol for symbol, key in reversed(pairs.items())}
    for again in (SymbolTable.read(str(folder / "a.syms")), SymbolTable.read_text(str(folder / "a.txt"))):
        assert again.items() == table.items() == [(key, symbol) for symbol, key in pairs.items()]
        assert again.available_key() == table.available_key()
        assert all(again.find_index(symbol) == key for symbol, key in pairs.items())
        assert all(again.find_symbol(key) == symbol for key, symbol in first_of_key.items())


def test_symbols_that_come_again_among_many(tmp_path: Path) -> None:
    """Many are added at a time; the first of the same still wins, near by and far away."""
    symbols = [f"word{number % 700 if number % 5 else number // 10}" for number in range(2000)]
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{symbol} {key}\n" for key, symbol in enumerate(symbols)))
    table = SymbolTable.read_text(str(path))
    first = {symbol: symbols.index(symbol) for symbol in symbols}
    assert {symbol: table.find_index(symbol) for symbol in symbols} == first
    found = {key: table.find_symbol(key) for key in range(2000) if table.member_index(key)}
    assert found == {key: symbol for symbol, key in first.items()}
    assert table.find_index("word") == -1


def test_text_with_spaces_tabs_empty_lines_and_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"<eps> 0\r\n\n  a\t \t1 \nb\xff +2")
    assert SymbolTable.read_text(str(path)).items() == [(0, "<eps>"), (1, "a"), (2, "b\ufffd")]


@pytest.mark.parametrize(
    "line",
    [
        b"a",
        b"a b",
        b"a 1 2",
        b"a -1",
        b"a 1x",
        b"a 1_0",
        b"a +-1",
        b"a 9223372036854775807",
        b"a 99999999999999999999",
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"<eps> 0\n" + line + b"\n")
    with pytest.raises(ModelFormatError, match=r"words\.txt: at byte 8: expected a symbol and its number"):
        SymbolTable.read_text(str(path))


def test_missing_files_and_absurd_counts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SymbolTable.read_text(str(tmp_path / "missing.txt"))
    with pytest.raises(ModelFormatError, match="directory"):
        SymbolTable.read(str(tmp_path))
    table = SymbolTable("n")
    table.add_symbol("a")
    path = tmp_path / "a.syms"
    table.write(str(path))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<q", raw, 4 + 4 + 1 + 8, 2**60)
    path.write_bytes(raw)
    with pytest.raises(ModelFormatError, match="a number of symbols"):
        SymbolTable.read(str(path))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_tables_are_refused_or_stay_safe(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    table = SymbolTable("words")
    for symbol in ("<eps>", "one", "two"):
        table.add_symbol(symbol)
    path = tmp_path_factory.mktemp("symbols") / "a.syms"
    table.write(str(path))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        again = SymbolTable.read(str(path))
    except ModelFormatError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    for key, symbol in again.items():
        assert key >= 0
        assert again.member_index(key)
        assert isinstance(symbol, str)
