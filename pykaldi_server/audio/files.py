"""Audio files, whole or in pieces."""

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.decoder import AudioDecoder
from pykaldi_server.errors import AudioError

__all__ = ["iterate_audio_file", "read_audio_file"]

_READ_BYTES = 65536


def read_audio_file(
    path: str | os.PathLike[str], sample_rate_hz: int, content_type: str | None = None
) -> NDArray[np.float32]:
    """Reads a whole file.

    Args:
        path: a file of any format that `AudioDecoder` knows.
        sample_rate_hz: rate of the samples that come out.
        content_type: describes the samples of a file without a header.

    Returns:
        float32, shape (n,), mono, range [-32768, 32767].

    Raises:
        FileNotFoundError: the file does not exist.
        AudioError: nothing of it can be decoded; the text names the file.
    """
    pieces = list(iterate_audio_file(path, sample_rate_hz, content_type))
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def iterate_audio_file(
    path: str | os.PathLike[str], sample_rate_hz: int, content_type: str | None = None
) -> Iterator[NDArray[np.float32]]:
    """Reads a file of any length in bounded memory; see `read_audio_file`.

    Yields:
        Pieces of a few seconds at most, none of them empty.
    """
    try:
        with open(path, "rb") as file, AudioDecoder(content_type, sample_rate_hz) as decoder:
            while data := file.read(_READ_BYTES):
                yield from filter(len, decoder.decode(data))
            yield from filter(len, decoder.decode_rest())
    except AudioError as error:
        raise AudioError(f"{os.fspath(path)}: {error}") from error
    except IsADirectoryError:
        raise AudioError(f"{os.fspath(path)}: expected an audio file, found a directory") from None
