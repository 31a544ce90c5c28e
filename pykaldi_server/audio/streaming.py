"""Containers decoded while their bytes arrive, or, where that is impossible, once all have arrived.

FFmpeg pulls: it calls ``read()`` and must get bytes or the end of the file. Our callers push. So FFmpeg runs
on a thread of its own, and the two take turns: the caller hands over bytes and waits; the thread decodes
until it needs more bytes, hands back the audio, and waits. Nothing runs ahead, so memory is bounded by one
piece of input, the bytes kept for going back (`_KEPT_BYTES`) and about `_HANDOVER_SAMPLES` of output, and the
result does not depend on timing.

Nor does it depend on how the bytes are cut. FFmpeg forgets what it has read whenever it reads on, and some of
its demuxers then go back a few bytes. They may: see `_Incoming`.
"""

import contextvars
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from enum import Enum, auto
from queue import SimpleQueue
from typing import NamedTuple

from pykaldi_server.audio.containers import Access, Container
from pykaldi_server.audio.pcm import Audio
from pykaldi_server.audio.progress import Progress
from pykaldi_server.errors import AudioError

__all__ = ["SpooledContainer", "StreamingContainer"]

logger = logging.getLogger(__name__)

_LONGEST_TRAILER_BYTES = 4096
_HANDOVER_SAMPLES = 100_000
_KEPT_BYTES = 1 << 20
_MAX_SPOOLED_BYTES = 1 << 30
_MAX_SPOOLED_IN_MEMORY_BYTES = 1 << 23


class StreamingContainer:
    """Decodes a container on a thread that takes turns with the caller.

    The thread ends with the audio, with `close`, or when this object is garbage.

    Args:
        container: the format; its `access` is not `Access.WHOLE`.
    """

    def __init__(self, container: Container) -> None:
        self._progress = Progress(container.name)
        self._turns = _Turns(can_go_back=container.access is Access.BACK)
        # The thread must not refer to this object, or it would never be garbage.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,  # log lines have the id of the request
            args=(_decode, self._turns, container, self._progress),
            name="audio-decoder",
            daemon=True,
        )
        self._thread.start()
        self._cancel = weakref.finalize(self, self._turns.requests.put, None)
        self._block_bytes = container.block_bytes
        self._incomplete_block = b""
        self._ended = False
        self._num_ignored_bytes = 0

    @property
    def description(self) -> str:
        """What is being decoded, for people."""
        return self._progress.description

    def feed(self, data: bytes) -> Iterator[Audio]:
        """Yields the audio that `data` completes; what follows the end of the audio is ignored."""
        if self._ended:
            self._num_ignored_bytes += len(data)
        if self._block_bytes > 1:
            data = self._incomplete_block + data
            num_bytes = len(data) - len(data) % self._block_bytes
            data, self._incomplete_block = data[:num_bytes], data[num_bytes:]
        return self._exchange(_Request(data)) if data else iter(())

    def finish(self) -> Iterator[Audio]:
        """Yields the rest, and logs how much was ignored if that is more than a tag with a title."""
        num_bytes = self._num_ignored_bytes
        if num_bytes > _LONGEST_TRAILER_BYTES:
            logger.warning("%s: %d bytes after the end of the audio are ignored", self.description, num_bytes)
        if self._incomplete_block:
            yield from self._exchange(_Request(self._incomplete_block))
        yield from self._exchange(_Request(is_last=True))

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
    """Collects a file that FFmpeg has to seek in, and decodes it at its end.

    Args:
        container: the format.
    """

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
        """Stores `data` and yields nothing.

        Raises:
            AudioError: the file is too large to be stored.
        """
        self._num_bytes += len(data)
        if self._num_bytes > _MAX_SPOOLED_BYTES:
            raise AudioError(
                f"{self._container.name}: expected at most {_MAX_SPOOLED_BYTES} bytes of a file that "
                f"is readable only as a whole, found {self._num_bytes}; send it with its index in front, "
                "or in another format"
            )
        self._file.write(data)
        return iter(())

    def finish(self) -> Iterator[Audio]:
        """Yields all audio of the file."""
        self._file.seek(0)
        from pykaldi_server.audio.ffmpeg import decode_container

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


class _Incoming:
    """The bytes that have arrived: the newest piece, and at least the last `_KEPT_BYTES` before it.

    The position may be anywhere after the oldest byte, also where nothing has arrived yet.
    """

    def __init__(self) -> None:
        self._older = bytearray()
        self._newest = b""
        self._newest_start = 0  # position of the first byte of `_newest` in the file
        self.position = 0

    def append(self, data: bytes) -> None:
        """Takes the next bytes of the file."""
        self._older += self._newest[-_KEPT_BYTES:]
        if len(self._older) > 2 * _KEPT_BYTES:
            del self._older[:-_KEPT_BYTES]
        self._newest_start += len(self._newest)
        self._newest = data

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes from the position on; none where they have not arrived yet."""
        offset = self.position - self._newest_start
        if offset < 0:
            begin = offset + len(self._older)
            piece = bytes(self._older[begin : begin + size])
        else:
            piece = self._newest[offset : offset + size]
        self.position += len(piece)
        return piece

    def go_to(self, position: int) -> None:
        """Moves the position.

        Raises:
            AudioError: the bytes there are no longer kept.
        """
        if position < self._newest_start - len(self._older):
            raise AudioError(
                "expected a file that can be read from front to back, found one that goes back by "
                f"{self.position - position} bytes; send it in another format"
            )
        self.position = position


class _Turns:
    """Where caller and thread hand over to each other; for FFmpeg, the file that it reads.

    Each request has exactly one reply, except None, which ends the thread. All but `ask` runs on the thread.
    """

    def __init__(self, can_go_back: bool) -> None:
        self.requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._replies: SimpleQueue[_Reply] = SimpleQueue()
        self._can_go_back = can_go_back
        self._incoming = _Incoming()
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
            self._incoming.append(request.data)
        else:
            self._is_last |= request.is_last

    def read(self, size: int) -> bytes:
        """Returns 1 to `size` bytes, for which it waits, or none at the end."""
        while not ((piece := self._incoming.read(size)) or self._is_last or self._cancelled):
            self.hand_over(_State.HUNGRY)
            self.wait()
        # When cancelled, the file seems to end here: an exception would have to pass through FFmpeg.
        return b"" if self._cancelled else piece

    def seekable(self) -> bool:
        """Whether FFmpeg may call `seek`."""
        return self._can_go_back

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position and returns it; from the end, which is not known, returns -1: an error."""
        if whence == os.SEEK_END:
            return -1
        self._incoming.go_to(offset + (self._incoming.position if whence == os.SEEK_CUR else 0))
        return self._incoming.position

    def tell(self) -> int:
        """The position in the file."""
        return self._incoming.position

    def add(self, audio: Audio) -> None:
        """Takes decoded audio; raises _Cancelled when nobody wants it any more."""
        self._audio.append(audio)
        self._num_samples += len(audio.frames)
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
        from pykaldi_server.audio.ffmpeg import decode_container

        turns.wait()
        for audio in decode_container(turns, container, progress):
            turns.add(audio)
    except _Cancelled:
        return
    except Exception as error:  # whatever it is, the caller waits for it
        turns.hand_over(_State.ENDED, error)
    else:
        turns.hand_over(_State.ENDED)
