"""Constant n-gram models: probabilities by their definition, Kaldi's bytes, and what is wrong with a file."""

import gzip
import math
import struct
from pathlib import Path

import pytest
from damage import damaged, limited_memory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ngrams import BOS, EOS, UNK, WORDS, NgramModel, ngram_models

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi._core import ConstArpaLmBuilder
from pykaldi_server.kaldi.fstext import SymbolTable
from pykaldi_server.kaldi.lm import (
    ConstArpaLm,
    ConstArpaLmDeterministicFst,
    build_const_arpa,
    read_const_arpa,
)

# tmp_path is one folder for all examples of a test; each example overwrites the files of the one before.
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TRIGRAM = NgramModel(
    3,
    {
        (1,): (-1.0, -0.5),
        (2,): (-0.5, 0.0),
        (UNK,): (-2.0, -0.25),
        (BOS,): (-99.0, -0.75),
        (EOS,): (-1.5, 0.0),
        (BOS, 1): (-0.25, -0.125),
        (1, 2): (-0.75, 0.0),
        (1, 1): (-0.5, -0.25),
        (BOS, 1, 2): (-0.125, 0.0),
    },
)


def build(folder: Path, text: str, unk_symbol: int = UNK, **options: object) -> ConstArpaLm:
    (folder / "G.arpa").write_text(text)
    build_const_arpa(
        folder / "G.arpa",
        folder / "G.carpa",
        bos_symbol=BOS,
        eos_symbol=EOS,
        unk_symbol=unk_symbol,
        **options,  # type: ignore[arg-type]
    )
    return read_const_arpa(folder / "G.carpa")


def test_kaldis_file_is_built_from_its_arpa_form(models: Path, tmp_path: Path) -> None:
    original = models / "english/rescore/G.carpa"
    lm = read_const_arpa(original)
    assert lm.get_ngram_order() == 3
    lm.write_arpa(str(tmp_path / "G.arpa"))
    build_const_arpa(
        tmp_path / "G.arpa",
        tmp_path / "G.carpa",
        bos_symbol=lm.get_bos_symbol(),
        eos_symbol=lm.get_eos_symbol(),
        unk_symbol=lm.get_unk_symbol(),
    )
    assert (tmp_path / "G.carpa").read_bytes() == original.read_bytes()


@many
@given(ngram_models(), st.lists(st.sampled_from([*WORDS, BOS, EOS, 5]), max_size=4))
def test_probabilities(tmp_path: Path, model: NgramModel, history: list[int]) -> None:
    lm = build(tmp_path, model.arpa())
    assert lm.get_ngram_order() == model.order
    known = tuple(UNK if word == 5 else word for word in history)
    for word in [*WORDS, EOS, 5, 1000]:
        expected = model.log_prob(UNK if word in (5, 1000) else word, known)
        # float32; the last bit of some is used for something else
        assert lm.get_ngram_log_prob(word, history) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@many
@given(ngram_models(), st.lists(st.sampled_from(WORDS), max_size=5))
def test_automaton(tmp_path: Path, model: NgramModel, words: list[int]) -> None:
    fst = ConstArpaLmDeterministicFst(build(tmp_path, model.arpa()))
    state, cost = fst.start(), 0.0
    for word in words:
        arc = fst.get_arc(state, word)
        assert arc is not None
        cost, state = cost + arc[0], arc[1]
    assert cost + fst.final(state) == pytest.approx(model.sentence_cost(tuple(words)), rel=1e-5)


@many
@given(ngram_models(), st.integers(1, 20))
def test_distant_states_go_to_the_overflow_table(tmp_path: Path, model: NgramModel, offset: int) -> None:
    near = build(tmp_path, model.arpa())
    builder = ConstArpaLmBuilder("G.arpa", BOS, EOS, UNK, None)
    builder.set_max_address_offset(offset)
    builder.feed(model.arpa().encode())
    builder.write(str(tmp_path / "far.carpa"))
    far = read_const_arpa(tmp_path / "far.carpa")
    for history in ([], [1], [BOS], [1, 2], [BOS, 3], [2, 2]):
        for word in [*WORDS, EOS]:
            assert far.get_ngram_log_prob(word, history) == near.get_ngram_log_prob(word, history)


@many
@given(ngram_models(), st.lists(st.integers(1, 60), max_size=5))
def test_file_in_pieces(tmp_path: Path, model: NgramModel, sizes: list[int]) -> None:
    build(tmp_path, model.arpa())
    builder = ConstArpaLmBuilder("G.arpa", BOS, EOS, UNK, None)
    text = model.arpa().encode()
    for size in sizes:
        builder.feed(text[:size])
        text = text[size:]
    builder.feed(text)
    builder.write(str(tmp_path / "pieces.carpa"))
    assert (tmp_path / "pieces.carpa").read_bytes() == (tmp_path / "G.carpa").read_bytes()


