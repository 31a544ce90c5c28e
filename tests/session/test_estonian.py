"""The Estonian demo model, on real recordings: the words that its README promises."""

from pathlib import Path

import pytest
from golden_data import lines

from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

IN_GRAMMAR = ("digits-1-8", "robot-1", "robot-2", "robot-3")
FREE_SPEECH = ("cv-18317429", "cv-20810459")


@pytest.fixture(scope="module")
def recordings(golden: Path) -> Path:
    return golden / "estonian"


@pytest.fixture(scope="module")
def words(recordings: Path) -> dict[str, str]:
    """What is said in each recording."""
    return {name: " ".join(spoken) for name, *spoken in lines(recordings / "text")}


@pytest.fixture(scope="module")
def default_model(models: Path) -> Model:
    return Model.load(models / "estonian")


def segments(model: Model, path: Path) -> list[str]:
    """The best transcript of each segment."""
    events = transcribe(model, path)
    return [event.hypotheses[0].transcript for event in events if isinstance(event, Final)]


@pytest.mark.parametrize("name", IN_GRAMMAR)
def test_the_default_graph_gets_every_word(
    default_model: Model, recordings: Path, words: dict[str, str], name: str
) -> None:
    assert " ".join(segments(default_model, recordings / f"{name}.wav")) == words[name]


def test_a_pause_between_digits_ends_a_segment(default_model: Model, recordings: Path) -> None:
    assert len(segments(default_model, recordings / "digits-1-8.wav")) == 2


@pytest.mark.parametrize(
    ("graph", "name"),
    [("graph-numbers", "digits-1-8"), *(("graph-commands", name) for name in IN_GRAMMAR[1:])],
)
def test_the_graph_for_the_task_gets_every_word(
    models: Path, recordings: Path, words: dict[str, str], graph: str, name: str
) -> None:
    model = Model.load(f"{models}/estonian:{graph}")
    assert model.name == graph.replace("graph", "estonian")
    assert " ".join(segments(model, recordings / f"{name}.wav")) == words[name]


@pytest.mark.parametrize("name", FREE_SPEECH)
def test_free_speech_becomes_words_of_the_grammar(
    default_model: Model, recordings: Path, words: dict[str, str], name: str
) -> None:
    """There is no word for what is not in the grammar, as the README warns."""
    known = {symbol for _, symbol in default_model.words.items()}
    heard = " ".join(segments(default_model, recordings / f"{name}.wav"))
    assert set(heard.split()) <= known
    assert heard != words[name]


def test_words_have_times(default_model: Model, recordings: Path) -> None:
    (event,) = [
        event for event in transcribe(default_model, recordings / "robot-1.wav") if isinstance(event, Final)
    ]
    aligned = event.hypotheses[0].words
    assert [word.word for word in aligned] == ["mine", "kolm", "meetrit", "edasi"]
    ends = [word.start_s + word.length_s for word in aligned]
    assert all(end <= word.start_s + 1e-6 for end, word in zip(ends, aligned[1:], strict=False))
    assert ends[-1] <= event.length_s + 1e-6
