"""Whole files to events."""

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
