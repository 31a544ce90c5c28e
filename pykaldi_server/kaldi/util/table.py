"""Tables: collections of objects with keys, in archives and scripts (``util/kaldi-table.h``).

An archive (``ark:FILE``, in text form ``ark,t:FILE``) is a sequence of ``key object``; a script
(``scp:FILE``) has a line ``key FILE`` or ``key FILE:OFFSET`` for each object, with the offset pointing
into an archive. Files may be packed with gzip. Commands (``... |``) are never run, but those that only unpack
(``ark:gunzip -c FILE |``, ``zcat FILE |``) are understood.
"""

import os
import re
import wave
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError, ModelFormatError
from pykaldi_server.kaldi.util.files import load_bytes, load_text
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
from pykaldi_server.kaldi.util.relocation import unpiped

__all__ = [
    "MatrixWriter",
    "RandomAccessMatrixReader",
    "RandomAccessVectorReader",
    "SequentialMatrixReader",
    "SequentialReader",
    "SequentialVectorReader",
    "SequentialWaveReader",
    "Specifier",
    "TableWriter",
    "VectorWriter",
    "WaveData",
    "open_extended",
    "read_script",
    "read_wave",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Specifier:
    """The parts of ``ark,t:FILE`` or ``ark,scp:FILE,FILE``."""

    archive: Path | None
    script: Path | None
    text: bool

    @classmethod
    def parse(cls, specifier: str) -> "Specifier":
        """Parses a read or write specifier.

        Raises:
            ConfigError: it is not one, or it asks for a command that does more than unpack a file.
        """
        kinds, colon, names = specifier.partition(":")
        options = kinds.strip().split(",")
        if not colon or not set(options) & {"ark", "scp"}:
            raise ConfigError(f"expected ark:FILE or scp:FILE, found {specifier!r}")
        names = unpiped(names, f"{specifier!r}")
        if "|" in names:
            raise ConfigError(f"{specifier!r}: commands are not run; write their output to a file first")
        both = "ark" in options and "scp" in options
        first, _, second = names.strip().partition(",") if both else (names.strip(), "", "")
        if both and options.index("ark") > options.index("scp"):
            raise ConfigError(f"expected ark before scp, found {specifier!r}")
        return cls(
            archive=Path(first) if "ark" in options else None,
            script=Path(second if both else first) if "scp" in options else None,
            text="t" in options,
        )


def read_script(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yields the (key, file) pairs of a script file.

    Raises:
        ModelFormatError: a line has no file name, or a command that does more than unpack a file.
    """
    for number, line in enumerate(load_text(path).split("\n"), 1):
        fields = line.split(maxsplit=1)
        if not fields:
            continue
        if len(fields) == 1:
            raise ModelFormatError(
                f"{os.fspath(path)}:{number}: expected a key and a file name, found only {fields[0]!r}"
            )
        try:
            name = unpiped(fields[1].rstrip(), f"{os.fspath(path)}:{number}")
        except ConfigError as error:
            raise ModelFormatError(str(error)) from None
        yield fields[0], name


def open_extended(name: str) -> KaldiReader:
    """Opens ``FILE`` or ``FILE:OFFSET``."""
    path, colon, offset = name.rpartition(":")
    if colon and re.fullmatch("[0-9]{1,18}", offset) and not Path(name).exists():
        data = load_bytes(path)
        if int(offset) > len(data):
            raise ModelFormatError(f"{path}: expected {offset} bytes or more, found {len(data)}")
        return KaldiReader(data, path, int(offset))
    return KaldiReader.open(name)


class SequentialReader(Generic[_T]):
    """Iterates over the (key, object) pairs of a table, in order; also a context manager."""

    def __init__(self, rspecifier: str, read: Callable[[KaldiReader], _T]):
        self._specifier = Specifier.parse(rspecifier)
        self._read = read

    def __iter__(self) -> Iterator[tuple[str, _T]]:
        if self._specifier.script is not None:
            for key, name in read_script(self._specifier.script):
                yield key, self._read(open_extended(name))
            return
        assert self._specifier.archive is not None
        data = load_bytes(self._specifier.archive)
        keys = KaldiReader(data, self._specifier.archive, binary=False)
        while not keys.at_end():
            key = keys.read_token()
            entry = KaldiReader(data, self._specifier.archive, keys.offset)
            yield key, self._read(entry)
            keys.offset = entry.offset

    def __enter__(self) -> "SequentialReader[_T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing: files are mapped only while they are read."""


class SequentialMatrixReader(SequentialReader[NDArray[Any]]):
    """A table of matrices; see `KaldiReader.read_matrix`."""

    def __init__(self, rspecifier: str):
        super().__init__(rspecifier, KaldiReader.read_matrix)


class SequentialVectorReader(SequentialReader[NDArray[Any]]):
    """A table of vectors; see `KaldiReader.read_vector`."""

    def __init__(self, rspecifier: str):
        super().__init__(rspecifier, KaldiReader.read_vector)


class RandomAccessMatrixReader:
    """A table of matrices with access by key."""

    read: ClassVar[Callable[[KaldiReader], NDArray[Any]]] = KaldiReader.read_matrix

    def __init__(self, rspecifier: str):
        self._objects = dict(SequentialReader(rspecifier, type(self).read))

    def has_key(self, key: str) -> bool:
        """True if the table has an object with this key."""
        return key in self._objects

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self._objects[key]


class RandomAccessVectorReader(RandomAccessMatrixReader):
    """A table of vectors with access by key."""

    read = KaldiReader.read_vector


class TableWriter(ABC, Generic[_T]):
    """Writes (key, object) pairs to an archive and, optionally, a script that refers to it."""

    def __init__(self, wspecifier: str):
        """Takes ``ark:FILE``, ``ark,t:FILE`` or ``ark,scp:FILE,FILE``.

        Raises:
            ConfigError: there is no archive to write to.
        """
        specifier = Specifier.parse(wspecifier)
        if specifier.archive is None:
            raise ConfigError(f"expected an archive to write to (ark:FILE), found {wspecifier!r}")
        self._archive_path = specifier.archive
        self._binary = not specifier.text
        self._archive = specifier.archive.open("wb")
        self._script = specifier.script.open("w", encoding="utf-8") if specifier.script else None

    def write(self, key: str, value: _T) -> None:
        """Adds an object."""
        if not key or any(letter.isspace() for letter in key):
            raise ConfigError(f"expected a key without white space, found {key!r}")
        self._archive.write(key.encode() + b" ")
        if self._script is not None:
            self._script.write(f"{key} {self._archive_path}:{self._archive.tell()}\n")
        self._write_object(value)

    def __setitem__(self, key: str, value: _T) -> None:
        self.write(key, value)

    def close(self) -> None:
        """Completes the files."""
        self._archive.close()
        if self._script is not None:
            self._script.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _write_object(self, value: _T) -> None:
        """Writes the form of this table's objects."""


class MatrixWriter(TableWriter[NDArray[Any]]):
    """Writes a table of matrices."""

    def _write_object(self, value: NDArray[Any]) -> None:
        KaldiWriter(self._archive, self._binary).write_matrix(value)


class VectorWriter(TableWriter[NDArray[Any]]):
    """Writes a table of vectors."""

    def _write_object(self, value: NDArray[Any]) -> None:
        KaldiWriter(self._archive, self._binary).write_vector(value)


@dataclass(frozen=True)
class WaveData:
    """A recording.

    Attributes:
        samp_freq: rate in Hz.
        samples: (channels, samples), float32, in the range of 16-bit integers.
    """

    samp_freq: float
    samples: NDArray[np.float32]

    def data(self) -> NDArray[np.float32]:
        """The samples, (channels, samples)."""
        return self.samples

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1] / self.samp_freq)


