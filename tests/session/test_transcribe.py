"""Whole files to events."""

from pathlib import Path

import pytest
from golden_data import best_paths

from pykaldi_server.errors import AudioError
from pykaldi_server.session import AdaptationState, Final, Model, transcribe_file


@pytest.fixture(scope="module")
def model(models) -> Model:
    return Model.load(models / "english:graph-digits")


def test_golden_words(golden, model):
    best = best_paths(golden / "digits-005" / "best_path.txt")["ps-tidigits-2934z"]
    events = list(transcribe_file(model, golden / "wav" / "ps-tidigits-2934z.wav"))
    finals = [event for event in events if isinstance(event, Final)]
    assert " ".join(final.hypotheses[0].transcript for final in finals).split() == best.words


def words(model: Model, path: Path) -> list[str]:
    finals = [event for event in transcribe_file(model, path) if isinstance(event, Final)]
    return " ".join(final.hypotheses[0].transcript for final in finals).split()


def test_recordings_in_other_clothes_have_the_same_words(golden: Path, models: Path) -> None:
    """Formats and layouts on which servers of this kind went wrong, see the README of the cases."""
    model = Model.load(models / "english")
    expected = words(model, golden / "wav" / "ps-librivox-0880.wav")
    assert len(expected) == 8
    cases = [path for path in sorted((golden.parent / "cases").iterdir()) if path.suffix != ".md"]
    assert len(cases) == 7
    for path in cases:
        assert words(model, path) == expected * (2 if path.name == "two-wavs.wav" else 1), path.name


def test_empty_file_has_no_words(model, tmp_path):
    (tmp_path / "empty").touch()
    assert [type(event) for event in transcribe_file(model, tmp_path / "empty")] == [AdaptationState]


def test_what_is_no_audio_is_named(model, tmp_path):
    (tmp_path / "x.ogg").write_bytes(b"OggS" + bytes(range(256)) * 40)
    with pytest.raises(AudioError, match=r"x\.ogg: "):
        list(transcribe_file(model, tmp_path / "x.ogg"))
    with pytest.raises(AudioError, match="found a directory"):
        list(transcribe_file(model, tmp_path))
    with pytest.raises(FileNotFoundError):
        list(transcribe_file(model, tmp_path / "missing"))
