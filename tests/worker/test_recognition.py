"""One request without its socket."""

import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from golden_data import read_wav

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.gstreamer import (
    Audio,
    ClientMessage,
    EndOfStream,
    Finalize,
    KeepAlive,
    RequestInfo,
    Reset,
    SetOptions,
)
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.worker import WorkerRequestInfo
from pykaldi_server.session import Event, Final, Model
from pykaldi_server.worker.recognition import Recognition, status_of


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


@pytest.fixture
def narrow_band(golden: Path) -> bytes:
    """A WAV file with 8000 samples a second, which the model's rate is not."""
    _, samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(samples[::2].astype("<i2").tobytes())
    return file.getvalue()


def events_of(
    model: Model, *messages: ClientMessage, options: Mapping[str, Any] | None = None
) -> list[Event]:
    recognition = Recognition(model, WorkerRequestInfo(RequestInfo(id="a"), options or {}))
    try:
        return [event for message in messages for step in recognition.handle(message) for event in step]
    finally:
        recognition.close()


def test_ending_a_segment_before_there_is_audio_changes_nothing(model: Model, narrow_band: bytes) -> None:
    expected = events_of(model, Audio(narrow_band), EndOfStream())
    assert any(isinstance(event, Final) for event in expected)
    assert events_of(model, KeepAlive(), Finalize(), Audio(narrow_band), EndOfStream()) == expected


def finals_of(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def test_options_of_the_request_and_later_ones_come_together(model: Model, narrow_band: bytes) -> None:
    plain = finals_of(events_of(model, Audio(narrow_band), EndOfStream()))
    assert [(len(final.hypotheses), bool(final.words)) for final in plain] == [(1, True)]
    changed = finals_of(
        events_of(
            model,
            SetOptions({"do_word_alignment": "false"}),
            Audio(narrow_band),
            EndOfStream(),
            options={"num-nbest": 3},
        )
    )
    assert [(len(final.hypotheses), bool(final.words)) for final in changed] == [(3, False)]


def test_options_after_the_first_audio_have_no_effect(model: Model, narrow_band: bytes) -> None:
    messages = Audio(narrow_band), SetOptions({"num-nbest": 3}), EndOfStream()
    assert [len(final.hypotheses) for final in finals_of(events_of(model, *messages))] == [1]


@pytest.mark.parametrize("options", [{"num-nbest": 0}, {"colour": "red"}, {"frames-per-chunk": 20}])
def test_options_that_are_unknown_or_invalid_are_refused_by_name(
    model: Model, options: dict[str, Any]
) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name) as raised:
        events_of(model, options=options)
    with pytest.raises(ConfigError, match=name):
        events_of(model, SetOptions(options))
    assert status_of(raised.value) == (Status.NOT_ALLOWED, str(raised.value))


def test_a_reset_gives_the_final_result_and_times_go_on(model: Model, narrow_band: bytes) -> None:
    samples = narrow_band[44:]  # without the header, which begins a file
    recognition = Recognition(model, WorkerRequestInfo(RequestInfo("audio/x-raw, rate=8000", id="a")))
    assert list(recognition.handle(Reset())) == [[]]
    found = []
    for message in (Audio(samples), Reset(), Audio(samples), EndOfStream()):
        found.append(finals_of([event for step in recognition.handle(message) for event in step]))
    recognition.close()
    assert [[final.transcript for final in each] for each in found] == [
        [],
        ["two nine three four zero"],
        [],
        ["two nine three four zero"],
    ]
    assert found[3][0].start_s == pytest.approx(len(samples) / 2 / 8000, abs=0.001)
