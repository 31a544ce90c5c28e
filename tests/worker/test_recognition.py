"""One request without its socket."""

import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
from pykaldi_server.worker.recording import make_directory


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


def recorded(model: Model, directory: Path, *messages: ClientMessage, request_id: str = "a") -> list[Event]:
    recognition = Recognition(model, WorkerRequestInfo(RequestInfo(id=request_id)), directory)
    try:
        return [event for message in messages for step in recognition.handle(message) for event in step]
    finally:
        recognition.close()


def test_the_audio_is_kept_as_the_model_hears_it(model: Model, golden: Path, tmp_path: Path) -> None:
    file = golden / "wav" / "ps-tidigits-2934z.wav"
    _, samples = read_wav(file)
    recorded(model, tmp_path, Audio(file.read_bytes()), EndOfStream())
    assert [path.name for path in tmp_path.iterdir()] == ["a.raw"]
    assert (tmp_path / "a.raw").read_bytes() == samples.astype("<i2").tobytes()


def test_audio_of_another_rate_is_kept_at_that_of_the_model(
    model: Model, narrow_band: bytes, tmp_path: Path
) -> None:
    recorded(model, tmp_path, Audio(narrow_band), EndOfStream())
    kept = np.frombuffer((tmp_path / "a.raw").read_bytes(), "<i2")
    expected = (len(narrow_band) - 44) // 2 * 2
    assert abs(len(kept) - expected) < 100
    again = recorded(model, tmp_path, Audio(kept.tobytes()), EndOfStream(), request_id="b")
    assert [each.transcript for each in again if isinstance(each, Final)] == ["two nine three four zero"]


def test_a_request_that_is_cut_off_keeps_what_came(model: Model, tmp_path: Path) -> None:
    recorded(model, tmp_path, Audio(bytes(range(200)) * 16))
    assert (tmp_path / "a.raw").read_bytes() == bytes(range(200)) * 16


@pytest.mark.parametrize("request_id", ["../b", "b/c", "/tmp/b", ".."])
def test_no_id_leads_out_of_the_directory(
    model: Model, tmp_path: Path, request_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "kept"
    directory.mkdir()
    recorded(model, directory, Audio(bytes(320)), EndOfStream(), request_id=request_id)
    found = [path.name for path in tmp_path.rglob("*") if path != directory]
    if request_id == "..":
        assert found == ["...raw"]  # a name like others
    else:
        assert found == []
        assert "the audio is not kept" in caplog.text


def test_recognition_goes_on_where_audio_cannot_be_kept(
    model: Model, narrow_band: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = events_of(model, Audio(narrow_band), EndOfStream())
    for directory in (tmp_path / "missing", Path("/dev/full/x")):
        assert recorded(model, directory, Audio(narrow_band), EndOfStream()) == expected
    (tmp_path / "full.raw").symlink_to("/dev/full")
    events = recorded(model, tmp_path, Audio(narrow_band), EndOfStream(), request_id="full")
    assert events == expected
    assert caplog.text.count("the audio is not kept") == 3
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize(("place", "reason"), [("file", "found another file"), ("file/x", "Not a directory")])
def test_places_for_recordings_that_are_no_directories(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"out_dir: expected a directory at .*{place}: {reason}"):
        make_directory(tmp_path / place)


def test_the_directory_for_recordings_is_made(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
