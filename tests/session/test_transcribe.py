"""Whole recordings to events, wherever they are."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import best_paths, read_wav

from pykaldi_server.errors import AudioError, ConfigError, DecoderError
from pykaldi_server.session import AdaptationState, Final, Model, Partial
from pykaldi_server.session.text_processor import Result
from pykaldi_server.session.transcribe import transcribe

NAME = "ps-tidigits-2934z"


@pytest.fixture(scope="module")
def path(golden: Path) -> Path:
    return golden / "wav" / f"{NAME}.wav"


def words_of(events: Any) -> list[str]:
    return " ".join(event.transcript for event in events if isinstance(event, Final)).split()


@pytest.mark.parametrize(
    "source_of",
    [
        lambda path: path,
        str,
        Path.read_bytes,
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: read_wav(path)[1],
        lambda path: read_wav(path)[1].astype(np.int16)[:, np.newaxis],
    ],
    ids=["path", "str", "bytes", "bytearray", "memoryview", "file", "float array", "int16 column"],
)
def test_golden_words_from_any_source(
    golden: Path, digits: Model, path: Path, source_of: Callable[[Path], Any]
) -> None:
    best = best_paths(golden / "digits-005" / "best_path.txt")[NAME]
    assert words_of(transcribe(digits, source_of(path))) == best.words


def test_recordings_in_other_clothes_have_the_same_words(golden: Path, models: Path) -> None:
    """Formats and layouts on which servers of this kind went wrong, see the README of the cases."""
    model = Model.load(models / "english")
    expected = words_of(transcribe(model, golden / "wav" / "ps-librivox-0880.wav"))
    assert len(expected) == 8
    cases = [path for path in sorted((golden.parent / "cases").iterdir()) if path.suffix != ".md"]
    assert len(cases) == 7
    for path in cases:
        found = words_of(transcribe(model, path))
        assert found == expected * (2 if path.name == "two-wavs.wav" else 1), path.name


def test_open_files(digits: Model, path: Path) -> None:
    with path.open("rb") as file:
        assert len(words_of(transcribe(digits, file))) == 5
    with path.open(encoding="latin-1") as text, pytest.raises(AudioError, match="binary mode"):
        list(transcribe(digits, text))  # type: ignore[arg-type]


def test_a_model_by_its_name(models: Path, path: Path) -> None:
    assert len(words_of(transcribe(f"{models}/english:graph-digits", path))) == 5


def test_arrays_of_any_rate_and_scale(digits: Model, path: Path) -> None:
    samples = read_wav(path)[1] / 32768
    assert len(words_of(transcribe(digits, samples, sample_rate_hz=16000.0, full_scale=1.0))) == 5
    slower = list(transcribe(digits, samples, sample_rate_hz=8000, full_scale=1.0, options={"beam": 1}))
    whole = [event for event in slower if isinstance(event, Final)]
    assert whole[-1].end_s > 1.5 * len(samples) / 16000
    with pytest.raises(AudioError, match="sample_rate_hz: expected a whole number"):
        list(transcribe(digits, samples, sample_rate_hz=0))
    for arguments in ({"sample_rate_hz": 16000}, {"full_scale": 1.0}):
        with pytest.raises(AudioError, match="expected an array of samples, found a file"):
            list(transcribe(digits, path, **arguments))


def test_raw_bytes_have_a_content_type(digits: Model, path: Path) -> None:
    data = read_wav(path)[1].astype(">i2").tobytes()
    caps = "audio/x-raw, rate=16000, format=S16BE, channels=1"
    assert len(words_of(transcribe(digits, data, content_type=caps))) == 5


def test_options_and_adaptation(digits: Model, path: Path) -> None:
    events = list(transcribe(digits, path))
    state = events[-1]
    assert isinstance(state, AdaptationState)
    again = list(transcribe(digits, path, adaptation_state=state.value))
    assert again[-1] != state
    without = list(transcribe(digits, path, options={"do-adaptation": False, "do-word-alignment": "no"}))
    assert isinstance(without[-1], Final)
    assert without[-1].words == ()
    with pytest.raises(ConfigError, match="num-nbest"):
        list(transcribe(digits, path, options={"num-nbest": "x"}))


def test_text_processor(digits: Model, path: Path) -> None:
    names = set()

    class Shout:
        def process(self, result: Result, request_id: str) -> Result:
            names.add(request_id)
            if isinstance(result, Partial):
                return replace(result, transcript="...")
            return replace(
                result,
                hypotheses=tuple(replace(h, transcript=h.transcript.upper()) for h in result.hypotheses),
            )

    for source in (path, read_wav(path)[1]):
        *partials, final, state = transcribe(digits, source, text_processor=Shout())
        assert {partial.transcript for partial in partials if isinstance(partial, Partial)} == {"..."}
        assert isinstance(final, Final)
        assert final.transcript == "TWO NINE THREE FOUR ZERO"
        assert isinstance(state, AdaptationState)
    assert names == {str(path), "samples"}


def test_leaving_early_closes_the_session(digits: Model, path: Path) -> None:
    sessions = []

    class Watched(Model):
        def session(self, *args: Any, **kwargs: Any) -> Any:
            sessions.append(super().session(*args, **kwargs))
            return sessions[-1]

    model = Watched(**vars(digits))
    for source in (path, read_wav(path)[1]):
        events = transcribe(model, source)
        next(events)
        events.close()  # type: ignore[attr-defined]
        with pytest.raises(DecoderError, match="closed"):
            sessions[-1].accept(b"")


def test_empty_file_has_no_words(digits: Model, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert [type(event) for event in transcribe(digits, tmp_path / "empty")] == [AdaptationState]


def test_what_is_no_audio_is_named(digits: Model, tmp_path: Path) -> None:
    damaged = b"OggS" + bytes(range(256)) * 40
    (tmp_path / "x.ogg").write_bytes(damaged)
    with pytest.raises(AudioError, match=r"x\.ogg: "):
        list(transcribe(digits, tmp_path / "x.ogg"))
    with (tmp_path / "x.ogg").open("rb") as file, pytest.raises(AudioError, match=r"x\.ogg: "):
        list(transcribe(digits, file))
    with pytest.raises(AudioError, match="audio: "):
        list(transcribe(digits, damaged))
    with pytest.raises(AudioError, match="found a directory"):
        list(transcribe(digits, tmp_path))
    with pytest.raises(FileNotFoundError):
        list(transcribe(digits, tmp_path / "missing"))
    with pytest.raises(AudioError, match="found object"):
        list(transcribe(digits, None))  # type: ignore[arg-type]
    with pytest.raises(AudioError, match=r"found \(\)"):
        list(transcribe(digits, np.array(1.0)))
    for channels in ("left", "right"):
        with pytest.raises(AudioError, match=rf"channels={channels}: .* found shape \(9, 0\)"):
            list(transcribe(digits, np.zeros((9, 0), np.int16), channels=channels))
