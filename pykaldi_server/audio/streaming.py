"""Containers decoded while their bytes arrive, or, where that is impossible, once all have arrived.

FFmpeg pulls: it calls ``read()`` and must get bytes or the end of the file. Our callers push. So FFmpeg runs
on a thread of its own, and the two take turns: the caller hands over bytes and waits; the thread decodes
until it needs more bytes, hands back the audio, and waits. Nothing runs ahead, so memory is bounded by one
piece of input and about `_HANDOVER_SAMPLES` of output, and the result does not depend on timing.
"""

import contextvars
import io
import tempfile
import threading
import weakref
from collections.abc import Iterator
from enum import Enum, auto
from queue import SimpleQueue
from typing import NamedTuple

from pykaldi_server.audio.containers import Container
from pykaldi_server.audio.ffmpeg import Progress, decode_container
from pykaldi_server.audio.pcm import Audio
from pykaldi_server.errors import AudioError

_HANDOVER_SAMPLES = 100_000
_MAX_SPOOLED_BYTES = 1 << 30
_MAX_SPOOLED_IN_MEMORY_BYTES = 1 << 23


class StreamingContainer:
    """Decodes a container on a thread that takes turns with the caller.

    The thread ends with the audio, with `close`, or when this object is garbage.
    """

    def __init__(self, container: Container) -> None:
        self._progress = Progress(container.name)
        self._turns = _Turns()
        # The thread must not refer to this object, or it would never be garbage.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,  # log lines have the id of the request
            args=(_decode, self._turns, container, self._progress),
            name="audio-decoder",
            daemon=True,
        )
        self._thread.start()
        self._cancel = weakref.finalize(self, self._turns.requests.put, None)
        self._ended = False

    @property
    def description(self) -> str:
        """What is being decoded, for people."""
        return self._progress.description

    def feed(self, data: bytes) -> Iterator[Audio]:
        """Yields the audio that `data` completes; what follows the end of the audio is ignored."""
        return self._exchange(_Request(data))

    def finish(self) -> Iterator[Audio]:
        """Yields the rest."""
        return self._exchange(_Request(is_last=True))

    def close(self) -> None:
        """Ends the thread."""
        self._ended = True
        self._cancel()
        self._thread.join()

    def _exchange(self, request: "_Request") -> Iterator[Audio]:
        if self._ended:
            return
        reply = self._turns.ask(request)
        try:
            yield from reply.audio
            while reply.state is _State.FULL:
                reply = self._turns.ask(_Request())
                yield from reply.audio
        except GeneratorExit:
            # The caller has left audio behind, so that the turns are out of step.
            self.close()
            raise
        if reply.state is _State.ENDED:
            self.close()
        if reply.error is not None:
            raise reply.error


class SpooledContainer:
    """Collects a file that FFmpeg has to seek in, and decodes it at its end."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._progress = Progress(container.name)
        self._file = tempfile.SpooledTemporaryFile(_MAX_SPOOLED_IN_MEMORY_BYTES)  # noqa: SIM115
        self._num_bytes = 0

    @property
    def description(self) -> str:
        """What is being decoded, for people."""
        return self._progress.description

    def feed(self, data: bytes) -> Iterator[Audio]:
        """Stores `data` and yields nothing."""
        self._num_bytes += len(data)
        if self._num_bytes > _MAX_SPOOLED_BYTES:
            raise AudioError(
                f"{self._container.name}: expected at most {_MAX_SPOOLED_BYTES} bytes of a file whose index "
                "is at its end; send it with the index in front, or in another format"
            )
        self._file.write(data)
        return iter(())

    def finish(self) -> Iterator[Audio]:
        """Yields all audio of the file."""
        self._file.seek(0)
        yield from decode_container(self._file, self._container, self._progress)

    def close(self) -> None:
        """Deletes what was collected."""
        self._file.close()


class _Request(NamedTuple):
    """The caller's turn has ended: more bytes, or go on."""

    data: bytes = b""
    is_last: bool = False


class _State(Enum):
    """Why the thread's turn has ended."""

    HUNGRY = auto()
    FULL = auto()
    ENDED = auto()


class _Reply(NamedTuple):
    audio: list[Audio]
    state: _State
    error: Exception | None = None


class _Cancelled(Exception):
    """Ends the thread; never seen outside it."""


class _Turns:
    """Where caller and thread hand over to each other; for FFmpeg, the file that it reads.

    Each request has exactly one reply, except None, which ends the thread. All but `ask` runs on the thread.
    """

    def __init__(self) -> None:
        self.requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._replies: SimpleQueue[_Reply] = SimpleQueue()
        self._data = io.BytesIO()
        self._is_last = False
        self._cancelled = False
        self._audio: list[Audio] = []
        self._num_samples = 0

    def ask(self, request: _Request) -> _Reply:
        """Gives the turn to the thread and waits until it comes back."""
        self.requests.put(request)
        return self._replies.get()

    def wait(self) -> None:
        """Waits for the caller."""
        request = self.requests.get()
        if request is None:
            self._cancelled = True
        elif request.data:
            self._data = io.BytesIO(request.data)
        else:
            self._is_last |= request.is_last

    def read(self, size: int) -> bytes:
        """Returns 1 to `size` bytes, for which it waits, or none at the end."""
        while not ((piece := self._data.read(size)) or self._is_last or self._cancelled):
            self.hand_over(_State.HUNGRY)
            self.wait()
        # When cancelled, the file seems to end here: an exception would have to pass through FFmpeg.
        return b"" if self._cancelled else piece

    def add(self, audio: Audio) -> None:
        """Takes decoded audio; raises _Cancelled when nobody wants it any more."""
        self._audio.append(audio)
        self._num_samples += len(audio.samples)
        if self._num_samples >= _HANDOVER_SAMPLES:
            self.hand_over(_State.FULL)
            self.wait()
        if self._cancelled:
            raise _Cancelled

    def hand_over(self, state: _State, error: Exception | None = None) -> None:
        """Gives the turn and the audio so far back to the caller."""
        audio, self._audio, self._num_samples = self._audio, [], 0
        self._replies.put(_Reply(audio, state, error))


def _decode(turns: _Turns, container: Container, progress: Progress) -> None:
    """What the thread does."""
    try:
        turns.wait()
        for audio in decode_container(turns, container, progress):
            turns.add(audio)
    except _Cancelled:
        return
    except Exception as error:  # whatever it is, the caller waits for it
        turns.hand_over(_State.ENDED, error)
    else:
        turns.hand_over(_State.ENDED)
