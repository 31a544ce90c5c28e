"""The state of the CMVN of a network's input, which goes from one session of a speaker to the next."""

import logging
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from model_files import normalising_model
from numpy.typing import NDArray

from pykaldi_server.kaldi.feat.cmvn import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState
from pykaldi_server.kaldi.online2 import OnlineNnetFeaturePipeline
from pykaldi_server.session import AdaptationState, Event, Final, Model
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics
from pykaldi_server.session.adaptation import SpeakerState, split_state

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return normalising_model(models / "english", tmp_path_factory.mktemp("cmvn"))


@pytest.fixture(scope="module")
def samples(golden: Path) -> Samples:
    return read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]


def recognise(model: Model, samples: Samples, state: str | None = None) -> list[Event]:
    session = model.session(state)
    return [*session.accept(samples), *session.finish()]


def state_of(events: list[Event]) -> str:
    last = events[-1]
    assert isinstance(last, AdaptationState)
    return last.value


def likelihoods(events: list[Event]) -> list[float]:
    return [event.hypotheses[0].likelihood for event in events if isinstance(event, Final)]


def test_the_state_has_both_parts(model: Model, samples: Samples) -> None:
    text = state_of(recognise(model, samples))
    ivector, cmvn = split_state(text)
    assert ivector.endswith("</OnlineIvectorExtractorAdaptationState> ")
    assert ivector + (cmvn or "") == text
    state = SpeakerState.from_text(text)
    assert state.text() == text
    assert state.cmvn is not None
    # All frames of 25 ms, every 10 ms.
    assert state.cmvn.speaker_cmvn_stats[0, -1] == 1 + (len(samples) - 400) // 160


def test_a_model_without_it_has_one_part(models: Path, samples: Samples) -> None:
    text = state_of(recognise(Model.load(models / "english:graph-digits"), samples))
    assert split_state(text) == (text, None)


def test_each_part_has_an_effect(model: Model, samples: Samples) -> None:
    text = state_of(recognise(model, samples))
    ivector, cmvn = split_state(text)
    results = [likelihoods(recognise(model, samples, state)) for state in (None, ivector, cmvn, text)]
    assert len({tuple(each) for each in results}) == 4


def test_frames_go_on_counting(model: Model, samples: Samples) -> None:
    first = SpeakerState.from_text(state_of(recognise(model, samples))).cmvn
    second = SpeakerState.from_text(
        state_of(recognise(model, samples, state_of(recognise(model, samples))))
    ).cmvn
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(second.speaker_cmvn_stats, 2 * first.speaker_cmvn_stats, rtol=1e-5)


def test_the_pipeline_normalises_from_the_state_on(model: Model, samples: Samples) -> None:
    """As CMVN does that was made with the state."""
    assert isinstance(model.acoustics, Nnet3Acoustics)
    info = model.acoustics.features
    state = SpeakerState.from_text(state_of(recognise(model, samples))).cmvn
    assert state is not None
    pipeline = OnlineNnetFeaturePipeline(info)
    pipeline.set_cmvn_state(state)
    plain = OnlineNnetFeaturePipeline(info)
    for each in (pipeline, plain):
        each.accept_waveform(16000, samples)
        each.input_finished()
    found = pipeline.input_feature().get_frames(0, 50)
    source = plain.input_feature()
    assert isinstance(source, OnlineCmvn)
    expected = OnlineCmvn(info.cmvn_opts or OnlineCmvnOptions(), state, source._src).get_frames(0, 50)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - plain.input_feature().get_frames(0, 50)).max() > 0.1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (("<GlobalCmvnStats>", "<Global>"), "expected '<GlobalCmvnStats>'"),
        (("<SpeakerCmvnStats>  [", "<SpeakerCmvnStats>  [\n 1e30"), "CMVN"),
    ],
)
def test_a_damaged_state(
    model: Model, samples: Samples, damage: tuple[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    ivector, cmvn = split_state(state_of(recognise(model, samples)))
    assert cmvn is not None
    assert damage[0] in cmvn
    with caplog.at_level(logging.WARNING):
        events = recognise(model, samples, ivector + cmvn.replace(*damage))
    assert likelihoods(events) == likelihoods(recognise(model, samples))
    assert "starting without the speaker's adaptation state" in caplog.text
    assert reason in caplog.text


def test_a_state_of_another_dimension(
    model: Model, samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    stats = np.ones((2, 14))
    state = SpeakerState(cmvn=OnlineCmvnState(speaker_cmvn_stats=stats)).text()
    events = recognise(model, samples, state)
    assert likelihoods(events) == likelihoods(recognise(model, samples))
    assert "expected shape (2, 41), found (2, 14)" in caplog.text


def test_a_model_without_cmvn_ignores_the_state(models: Path, model: Model, samples: Samples) -> None:
    plain = Model.load(models / "english:graph-digits")
    ivector, cmvn = split_state(state_of(recognise(model, samples)))
    with_both = recognise(plain, samples, ivector + (cmvn or ""))
    assert likelihoods(with_both) == likelihoods(recognise(plain, samples, ivector))
