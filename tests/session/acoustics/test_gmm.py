"""Sessions on the GMM model: Kaldi's words, segments that follow each other, a speaker's state."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from golden_data import best_paths, read_wav
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.session import AdaptationState, Event, Final, Model, Partial


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return Model.load(models / "english-gmm")


def recognise(model: Model, samples: NDArray[np.float32], state: str | None = None) -> list[Event]:
    session = model.session(state)
    events = []
    for begin in range(0, len(samples), 4000):
        events += session.accept(samples[begin : begin + 4000])
    return events + session.finish()


def state_of(events: list[Event]) -> str:
    assert isinstance(events[-1], AdaptationState)
    return events[-1].value


def words_of(events: list[Event]) -> list[str]:
    finals = [event for event in events if isinstance(event, Final)]
    return " ".join(final.hypotheses[0].transcript for final in finals).split()


@pytest.mark.parametrize("name", ["ps-cards-001", "ps-cards-005", "ps-tidigits-2934z"])
def test_golden_words(golden: Path, model: Model, name: str) -> None:
    best = best_paths(golden / "gmm" / "fresh" / "best_path.txt")[name]
    events = recognise(model, read_wav(golden / "wav" / f"{name}.wav")[1])
    assert words_of(events) == best.words
    assert any(isinstance(event, Partial) for event in events)


def test_every_frame_is_in_exactly_one_segment(golden: Path, model: Model) -> None:
    samples = read_wav(golden / "long" / "long.wav")[1][: 20 * 16000]
    stream = model.acoustics.start(model.graph, model.endpoint)
    segments = []
    for begin in range(0, len(samples), 800):
        if stream.accept(samples[begin : begin + 800]) and stream.endpoint_detected():
            segments.append((stream.first_frame, stream.num_frames_decoded()))
            stream.end_segment()
            stream.next_segment()
    stream.finish(np.zeros(0, np.float32))
    segments.append((stream.first_frame, stream.num_frames_decoded()))
    assert len(segments) > 2
    starts = [first for first, _ in segments]
    assert starts == np.cumsum([0] + [frames for _, frames in segments[:-1]]).tolist()
    assert sum(frames for _, frames in segments) == (len(samples) - 400) // 160 + 1


def test_adaptation_state_is_carried_on(golden: Path, model: Model) -> None:
    samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]
    first = recognise(model, samples)
    assert isinstance(first[-1], AdaptationState)
    assert words_of(recognise(model, samples, first[-1].value)) == words_of(first)


def test_state_of_another_kind_of_model_starts_afresh(
    golden: Path, models: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    samples = read_wav(golden / "wav" / "ps-cards-001.wav")[1]
    foreign = state_of(recognise(Model.load(models / "english:graph-digits"), samples))
    assert words_of(recognise(model, samples, foreign))
    assert "without the speaker's adaptation state" in caplog.text


def test_original_gmm_plugin(golden: Path, gmm_plugin_config: Path) -> None:
    """`use-nnet2: False`: the original's other plugin, on the speaker-independent model."""
    model = Model.load(gmm_plugin_config)
    samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]
    events = recognise(model, samples)
    assert words_of(events) == ["two", "nine", "three", "four", "zero"]
    assert not any(isinstance(event, AdaptationState) for event in events)
    # After half a second of silence the plugin starts a new utterance.
    silence = np.zeros(16000, np.float32)
    events = recognise(model, np.concatenate([samples, silence, samples]))
    assert sum(isinstance(event, Final) for event in events) >= 2


def test_files_that_the_original_takes_where_none_are_named(models: Path, tmp_path: Path) -> None:
    folder = models / "english-gmm"
    for name, target in {
        "final.mdl": folder / "final.oalimdl",
        "HCLG.fst": folder / "graph-digits" / "HCLG.fst",
        "words.txt": folder / "graph-digits" / "words.txt",
    }.items():
        (tmp_path / name).symlink_to(target)
    config = tmp_path / "digits.yaml"
    config.write_text(
        f"decoder:\n    lda-mat: {folder}/final.mat\n    left-context: 3\n    right-context: 3\n"
    )
    model = Model.load(config)
    assert model.graph_path == tmp_path / "HCLG.fst"
    (tmp_path / "HCLG.fst").unlink()
    with pytest.raises(ConfigError, match=r"decoder: fst: .*there is no such file"):
        Model.load(config)


def test_a_model_without_a_basis_does_not_adapt(golden: Path, models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "english-gmm", tmp_path / "model"))
    config = folder / "conf" / "online_decoding.conf"
    lines = [line for line in config.read_text().splitlines() if "fmllr-basis" not in line]
    config.write_text("\n".join(lines))
    samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]
    assert words_of(recognise(Model.load(folder), samples)) == ["two", "nine", "three", "four", "zero"]
