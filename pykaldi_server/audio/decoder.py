"""Bytes as a client sends them, to samples as a model wants them."""

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.caps import parse_content_type
from pykaldi_server.audio.channels import Channels, ChannelSelector
from pykaldi_server.audio.pcm import Audio
from pykaldi_server.audio.rate import RateConverter
from pykaldi_server.audio.sequence import FileSequence
from pykaldi_server.errors import DecoderError

__all__ = ["AudioDecoder"]

Samples = NDArray[np.float32]


class AudioDecoder:
    """Turns a stream of bytes, raw or in containers, into samples at one rate, while the bytes arrive.

    Decoded audio does not depend on how the bytes are cut. Damaged or truncated audio gives what can be
    decoded; empty input gives no samples. One thread at a time may use the object; use it as a context
    manager, or call `close`, where it may be left before its end.

    Args:
        content_type: GStreamer caps or a MIME type, see `caps.parse_content_type`. Without one, the first
            bytes tell the container; where they do not, the stream is raw, 16 kHz, mono, S16LE.
        sample_rate_hz: rate of the samples that come out. None leaves them as they are (those of the first
            file, if there are several), for features that resample by themselves as the model's training did.
        channels: ``mix`` mixes all channels, with those that are inverted put right; ``left`` or ``right``
            takes one; ``split`` returns all of them, in arrays of shape (n, channels). See `ChannelSelector`.

    Raises:
        AudioError: the content type is not audio, or has an invalid parameter.
        ConfigError: `channels` is invalid.
    """

    def __init__(
        self, content_type: str | None, sample_rate_hz: int | None, channels: Channels = "mix"
    ) -> None:
        self.source_rate_hz: int | None = None
        self._files = FileSequence(parse_content_type(content_type))
        self._selector = ChannelSelector(channels)
        self._is_split = channels == "split"
        self._target_rate_hz = sample_rate_hz
        self._converters: list[RateConverter] = []
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
        return self._converters[0].rate_hz if self._converters else self._target_rate_hz

    @property
    def num_channels(self) -> int | None:
        """Number of channels that come out: 1, or with ``split`` that of the audio; None while not known."""
        return self._selector.num_channels

    @property
    def description(self) -> str:
        """What is being decoded, for people: ``Ogg, opus, 48000 Hz, mono``."""
        return self._files.description

    def push(self, data: bytes) -> Samples:
        """Takes the next bytes and returns the samples that they complete.

        A small compressed file may hold hours of audio: prefer `decode` for large pieces.

        Returns:
            float32, shape (n,), or (n, channels) with ``split``; possibly empty, range [-32768, 32767], at
            `sample_rate_hz`.

        Raises:
            AudioError: nothing of the audio can be decoded.
            DecoderError: the stream was finished or closed.
        """
        return self._join(self.decode(data))

    def finish(self) -> Samples:
        """Says that all bytes have come, and returns the rest of the samples, as `push` does."""
        return self._join(self.decode_rest())

    def decode(self, data: bytes) -> Generator[Samples]:
        """Does the same as `push`, but yields the samples in pieces, so that memory stays bounded.

        The generator must be used to its end, or closed, before the next call.
        """
        self._refuse_if_finished()
        for audio in self._files.feed(data):
            yield from self._convert(audio)

    def decode_rest(self) -> Generator[Samples]:
        """Does the same as `finish`, but yields the samples in pieces."""
        self._refuse_if_finished()
        self._finished = True
        for audio in self._files.finish():
            yield from self._convert(audio)
        for audio in self._selector.finish():
            yield self._change_rate(audio)
        yield self._stack([converter.finish() for converter in self._converters])

    def close(self) -> None:
        """Frees everything, at any time; the stream cannot go on."""
        self._finished = True
        self._files.close()

    def _convert(self, audio: Audio) -> Iterator[Samples]:
        self.source_rate_hz = audio.rate_hz
        for selected in self._selector.select(audio):
            yield self._change_rate(selected)

    def _change_rate(self, audio: Audio) -> Samples:
        if not self._converters:
            self._converters = [RateConverter(self._target_rate_hz) for _ in range(audio.frames.shape[1])]
        return self._stack(
            [
                converter.convert(audio.frames[:, i], audio.rate_hz)
                for i, converter in enumerate(self._converters)
            ]
        )

    def _stack(self, channels: list[Samples]) -> Samples:
        """Arrays of shape (n,) of each channel as one, of shape (n, channels) if channels are split."""
        if self._is_split:
            return np.stack(channels, axis=1) if channels else self._no_samples()
        return channels[0] if channels else self._no_samples()

    def _no_samples(self) -> Samples:
        return np.zeros((0, self.num_channels or 0) if self._is_split else 0, np.float32)

    def _join(self, pieces: Iterator[Samples]) -> Samples:
        joined = list(filter(len, pieces))
        if len(joined) == 1:
            return joined[0]
        return np.concatenate(joined) if joined else self._no_samples()

    def _refuse_if_finished(self) -> None:
        if self._finished:
            raise DecoderError("the audio decoder was finished or closed; a stream needs one of its own")
