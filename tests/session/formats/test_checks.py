"""Files of different models do not make a model: each mixture is refused when it is loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import WORDS, link_files, replace_file

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import StdArc, StdConstFst, StdVectorFst
from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("kept", [0, 3])
def test_words_that_the_table_lacks(digits: Path, kept: int) -> None:
    table = digits / "graph" / "words.txt"
    replace_file(table, "\n".join(lines(table)[:kept]))
    with pytest.raises(ConfigError, match=rf"{table}: expected a word for each of the 11 output labels"):
        Model.load(digits)


def test_one_word_that_the_table_lacks(digits: Path) -> None:
    table = digits / "graph" / "words.txt"
    (nine,) = [line.split()[1] for line in lines(table) if line.startswith("nine ")]
    replace_file(table, "\n".join(line for line in lines(table) if not line.startswith("nine ")))
    with pytest.raises(ConfigError, match=rf"found none for 1 \({nine}\); use the words\.txt"):
        Model.load(digits)


def test_phones_that_the_word_boundary_file_lacks(digits: Path) -> None:
    boundary = digits / "graph" / "phones" / "word_boundary.int"
    replace_file(boundary, "\n".join(lines(boundary)[:20]))
    with pytest.raises(ConfigError, match=rf"{boundary}: expected the position of each of the model's"):
        Model.load(digits)


def test_phones_that_the_table_of_phones_lacks(digits: Path) -> None:
    table = digits / "graph" / "phones.txt"
    replace_file(table, "\n".join(line for line in lines(table) if not line.endswith(" 131")))
    with pytest.raises(ConfigError, match=rf"{table}: expected a symbol for .*found none for 1 \(131\)"):
        Model.load(digits)


@pytest.mark.parametrize("phones", ["900", "900:901"])
def test_silence_phones_that_do_not_exist(digits: Path, phones: str) -> None:
    config = digits / "conf" / "model.conf"
    with pytest.raises(ConfigError, match=r"endpoint\.silence-phones: expected silence phones of the model"):
        Model.load(digits, **{"endpoint.silence_phones": phones})
    assert Model.load(digits, **{"endpoint.silence_phones": phones}, do_endpointing=False).endpoint is None
    replace_file(config, config.read_text() + f"--endpoint.silence-phones={phones}\n")
    with pytest.raises(ConfigError, match=rf"{digits}.*: expected silence phones of the model, found 900"):
        Model.load(digits)


def test_some_silence_phones_that_do_not_exist(digits: Path, caplog: pytest.LogCaptureFixture) -> None:
    Model.load(digits, **{"endpoint.silence_phones": "1:2:900"})
    assert "there is no phone 900 in the model" in caplog.text


@pytest.fixture
def general(models: Path, tmp_path: Path) -> Path:
    """The general English model, whose graph comes in two parts, with models for rescoring."""
    source = models / "english"
    names = {
        str(path.relative_to(source)): str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and path.relative_to(source).parts[0] != "graph-digits"
    }
    return link_files(source, tmp_path / "general", names)


def test_disambiguating_labels_that_are_transition_ids(general: Path) -> None:
    path = general / "graph" / "disambig_tid.int"
    replace_file(path, f"{path.read_text()}\n17\n")
    with pytest.raises(ConfigError, match=rf"{path}: expected labels above .*, found 17; use the file"):
        Model.load(general)


def test_disambiguating_labels_that_are_not_listed(general: Path) -> None:
    (general / "graph" / "disambig_tid.int").unlink()
    with pytest.raises(ConfigError, match=r"belongs to another model, or .*disambig_tid\.int is missing"):
        Model.load(general)


def linear_fst(*labels: int) -> StdConstFst:
    """A language model of one sentence."""
    fst = StdVectorFst()
    fst.set_start(fst.add_state())
    for state, label in enumerate(labels):
        fst.add_arc(state, StdArc(label, label, 1.0, fst.add_state()))
    fst.set_final(len(labels))
    return StdConstFst(fst)


def test_language_models_with_other_words(digits: Path, models: Path, tmp_path: Path) -> None:
    """The general models have thousands of words, the table of digits a dozen."""
    for name in ("G.fst", "G.carpa"):
        replace_file(digits / "rescore" / name, models / "english" / "rescore" / name)
    with pytest.raises(ConfigError, match=r"G\.fst: expected words of the graph's table, found \d+ others"):
        Model.load(digits)
    replace_file(digits / "rescore" / "G.fst", None)
    linear_fst(3, 4).write(str(digits / "rescore" / "G.fst"))
    with pytest.raises(ConfigError, match=r"G\.carpa: expected words up to 16, .*, found \d{5}"):
        Model.load(digits)


def test_language_models_that_lack_words_of_the_graph(
    general: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace_file(general / "rescore" / "G.fst", None)
    linear_fst(3, 4).write(str(general / "rescore" / "G.fst"))
    assert Model.load(general).rescorer is not None
    assert "there is no n-gram for" in caplog.text


@pytest.fixture
def gmm(models: Path, tmp_path: Path) -> Path:
    """The digits GMM, which has both files for word times."""
    return Path(shutil.copytree(models / "english-gmm", tmp_path / "gmm"))


def word_times(model: Model, path: Path) -> list[tuple[str, float, float]]:
    """The words of a recording, with their times in the segment to the millisecond."""
    return [
        (word.word, round(word.start_s, 3), round(word.length_s, 3))
        for event in transcribe(model, path)
        if isinstance(event, Final)
        for word in event.hypotheses[0].words
    ]


def test_word_times_by_a_lexicon_are_those_by_positions(gmm: Path, golden: Path) -> None:
    recording = golden / "wav" / "ps-tidigits-2934z.wav"
    by_positions = word_times(Model.load(gmm), recording)
    (gmm / "graph-digits" / "phones" / "word_boundary.int").unlink()
    by_lexicon = word_times(Model.load(gmm), recording)
    assert by_lexicon == by_positions
    assert [word for word, _, _ in by_lexicon] == WORDS.split()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: f"{text}3 3 59 999\n", r"expected phones of the model, found 1 \(999\)"),
        (
            lambda text: "".join(line for line in text.splitlines(True) if not line.startswith("3 ")),
            r"expected an entry for each word of the graph, found none for 1 \(3\)",
        ),
        (lambda text: f"{text}0 0\n", "align_lexicon.int: "),
    ],
)
def test_lexicons_of_another_model(gmm: Path, change: Callable[[str], str], expected: str) -> None:
    phones = gmm / "graph-digits" / "phones"
    (phones / "word_boundary.int").unlink()
    lexicon = phones / "align_lexicon.int"
    lexicon.chmod(0o644)
    lexicon.write_text(change(lexicon.read_text()))
    with pytest.raises(ConfigError, match=expected):
        Model.load(gmm)