def read_wave(path: str | os.PathLike[str]) -> WaveData:
    """Reads a WAV file of 16-bit samples, as Kaldi does (``feat/wave-reader.cc``).

    Raises:
        AudioError: the file is not a WAV file of 16-bit samples.
    """
    try:
        with wave.open(os.fspath(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise AudioError(f"{path}: expected 16-bit samples, found {8 * file.getsampwidth()}-bit")
            raw = file.readframes(file.getnframes())
            channels, rate_hz = file.getnchannels(), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise AudioError(
            f"{os.fspath(path)}: expected a WAV file of 16-bit samples, found {error}"
        ) from error
    samples = np.frombuffer(raw, "<i2", len(raw) // 2 // channels * channels)
    return WaveData(rate_hz, np.ascontiguousarray(samples.reshape(-1, channels).T, np.float32))


class SequentialWaveReader:
    """Iterates over the (key, `WaveData`) pairs of a script of WAV files (``scp:FILE``)."""

    def __init__(self, rspecifier: str):
        """Takes ``scp:FILE``.

        Raises:
            ConfigError: the specifier is not a script.
        """
        specifier = Specifier.parse(rspecifier)
        if specifier.script is None:
            raise ConfigError(f"expected a script of WAV files (scp:FILE), found {rspecifier!r}")
        self._script = specifier.script

    def __iter__(self) -> Iterator[tuple[str, WaveData]]:
        for key, name in read_script(self._script):
            yield key, read_wave(name)

    def __enter__(self) -> "SequentialWaveReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing: files are open only while they are read."""