def test_without_unknown_word(tmp_path: Path) -> None:
    lm = build(tmp_path, TRIGRAM.arpa(), unk_symbol=-1)
    assert lm.get_unk_symbol() == -1
    fst = ConstArpaLmDeterministicFst(lm)
    # As in Kaldi, "no probability" is a tiny positive number that a backoff swallows: 1 has one, 2 has not.
    state = fst.start()
    for word in (1, 2):
        arc = fst.get_arc(state, word)
        assert arc is not None
        state = arc[1]
    assert fst.get_arc(state, 5) is None
    arc = fst.get_arc(fst.start(), 5)
    assert arc is not None
    assert arc[0] == pytest.approx(0.75 * math.log(10))


def test_history_states(tmp_path: Path) -> None:
    lm = build(tmp_path, TRIGRAM.arpa())
    assert lm.history_state_exists([])
    assert lm.history_state_exists([BOS, 1])
    assert not lm.history_state_exists([1, 2])
    assert not lm.history_state_exists([2])


def test_old_form_without_tokens(tmp_path: Path) -> None:
    new = build(tmp_path, TRIGRAM.arpa())
    data = (tmp_path / "G.carpa").read_bytes()

    def section(begin: bytes, end: bytes) -> bytes:
        return data[data.index(begin) + len(begin) : data.index(end)]

    def int32s(values: bytes) -> list[bytes]:
        return [b"\4" + values[i : i + 4] for i in range(0, len(values), 4)]

    def int64s(values: bytes) -> list[bytes]:
        return [b"\x08" + values[i : i + 8] for i in range(0, len(values), 8)]

    states = int32s(section(b"<LmStates> ", b"</LmStates>")[9:])
    unigrams = int64s(section(b"<LmUnigram> ", b"</LmUnigram>")[5:])
    parts = [b"\0B", section(b"<LmInfo> ", b"</LmInfo>")]
    parts += [b"\4" + struct.pack("<i", len(states)), *states]
    parts += [b"\4" + struct.pack("<i", len(unigrams)), *unigrams, b"\4" + struct.pack("<i", 0)]
    (tmp_path / "old.carpa").write_bytes(b"".join(parts))
    old = read_const_arpa(tmp_path / "old.carpa")
    for history in ([], [1], [BOS, 1], [2]):
        for word in (1, 2, UNK, EOS):
            assert old.get_ngram_log_prob(word, history) == new.get_ngram_log_prob(word, history)


