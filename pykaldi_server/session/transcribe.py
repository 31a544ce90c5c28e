"""Whole recordings to events."""

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AudioError
from pykaldi_server.session.events import Event
from pykaldi_server.session.model import Model
from pykaldi_server.session.text_processor import TextProcessor, processed

_READ_BYTES = 1 << 16


def transcribe_file(
    model: Model,
    path: str | os.PathLike[str],
    content_type: str | None = None,
    adaptation_state: str | None = None,
    text_processor: TextProcessor | None = None,
) -> Iterator[Event]:
    """Recognises an audio file of any format, piece by piece.

    Args:
        model: the model.
        path: the file.
        content_type: how the audio is encoded; needed for raw audio that is not 16 kHz mono S16LE.
        adaptation_state: what is known of the speaker.
        text_processor: changes the text of results; None leaves it alone.

    Yields:
        Events, as they become known.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: the audio cannot be decoded; the text names the file.
    """
    name = os.fspath(path)
    session = None
    try:
        with open(path, "rb") as file, AudioDecoder(content_type, None) as decoder:
            for samples in _samples(file, decoder):
                session = session or model.session(adaptation_state, decoder.sample_rate_hz)
                yield from processed(session.accept(samples), text_processor, name)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error
    except IsADirectoryError:
        raise AudioError(f"{name}: expected an audio file, found a directory") from None
    events = (session or model.session(adaptation_state)).finish()
    yield from processed(events, text_processor, name)


def _samples(file: BinaryIO, decoder: AudioDecoder) -> Iterator[NDArray[np.float32]]:
    while data := file.read(_READ_BYTES):
        yield from decoder.decode(data)
    yield from decoder.decode_rest()
