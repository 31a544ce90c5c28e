"""Live audio for programs that wait for it: a microphone, or a pipe that another program writes to.

Whoever waits can be interrupted at any time, also by a signal, without losing what has been recorded.
"""

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from pykaldi_server.errors import AudioError, error_text

__all__ = ["LiveAudio", "microphone", "microphone_names", "pipe"]

_PIPE_BYTES = 16384
_LONGEST_WAIT_S = 0.2
_MOST_WAITING = 16  # pieces of a pipe that are read ahead
_HOW_TO_INSTALL = (
    "install pykaldi-server[microphone] and, on Debian, libportaudio2; or let another program record: "
    "arecord -f S16_LE -r 16000 | pykaldi-server listen -"
)


class LiveAudio:
    """Pieces of audio that one thread records and another one takes, by iteration.

    Attributes:
        content_type: how the audio is encoded, see `AudioDecoder`; None if its bytes tell.
        name: where it comes from.
    """

    def __init__(self, name: str, content_type: str | None = None) -> None:
        self.name = name
        self.content_type = content_type
        self._pieces: SimpleQueue[bytes] = SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)

    def put(self, piece: bytes) -> None:
        """Adds a piece of audio."""
        if piece:
            self._pieces.put(piece)

    def put_when_there_is_room(self, piece: bytes) -> None:
        """Adds a piece of audio; waits while too many have not been taken."""
        self._room.acquire()
        self.put(piece)

    def end(self) -> None:
        """Ends the audio after what has been recorded so far; also a signal handler may call it."""
        self._pieces.put(b"")

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._next():
            self._room.release()
            yield piece

    def _next(self) -> bytes:
        """Waits in turns: a signal that comes just before a wait does not end that."""
        while True:
            with suppress(Empty):
                return self._pieces.get(timeout=_LONGEST_WAIT_S)


@contextmanager
def pipe(descriptor: int, name: str, content_type: str | None) -> Iterator[LiveAudio]:
    """Reads an open file or pipe to its end.

    Args:
        descriptor: the file; it is not closed.
        name: what errors call it.
        content_type: how the audio is encoded, see `AudioDecoder`.

    Raises:
        AudioError: it could not be read to its end; raised once what was read has been dealt with.
    """
    audio = LiveAudio(name, content_type)
    failures: list[OSError] = []

    def read() -> None:
        try:
            while piece := os.read(descriptor, _PIPE_BYTES):
                audio.put_when_there_is_room(piece)
        except OSError as error:
            failures.append(error)
        finally:
            audio.end()

    # Nobody can end a thread that waits for a pipe; it ends with the process.
    threading.Thread(target=read, daemon=True).start()
    yield audio
    if failures:
        raise AudioError(f"{name}: {error_text(failures[0])}") from failures[0]


@contextmanager
def microphone(device: str, rate_hz: int) -> Iterator[LiveAudio]:
    """Records from a microphone.

    Args:
        device: number of a device or a part of its name; "" for the system's default.
        rate_hz: the rate to record at, if the device can; otherwise it is the device's own.

    Raises:
        AudioError: nothing can be recorded; the text says what is missing.
    """
    sounddevice = _sounddevice()
    if not microphone_names():
        raise AudioError(f"microphone {device or '(default)'}: expected a device that records, found none")
    chosen = int(device) if device.isdecimal() else device or None
    try:
        with ExitStack() as stack:
            try:
                found: Any = sounddevice.query_devices(chosen, "input")
            except ValueError as error:  # no or several devices of the name
                raise AudioError(f"microphone {device}: {error}") from error
            try:
                sounddevice.check_input_settings(chosen, channels=1, dtype="int16", samplerate=rate_hz)
            except sounddevice.PortAudioError:
                rate_hz = round(found["default_samplerate"])
            audio = LiveAudio(found["name"], f"audio/x-raw,format=S16LE,rate={rate_hz},channels=1")
            stream = sounddevice.RawInputStream(
                rate_hz,
                device=chosen,
                channels=1,
                dtype="int16",
                callback=lambda data, *_: audio.put(bytes(data)),
                finished_callback=audio.end,
            )
            stack.enter_context(stream)  # which starts it: the device may be busy
            yield audio
    except sounddevice.PortAudioError as error:  # also where the stream ends: the device may be gone
        raise AudioError(f"microphone {device or '(default)'}: {error}") from error


def microphone_names() -> list[tuple[int, str]]:
    """The devices that can record: number and name.

    Raises:
        AudioError: they cannot be listed; the text says why.
    """
    sounddevice = _sounddevice()
    try:
        devices: Any = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise AudioError(f"microphones: {error}") from error
    return [(number, each["name"]) for number, each in enumerate(devices) if each["max_input_channels"] > 0]


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except Exception as error:
        # Without the library that it binds it is an OSError; one that does not start is an error of a module
        # that nobody has then.
        if not isinstance(error, ImportError | OSError) and type(error).__name__ != "PortAudioError":
            raise
        raise AudioError(f"microphone: {error}; {_HOW_TO_INSTALL}") from error
