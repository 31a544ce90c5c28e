"""What is learned of a speaker without recognition is what a session learns."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from numpy.typing import NDArray

from pykaldi_server.kaldi.online2 import OnlineIvectorExtractorAdaptationState, OnlineSilenceWeightingConfig
from pykaldi_server.session import Model
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics
from pykaldi_server.session.acoustics.stream import Stream
from pykaldi_server.session.adaptation import SpeakerState

QUANTUM_SAMPLES = 800  # of a session of the model: 0.05 s


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english")


@pytest.fixture(scope="module")
def speech(golden: Path) -> NDArray[np.float32]:
    """Several speakers, with silence between them; 24 seconds."""
    paths = sorted((golden / "wav").glob("ps-*.wav"))
    pause = np.zeros(16000, np.float32)
    samples = np.concatenate([part for path in paths for part in (read_wav(path)[1], pause)])
    return samples[: 24 * 16000]


def learned(model: Model, samples: NDArray[np.float32], piece: int) -> OnlineIvectorExtractorAdaptationState:
    """What a learner has learned from samples that come in pieces."""
    learner = model.learner(16000)
    assert learner is not None
    for begin in range(0, len(samples), piece):
        learner.accept(samples[begin : begin + piece])
    text = learner.adaptation_state()
    assert text is not None
    state = SpeakerState.from_text(text).ivector
    assert state is not None
    return state


def heard(model: Model, samples: NDArray[np.float32]) -> OnlineIvectorExtractorAdaptationState:
    """What a stream that recognises the samples has learned, as much of it as it hands on."""
    stream: Stream = model.acoustics.start(model.graph, model.endpoint)
    for begin in range(0, len(samples), QUANTUM_SAMPLES):
        if stream.accept(samples[begin : begin + QUANTUM_SAMPLES]) and stream.endpoint_detected():
            stream.next_segment()
    text = stream.adaptation_state()
    assert text is not None
    state = SpeakerState.from_text(text).ivector
    assert state is not None
    return state


def distance(
    one: OnlineIvectorExtractorAdaptationState, other: OnlineIvectorExtractorAdaptationState
) -> float:
    """The distance of the i-vectors of two states, in standard deviations."""
    ivectors = []
    for state in (one, other):
        state.limit_frames(1000.0, 0.1)
        ivectors.append(state.ivector_stats.get_ivector(100, np.zeros(state.ivector_stats.ivector_dim())))
    return float(np.linalg.norm(ivectors[0] - ivectors[1]))


def weighing_silence(model: Model) -> Model:
    """The model with i-vectors in which silence weighs as much as speech."""
    acoustics = copy.copy(model.acoustics)
    assert isinstance(acoustics, Nnet3Acoustics)
    acoustics.features = copy.copy(acoustics.features)
    acoustics.features.silence_weighting_config = OnlineSilenceWeightingConfig()
    return replace(model, acoustics=acoustics)


def test_a_learner_learns_what_a_session_does(english: Model, speech: NDArray[np.float32]) -> None:
    of_all = weighing_silence(english)
    found, expected = learned(english, speech, 16000), heard(english, speech)
    found_of_all, expected_of_all = learned(of_all, speech, 16000), heard(of_all, speech)
    for more, less in ((found, expected), (found_of_all, expected_of_all)):
        assert more.ivector_stats.num_frames > 1.2 * less.ivector_stats.num_frames, "all, not what is kept"
    far = distance(found, found_of_all)
    assert far > 3, "silence makes a difference"
    # A session has not yet used the last frames; and its search began with the i-vectors that it had then.
    assert distance(found_of_all, expected_of_all) < 0.05 * far
    assert distance(found, expected) < 0.2 * far


def test_silence_is_not_learned(english: Model, speech: NDArray[np.float32]) -> None:
    little, much = (np.concatenate([speech, np.zeros(length_s * 16000, np.float32)]) for length_s in (1, 20))
    found, expected = learned(english, much, 16000), learned(english, little, 16000)
    assert found.ivector_stats.num_frames == pytest.approx(expected.ivector_stats.num_frames, rel=0.02)


def test_pieces_make_no_difference(english: Model, speech: NDArray[np.float32]) -> None:
    samples = speech[: 6 * 16000 + 123]
    found = [learned(english, samples, piece).ivector_stats for piece in (999, 16000, len(samples))]
    for each in found[1:]:
        assert each.num_frames == found[0].num_frames
        assert np.array_equal(each.linear_term, found[0].linear_term)


def test_a_voice_gate_keeps_silence_out(english: Model, models: Path, speech: NDArray[np.float32]) -> None:
    """Also of i-vectors in which it would weigh as much as speech."""
    gated = weighing_silence(Model.load(models / "english", use_vad=True))
    silence = np.zeros(20 * 16000, np.float32)
    samples = np.concatenate([silence, speech[: 10 * 16000], silence])
    with_gate = learned(gated, samples, 16000).ivector_stats.num_frames
    without = learned(weighing_silence(english), samples, 16000).ivector_stats.num_frames
    assert with_gate < 0.3 * without
    assert with_gate > 50


def test_what_does_not_remember_everything_has_no_learner(models: Path) -> None:
    assert Model.load(models / "english-gmm").learner(16000) is None
