"""Keeps the audio of requests in files, as the ``out-dir`` of kaldi-gstreamer-server does.

The file ``DIRECTORY/ID.raw`` has what was recognised: 16-bit samples without a header, S16LE, mono, at the
model's rate. Play one with ``ffplay -f s16le -ar 16000 ID.raw``. Where each channel is recognised by itself,
the file has all of them, interleaved (``-ac 2`` for two).
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.rate import RateConverter
from pykaldi_server.errors import ConfigError

__all__ = ["Recording", "make_directory"]

logger = logging.getLogger(__name__)


def make_directory(path: Path) -> None:
    """Makes the directory for recordings, unless it is there.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "found another file" if path.exists() else error.strerror
        raise ConfigError(f"out_dir: expected a directory at {path}: {reason}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"out_dir: {path} cannot be written: permission denied")


class Recording:
    """The file of one request. Where it cannot be written, the log says so and recognition goes on.

    Args:
        directory: where to keep it.
        request_id: name of the request.
        rate_hz: sample rate of the file.
    """

    def __init__(self, directory: Path, request_id: str, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._converters: list[RateConverter] = []  # one per channel
        self._request_id = request_id
        self._path = directory / f"{request_id}.raw"
        self._file: BinaryIO | None = None
        if Path(self._path.name) != Path(f"{request_id}.raw"):
            logger.warning("%s: the audio is not kept: expected an id that can name a file", request_id)
            return
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            self._give_up(error)

    def write(self, samples: NDArray[np.float32], rate_hz: int) -> None:
        """Appends samples, float32 of shape (n,) or (n, channels) in int16 range, of any rate."""
        if self._file is None:
            return
        columns = samples.T if samples.ndim == 2 else samples[np.newaxis]
        if not self._converters:
            self._converters = [RateConverter(self._rate_hz) for _ in columns]
        converted = [
            each.convert(column, rate_hz) for each, column in zip(self._converters, columns, strict=True)
        ]
        self._append(self._file, np.stack(converted, axis=1))

    def close(self) -> None:
        """Completes the file."""
        if self._file is not None and self._converters:
            self._append(self._file, np.stack([each.finish() for each in self._converters], axis=1))
        if self._file is not None:
            try:
                self._file.close()
                self._file = None
            except OSError as error:
                self._give_up(error)

    def _append(self, file: BinaryIO, samples: NDArray[np.float32]) -> None:
        try:
            file.write(np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is still in its buffer cannot be written either
                self._file.close()
            self._file = None
        logger.warning("%s: the audio is not kept: %s: %s", self._request_id, self._path, error.strerror)
