"""Bytes as a client sends them, to samples as a model wants them."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.caps import parse_content_type
from pykaldi_server.audio.pcm import Audio
from pykaldi_server.audio.rate import RateConverter
from pykaldi_server.audio.sequence import FileSequence
from pykaldi_server.errors import DecoderError

__all__ = ["AudioDecoder"]


class AudioDecoder:
    """Turns a stream of bytes, raw or in a container, into samples at one rate, while the bytes arrive.

    Decoded audio does not depend on how the bytes are cut. Damaged or truncated audio gives what can be
    decoded; empty input gives no samples. One thread at a time may use the object; use it as a context
    manager, or call `close`, where it may be left before its end.

    Args:
        content_type: GStreamer caps or a MIME type, see `caps.parse_content_type`. Without one, the first
            bytes tell the container; where they do not, the stream is raw, 16 kHz, mono, S16LE.
        sample_rate_hz: rate of the samples that come out. None leaves them as they are, for features that
            resample by themselves as the model's training did.

    Raises:
        AudioError: the content type is not audio or makes no sense.
    """

    def __init__(self, content_type: str | None, sample_rate_hz: int | None) -> None:
        self.source_rate_hz: int | None = None
        self._files = FileSequence(parse_content_type(content_type))
        self._converter = RateConverter(sample_rate_hz)
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def sample_rate_hz(self) -> int | None:
        """Rate of the samples that come out; None while it is not known."""
        return self._converter.rate_hz

    @property
    def description(self) -> str:
        """What is being decoded, for people: ``Ogg, opus, 48000 Hz, mono``."""
        return self._files.description

    def push(self, data: bytes) -> NDArray[np.float32]:
        """Takes the next bytes and returns the samples that they complete.

        A small compressed file may hold hours of audio: prefer `decode` for large pieces.

        Returns:
            float32, shape (n,), possibly empty, range [-32768, 32767], at `sample_rate_hz`.

        Raises:
            AudioError: nothing of the audio can be decoded.
            DecoderError: the stream was finished or closed.
        """
        return _join(self.decode(data))

    def finish(self) -> NDArray[np.float32]:
        """Says that all bytes have come, and returns the rest of the samples, as `push` does."""
        return _join(self.decode_rest())

    def decode(self, data: bytes) -> Iterator[NDArray[np.float32]]:
        """Does the same as `push`, but gives the samples in pieces, so that memory stays bounded.

        The iterator must be used to its end before the next call.
        """
        self._refuse_if_finished()
        yield from map(self._convert, self._files.feed(data))

    def decode_rest(self) -> Iterator[NDArray[np.float32]]:
        """Does the same as `finish`, but gives the samples in pieces."""
        self._refuse_if_finished()
        self._finished = True
        yield from map(self._convert, self._files.finish())
        yield self._converter.finish()

    def close(self) -> None:
        """Frees everything, at any time; the stream cannot go on."""
        self._finished = True
        self._files.close()

    def _convert(self, audio: Audio) -> NDArray[np.float32]:
        self.source_rate_hz = audio.rate_hz
        return self._converter.convert(audio)

    def _refuse_if_finished(self) -> None:
        if self._finished:
            raise DecoderError("the audio decoder was finished or closed; a stream needs one of its own")


def _join(pieces: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *pieces])
