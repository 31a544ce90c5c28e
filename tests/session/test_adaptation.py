"""Adaptation states with numbers that no audio can have: a session goes on without them."""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import read_wav
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.session import AdaptationState, Final, Model
from pykaldi_server.session.adaptation import SpeakerState

NUMBER = re.compile(r"(?<=\s)-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?=\s)")
WRONG_NUMBERS = ["0", "-1", "1e-300", "1e6", "-1e9", "1e15", "1e30", "-1e30", "3e38", "1e300", "nan", "-inf"]
WARNING = "starting without the speaker's adaptation state"


@pytest.fixture(scope="module")
def samples(golden: Path) -> NDArray[np.float32]:
    return read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]


@pytest.fixture(scope="module")
def network(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


@pytest.fixture(scope="module")
def mixtures(models: Path) -> Model:
    return Model.load(models / "english-gmm")


@pytest.fixture(scope="module")
def network_state(golden: Path) -> str:
    return (golden / "returning" / "ps-librivox-0930.adaptation.txt").read_text()


@pytest.fixture(scope="module")
def mixtures_state(golden: Path) -> str:
    path = golden / "gmm" / "returning" / "ps-librivox-0930.adaptation.txt.gz"
    return gzip.decompress(path.read_bytes()).decode()


def recognise(model: Model, state: str | None, samples: NDArray[np.float32]) -> list[str]:
    session = model.session(state)
    events = session.accept(samples) + session.finish()
    assert isinstance(events[-1], AdaptationState)
    finals = [event for event in events if isinstance(event, Final)]
    assert all(np.isfinite(final.hypotheses[0].likelihood) for final in finals)
    return " ".join(final.hypotheses[0].transcript for final in finals).split()


def replaced(text: str, number: int, value: str) -> str:
    """The text with its number-th number replaced."""
    start, end = [match.span() for match in NUMBER.finditer(text)][number]
    return text[:start] + value + text[end:]


@pytest.mark.parametrize("kind", ["network", "mixtures"])
def test_a_state_of_kaldis_is_used(
    request: pytest.FixtureRequest, kind: str, samples: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model, state = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_state")
    recognise(model, state, samples)
    assert WARNING not in caplog.text


@pytest.mark.parametrize("kind", ["network", "mixtures"])
@pytest.mark.parametrize("number", [5, -5])
def test_a_huge_number_is_logged_and_the_session_starts_afresh(
    request: pytest.FixtureRequest, kind: str, number: int, samples: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The 6th number is of the CMVN statistics or the transform, the 5th last of the other statistics."""
    model, state = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_state")
    words = recognise(model, replaced(state, number, "1e30"), samples)
    assert WARNING in caplog.text
    assert words == recognise(model, None, samples)


@pytest.mark.parametrize("kind", ["network", "mixtures"])
def test_a_text_that_no_bytes_have_is_logged(
    request: pytest.FixtureRequest, kind: str, samples: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model, state = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_state")
    for wrong in ("\udcff" + state, replaced(state, 5, "\ud800")):
        caplog.clear()
        recognise(model, wrong, samples[:16000])
        assert WARNING in caplog.text


@settings(max_examples=25)
@given(place=st.floats(0, 1, exclude_max=True), value=st.sampled_from(WRONG_NUMBERS))
@pytest.mark.parametrize("kind", ["network", "mixtures"])
def test_no_number_ends_a_session(
    request: pytest.FixtureRequest, kind: str, samples: Any, place: float, value: str
) -> None:
    model, state = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_state")
    count = len(NUMBER.findall(state))
    recognise(model, replaced(state, int(place * count), value), samples[:20000])


@pytest.mark.parametrize("factor", [0.5, 1.0, 50.0])
def test_scaled_statistics_have_the_same_ivector(network_state: str, factor: float) -> None:
    """Above `max_count` frames, where the prior grows with them; its 1000 frames count as 100."""
    states = [SpeakerState.from_text(network_state).ivector for _ in range(2)]
    ivectors = []
    for state, scale in zip(states, (10.0, 10.0 * factor), strict=True):
        assert state is not None
        stats = state.ivector_stats
        before = stats.num_frames
        stats.scale(scale)
        assert stats.num_frames == pytest.approx(scale * before)
        ivectors.append(stats.get_ivector(100, np.zeros(stats.ivector_dim())))
    assert ivectors[0] == pytest.approx(ivectors[1], abs=1e-4)


@pytest.mark.parametrize("kind", ["network", "mixtures"])
def test_what_was_learned_stays_as_it_was(
    kind: str, request: pytest.FixtureRequest, samples: NDArray[np.float32]
) -> None:
    """A state that becomes text later is that of the moment when the segment ended."""
    model = request.getfixturevalue(kind)
    stream = model.acoustics.start(model.graph)
    for quantum in np.split(samples[:16000], 10):
        stream.accept(quantum)
    learned, text = stream.learned(), stream.adaptation_state()
    for quantum in np.split(samples[16000:32000], 10):
        stream.accept(quantum)
    assert learned() == text != stream.adaptation_state()
