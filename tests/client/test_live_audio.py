"""Live audio from a pipe and from a microphone, whose library is another one here."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import pytest
from click.testing import CliRunner

from pykaldi_server.cli import main
from pykaldi_server.client.live_audio import LiveAudio, microphone, microphone_names, pipe
from pykaldi_server.errors import AudioError


class Stream:
    """Records two pieces, then the device is unplugged."""

    how: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        rate_hz: int,
        *,
        callback: Callable[..., None],
        finished_callback: Callable[[], None],
        **how: Any,
    ) -> None:
        Stream.how = {"rate_hz": rate_hz, **how}
        self._thread = threading.Thread(target=self._record, args=(callback, finished_callback))

    @staticmethod
    def _record(callback: Callable[..., None], finished: Callable[[], None]) -> None:
        callback(memoryview(b"ab"), 1, None, None)
        callback(memoryview(b"cd"), 1, None, None)
        finished()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library with two devices, of which one records, at 48 kHz only."""
    devices = [
        {"name": "loudspeaker", "max_input_channels": 0},
        {"name": "headset", "max_input_channels": 1, "default_samplerate": 48000.0},
    ]
    module: Any = ModuleType("sounddevice")
    module.PortAudioError = type("PortAudioError", (Exception,), {})
    module.RawInputStream = Stream

    def query_devices(device: object = None, kind: str = "") -> object:
        if device == "nothing":
            raise ValueError("No input device matching 'nothing'")
        return devices[1] if kind else devices

    def check_input_settings(device: object, samplerate: int, **how: object) -> None:
        if samplerate != 48000:
            raise module.PortAudioError("Invalid sample rate")

    module.query_devices, module.check_input_settings = query_devices, check_input_settings
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_a_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb") as file:
            file.write(bytes(1 << 20))

    writing = threading.Thread(target=write)
    writing.start()
    with pipe(reader, "a pipe", None) as audio:
        assert sum(map(len, audio)) == 1 << 20
    writing.join()
    os.close(reader)


def test_a_pipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with (
        pytest.raises(AudioError, match=r"^a pipe: Is a directory$"),
        pipe(descriptor, "a pipe", None) as audio,
    ):
        assert list(audio) == []
    os.close(descriptor)


def test_what_is_recorded_before_the_end_is_kept() -> None:
    audio = LiveAudio("test")
    audio.put(b"ab")
    audio.end()
    audio.put(b"cd")
    assert list(audio) == [b"ab"]


@pytest.mark.usefixtures("sounddevice")
def test_a_microphone_at_a_rate_that_it_has() -> None:
    with microphone("1", 16000) as audio:
        assert audio.name == "headset"
        assert audio.content_type == "audio/x-raw,format=S16LE,rate=48000,channels=1"
        assert list(audio) == [b"ab", b"cd"]
    assert Stream.how == {"rate_hz": 48000, "device": 1, "channels": 1, "dtype": "int16"}
    with microphone("", 48000) as audio:
        assert list(audio) == [b"ab", b"cd"]
    assert Stream.how["device"] is None
    assert microphone_names() == [(1, "headset")]


@pytest.mark.usefixtures("sounddevice")
def test_a_microphone_that_is_busy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise sys.modules["sounddevice"].PortAudioError("Device unavailable")

    monkeypatch.setattr(Stream, "__enter__", busy)
    with pytest.raises(AudioError, match=r"^microphone 1: Device unavailable$"), microphone("1", 16000):
        pass
    monkeypatch.setattr(sys.modules["sounddevice"], "query_devices", busy)
    with pytest.raises(AudioError, match=r"^microphones: Device unavailable$"):
        microphone_names()


@pytest.mark.usefixtures("sounddevice")
def test_a_microphone_that_is_not_there_is_named() -> None:
    with pytest.raises(AudioError, match="microphone nothing: No input device"), microphone("nothing", 16000):
        pass


def test_without_its_library_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"pykaldi-server\[microphone\].*arecord"), microphone("", 16000):
        pass


@pytest.mark.usefixtures("sounddevice")
def test_a_microphone_that_goes_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise sys.modules["sounddevice"].PortAudioError("Device disconnected")

    monkeypatch.setattr(Stream, "__exit__", gone)
    with pytest.raises(AudioError, match=r"^microphone 1: Device disconnected$"), microphone("1", 16000):
        pass


@pytest.mark.usefixtures("sounddevice")
def test_where_nothing_records_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["sounddevice"], "query_devices", list)
    with (
        pytest.raises(AudioError, match=r"^microphone \(default\): .* found none$"),
        microphone("", 16000),
    ):
        pass
    ran = CliRunner().invoke(main, ["listen", "--list-devices"])
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "No microphones were found.\n")


def test_an_audio_system_that_does_not_start_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sounddevice.py").write_text(
        "class PortAudioError(Exception): pass\n"
        "raise PortAudioError('Error initializing PortAudio: Unanticipated host error')\n"
    )
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AudioError, match=r"^microphone: Error initializing PortAudio.*arecord"):
        microphone_names()
