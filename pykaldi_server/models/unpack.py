"""Unpacks the archive of a model without trusting it.

Zip and tar archives (gzip, bzip2, xz) contain folders and ordinary files with relative paths, and nothing
else is unpacked: no links, no devices, no path that leads out of the folder or twice to the same file. The
sizes that an archive claims are bounded before anything is written, and so is what is really written.
"""

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pykaldi_server.errors import ConfigError, ModelFormatError

__all__ = ["archive_stem", "unpack"]

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MOST_MEMBERS = 20_000
# Networks and graphs become half or a tenth as large when they are packed, never a fiftieth.
_MOST_EXPANSION = 50
_SMALL_BYTES = 64 << 20
_RESERVE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 18
_PACKERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
"""How a packed tar archive begins, and what reads it."""
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)

Progress = Callable[[int, int], None]


def archive_stem(path: Path) -> str:
    """Returns the name of an archive without its suffix.

    Raises:
        ConfigError: it has none of the suffixes of archives that `unpack` reads.
    """
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    raise ConfigError(f"{path}: expected a directory, or a name that ends with {', '.join(_SUFFIXES)}")


def unpack(archive: Path, folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Unpacks an archive into an empty folder. After an error the folder has some of it.

    Args:
        archive: a zip or tar archive.
        folder: the folder, which exists.
        progress: called with the number of bytes read of the archive, and its size.

    Raises:
        ModelFormatError: the archive is damaged, or has something that it must not have.
        OSError: the disk is full, or the folder cannot be written to.
    """
    unpacker = _Unpacker(archive, folder)
    try:
        if zipfile.is_zipfile(archive):
            unpacker.unpack_zip(progress)
        else:
            unpacker.unpack_tar(progress)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of what is packed
            raise
        raise ModelFormatError(f"{archive}: expected a sound zip or tar archive, found: {error}") from error


class _Unpacker:
    """What has been unpacked of an archive."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive = archive
        self._folder = folder
        self._size_bytes = archive.stat().st_size
        self._most_bytes = max(_MOST_EXPANSION * self._size_bytes, _SMALL_BYTES)
        self._claimed_bytes = self._written_bytes = 0
        self._seen: set[PurePosixPath] = set()

    def unpack_zip(self, progress: Progress) -> None:
        with zipfile.ZipFile(self._archive) as archive:
            members = archive.infolist()
            for member in members:
                self._claim(member.filename, member.file_size)
                kind = stat.S_IFMT(member.external_attr >> 16)
                if member.flag_bits & 1:
                    raise self._refusal(member.filename, "is encrypted")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise self._refusal(member.filename, "is neither a file nor a folder")
            self._check_room()
            done = 0
            for member in members:
                if member.is_dir():
                    self._make_folder(member.filename)
                else:
                    with archive.open(member) as file:
                        self._write(member.filename, file, member.file_size)
                done += member.compress_size
                progress(done, self._size_bytes)

    def unpack_tar(self, progress: Progress) -> None:
        with _opened(self._archive) as (packed, file), tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                self._claim(member.name, member.size)
                if not (member.isfile() or member.isdir()) or member.issparse():
                    raise self._refusal(member.name, "is neither a file nor a folder")
                tarfile.data_filter(member, str(self._folder))
                self._check_room()
                if member.isdir():
                    self._make_folder(member.name)
                else:
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    self._write(member.name, content, member.size)
                progress(packed.tell(), self._size_bytes)

    def _claim(self, name: str, size_bytes: int) -> None:
        """Checks what an archive says of a member: its path, and how much there is altogether."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise self._refusal(name, "has a path that leads out of the folder")
        if path in self._seen and not name.endswith("/"):
            raise self._refusal(name, "is there twice")
        self._seen.add(path)
        self._claimed_bytes += size_bytes
        if len(self._seen) > _MOST_MEMBERS:
            raise self._refusal(name, f"is one of more than {_MOST_MEMBERS} members")
        if self._claimed_bytes > self._most_bytes:
            raise self._refusal(name, f"takes the archive beyond {self._most_bytes} bytes unpacked")

    def _check_room(self) -> None:
        free_bytes = shutil.disk_usage(self._folder).free
        needed_bytes = self._claimed_bytes - self._written_bytes + _RESERVE_BYTES
        if needed_bytes > free_bytes:
            text = f"{self._archive}: unpacking needs {needed_bytes} bytes, found {free_bytes}"
            raise OSError(errno.ENOSPC, text, str(self._folder))

    def _make_folder(self, name: str) -> None:
        try:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self._refusal(name, "needs a folder where there is a file") from None

    def _write(self, name: str, content: IO[bytes], size_bytes: int) -> None:
        path = self._folder / name
        self._make_folder(str(PurePosixPath(name).parent))
        if path.exists():
            raise self._refusal(name, "is there twice")
        left = size_bytes
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise self._refusal(name, f"has more than the {size_bytes} bytes that it should have")
                file.write(chunk)
                self._written_bytes += len(chunk)
        if left:
            raise self._refusal(name, f"has {left} bytes less than the {size_bytes} that it should have")

    def _refusal(self, name: str, why: str) -> ModelFormatError:
        return ModelFormatError(f"{self._archive}: {name!r} {why}; nothing of this archive is used")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Opens a tar archive, packed or not: the file as it is, and as it is unpacked."""
    with path.open("rb") as packed, ExitStack() as stack:
        magic = packed.read(6)
        packed.seek(0)
        for begin, unpacking in _PACKERS.items():
            if magic.startswith(begin):
                yield packed, stack.enter_context(unpacking(packed))
                return
        yield packed, packed
