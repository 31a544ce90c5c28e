"""Whole recordings to events."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import BinaryIO, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AudioError
from pykaldi_server.session.channels import (
    CHANNELS,
    AudioSession,
    parse_channels,
    selected_channel,
    start_session,
)
from pykaldi_server.session.events import Event
from pykaldi_server.session.model import Model
from pykaldi_server.session.request_options import RequestOptions
from pykaldi_server.session.samples import INT16_SCALE, AudioChunk
from pykaldi_server.session.session import Session
from pykaldi_server.session.streaming import pieces
from pykaldi_server.session.text_processor import TextProcessor, processed

__all__ = ["AudioSource", "FileSource", "transcribe"]

_READ_BYTES = 1 << 16

FileSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A file's path, its contents, or the file, opened in binary mode."""

AudioSource: TypeAlias = FileSource | AudioChunk
"""A recording: a file, or samples in an array."""


def transcribe(
    model: Model | str | os.PathLike[str],
    source: AudioSource,
    *,
    content_type: str | None = None,
    sample_rate_hz: float | None = None,
    full_scale: float | None = None,
    adaptation_state: str | Mapping[int, str] | None = None,
    options: Mapping[str, object] | RequestOptions | None = None,
    text_processor: TextProcessor | None = None,
    channels: str = "mixed",
) -> Iterator[Event]:
    """Recognises a recording piece by piece.

    Args:
        model: the model, or where to load it from, which takes a second: load it once for many recordings.
        source: a path, a file opened in binary mode, or its contents as bytes: audio of any format. Or an
            array of samples, such as `Session.accept` takes.
        content_type: how files and bytes are encoded; needed for raw audio that is not 16 kHz mono S16LE.
        sample_rate_hz: rate of samples in an array; None for the model's rate.
        full_scale: the value that full scale has in floating-point arrays, see `Model.session`.
        adaptation_state: what is known of the speaker, see `Model.session`; with ``split`` that of several
            speakers, by the numbers of their channels.
        options: what is done differently from the model's configuration, see `RequestOptions`.
        text_processor: changes the text of results.
        channels: which channels are recognised: ``mixed``; ``left`` or ``right`` (of mono audio the only
            one); or ``split``, each by itself: events then have the number of their channel. An array must
            be mono for ``mixed``, and otherwise has the shape (n, channels).

    Yields:
        Events, as they become known.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the audio cannot be decoded; the text names the file.
        ConfigError: an option is invalid; the text names it.
    """
    loaded = model if isinstance(model, Model) else Model.load(os.fspath(model))
    selected, _ = parse_channels({CHANNELS: channels})

    def start(rate_hz: float | None = None, scale: float | None = None) -> AudioSession:
        def begin(state: str | None) -> Session:
            return loaded.session(state, rate_hz, options, scale)

        return start_session(begin, selected, adaptation_state)

    if _is_file(source):
        if sample_rate_hz is not None or full_scale is not None:
            raise AudioError(
                "sample_rate_hz and full_scale: expected an array of samples, found a file or its contents, "
                "for which content_type describes raw audio"
            )
        name = _name_of(source)
        events = _of_file(source, name, AudioDecoder(content_type, None, selected), start)
    else:
        name, samples = "samples", cast(AudioChunk, source)
        events = _of_samples(selected_channel(samples, selected), start(sample_rate_hz, full_scale))
    yield from processed(events, text_processor, name)


def _is_file(source: AudioSource) -> TypeGuard[FileSource]:
    """Whether a recording is a file or its contents, which are to be decoded."""
    known = isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)
    return known or hasattr(source, "read")


def _of_samples(samples: AudioChunk, session: AudioSession) -> Iterator[Event]:
    with session:
        for piece in pieces(samples, session.sample_rate_hz):
            yield from session.accept(piece)
        yield from session.finish()


def _of_file(
    source: FileSource, name: str, decoder: AudioDecoder, start: Callable[..., AudioSession]
) -> Iterator[Event]:
    session: AudioSession | None = None
    with ExitStack() as stack:
        file = _open(source, stack)
        try:
            stack.enter_context(decoder)
            for samples in _decoded(file, decoder):
                if session is None:  # the rate is known now
                    session = start(decoder.sample_rate_hz, INT16_SCALE)
                    stack.enter_context(session)
                yield from session.accept(samples)
        except AudioError as error:
            raise AudioError(f"{name}: {error}") from error
        yield from (session or stack.enter_context(start())).finish()


def _name_of(source: FileSource) -> str:
    """What errors and logs call a recording."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return str(getattr(source, "name", "audio"))


def _open(source: FileSource, stack: ExitStack) -> BinaryIO:
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        return source
    try:
        return stack.enter_context(open(source, "rb"))
    except IsADirectoryError:
        raise AudioError(f"{os.fspath(source)}: expected an audio file, found a directory") from None


def _decoded(file: BinaryIO, decoder: AudioDecoder) -> Iterator[NDArray[np.float32]]:
    while data := file.read(_READ_BYTES):
        if not isinstance(data, bytes):
            raise AudioError(
                f"expected a file opened in binary mode, found one that reads {type(data).__name__}"
            )
        yield from decoder.decode(data)
    yield from decoder.decode_rest()