def test_symbols_and_gzip_and_progress(tmp_path: Path) -> None:
    names = {1: "one", 2: "two", UNK: "<unk>", BOS: "<s>", EOS: "</s>"}
    table = SymbolTable()
    for key, name in names.items():
        table.add_pair(name, key)
    text = (
        TRIGRAM.arpa(names)
        .replace("ngram 1=5", "ngram 1=6")
        .replace("-2.0\t<unk>", "-2.0\tthree\n-2.0\t<unk>")
    )
    (tmp_path / "G.arpa.gz").write_bytes(gzip.compress(text.encode()))
    seen: list[tuple[int, int]] = []
    skipped = build_const_arpa(
        tmp_path / "G.arpa.gz",
        tmp_path / "symbols.carpa",
        unk_symbol="<unk>",
        symbols=table,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert skipped == 1
    assert seen[-1] == (len((tmp_path / "G.arpa.gz").read_bytes()),) * 2
    build(tmp_path, TRIGRAM.arpa())
    assert (tmp_path / "symbols.carpa").read_bytes() == (tmp_path / "G.carpa").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ngram 1=5", "ngram x=5", r"G\.arpa:3: expected a count"),
        ("ngram 1=5", "ngram 99999999=5", "expected a count"),
        ("ngram 1=5", "ngram 1=4", "expected 4 1-grams"),
        ("\\2-grams:", "\\3-grams:", r"expected \\2-grams:, found"),
        ("\\end\\", "", r"expected \\end\\, found the end"),
        ("\\data\\", "", r"expected \\data\\, found the end"),
        ("-0.75\t1 2", "-0.75\t1", "a logarithm, 2 words and perhaps a backoff"),
        ("-0.25\t8 1", "nan\t8 1", "the logarithm of a probability"),
        ("-0.25\t8 1", "x\t8 1", "the logarithm of a probability"),
        ("-0.25\t8 1", "-0.25\t8 0", "a word"),
        ("-0.25\t8 1", "-0.25\t8 2147483647", "a word"),
        ("-0.25\t8 1", "-0.25\tone 1", "a word"),
        ("-0.125\t8 1 2", "-0.125\t8 1 2 -0.5", "a logarithm, 3 words"),
        ("-0.125\t8 1 2", "-0.125\t8 2 2", "3-gram whose first 2 words"),
        ("-0.75\t1 2", "-0.75\t1 1", "each n-gram once"),
        ("-1.5\t9", "-1.5\t3", "1-grams up to those of the beginning"),
    ],
)
def test_bad_arpa_files(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = TRIGRAM.arpa()
    assert old in text
    with pytest.raises(ModelFormatError, match=expected):
        build(tmp_path, text.replace(old, new))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["G.arpa"]


@pytest.mark.parametrize(
    ("text", "log10"),
    [
        *[
            ("-1e-40", -1e-40),
            ("-1e-60", 0.0),
            ("-1.5e-45", -1.4e-45),
            ("1e-999", 0.0),
        ],  # as strtof reads them
        *[
            ("+0.5", 0.5),
            ("-.5", -0.5),
            ("-5.", -5.0),
            ("-05e-1", -0.5),
            ("-5E+0", -5.0),
            ("-Inf", -math.inf),
        ],
    ],
)
def test_numbers_that_kaldi_reads(tmp_path: Path, text: str, log10: float) -> None:
    lm = build(tmp_path, TRIGRAM.arpa().replace("-0.25\t8 1", f"{text}\t8 1"))
    found = lm.get_ngram_log_prob(1, [BOS])
    assert found == pytest.approx(log10 * math.log(10), rel=1e-5, abs=1.5e-45)


@pytest.mark.parametrize(
    "text",
    [
        "7_000",
        "-7_000",
        "0x10",
        "1e40",
        "-1e40",
        "1,5",
        "+-1",
        "-+1",
        "--1",
        "1e",
        "1e+",
        "-",
        "e5",
        "\uff15",
    ],
)
def test_numbers_that_kaldi_refuses(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelFormatError, match="expected the logarithm of a probability, found"):
        build(tmp_path, TRIGRAM.arpa().replace("-0.25\t8 1", f"{text}\t8 1"))


@pytest.mark.parametrize("word", ["1_0", "+-1", "1.0", "0x1"])
def test_words_are_plain_integers(tmp_path: Path, word: str) -> None:
    with pytest.raises(ModelFormatError, match="expected a word"):
        build(tmp_path, TRIGRAM.arpa().replace("-0.25\t8 1", f"-0.25\t8 {word}"))


@pytest.mark.parametrize(
    ("bos", "eos", "unk"), [(0, 2, -1), (1, 1, -1), (1, 2, 0), (1, 2, 2), ("<s>", 2, -1)]
)
def test_bad_words_for_beginning_and_end(tmp_path: Path, bos: int | str, eos: int, unk: int) -> None:
    (tmp_path / "G.arpa").write_text(TRIGRAM.arpa())
    with pytest.raises(ConfigError, match="expected"):
        build_const_arpa(tmp_path / "G.arpa", tmp_path / "x", bos_symbol=bos, eos_symbol=eos, unk_symbol=unk)
    with pytest.raises(ConfigError, match=r"expected <s> in the table"):
        build_const_arpa(tmp_path / "G.arpa", tmp_path / "x", symbols=SymbolTable())


def test_files_that_are_not_there_or_cut_off(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_const_arpa(tmp_path / "G.carpa")
    with pytest.raises(FileNotFoundError):
        build_const_arpa(tmp_path / "G.arpa", tmp_path / "x", bos_symbol=1, eos_symbol=2)
    (tmp_path / "G.arpa").write_bytes(gzip.compress(TRIGRAM.arpa().encode())[:-12])
    with pytest.raises(ModelFormatError, match="complete gzip file"):
        build_const_arpa(tmp_path / "G.arpa", tmp_path / "x", bos_symbol=1, eos_symbol=2)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ModelFormatError, match="binary file of Kaldi"):
        read_const_arpa(tmp_path / "empty")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_models_do_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    """They are refused at once, or when a probability is asked for, or give other probabilities."""
    path = tmp_path / "G.carpa"
    if not path.exists():
        build(tmp_path, TRIGRAM.arpa())
        path.rename(tmp_path / "good.carpa")
    path.write_bytes(data.draw(damaged((tmp_path / "good.carpa").read_bytes())))
    with limited_memory():
        try:
            lm = read_const_arpa(path)
            for history in ([], [1], [BOS, 1], [1, 1], [2]):
                lm.history_state_exists(history)
                for word in (1, 2, 5, EOS, 2**31 - 1, -1):
                    lm.get_ngram_log_prob(word, history)
            lm.write_arpa(str(tmp_path / "damaged.arpa"))
        except ModelFormatError as error:
            assert "G.carpa" in str(error)  # noqa: PT017
    path.unlink()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_arpa_files_do_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    builder = ConstArpaLmBuilder("G.arpa", BOS, EOS, UNK, None)
    with limited_memory():
        try:
            builder.feed(data.draw(damaged(TRIGRAM.arpa().encode())))
            builder.write(str(tmp_path / "G.carpa"))
        except ModelFormatError as error:
            assert str(error).startswith("G.arpa:")  # noqa: PT017
