"""One request without its socket."""

import io
import wave
from pathlib import Path

import pytest
from golden_data import read_wav

from pykaldi_server.protocols.gstreamer import Audio, EndOfStream, Finalize, KeepAlive, RequestInfo
from pykaldi_server.protocols.worker import WorkerRequestInfo
from pykaldi_server.session import Event, Final, Model
from pykaldi_server.worker.recognition import Recognition


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


def events_of(model: Model, *messages: Audio | EndOfStream | Finalize | KeepAlive) -> list[Event]:
    recognition = Recognition(model, WorkerRequestInfo(RequestInfo(id="a")))
    try:
        return [event for message in messages for step in recognition.handle(message) for event in step]
    finally:
        recognition.close()


def test_ending_a_segment_before_there_is_audio_changes_nothing(model: Model, narrow_band: bytes) -> None:
    expected = events_of(model, Audio(narrow_band), EndOfStream())
    assert any(isinstance(event, Final) for event in expected)
    assert events_of(model, KeepAlive(), Finalize(), Audio(narrow_band), EndOfStream()) == expected
