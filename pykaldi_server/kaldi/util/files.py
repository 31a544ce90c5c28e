"""Opens the files of models: maps them, unpacks ``.gz``, and refuses what Git LFS leaves in their place.

What is unpacked is decided by the content, not the name. Kaldi reads packed files through a command
(``gunzip -c FILE |``); here the file is enough, see `relocation.unpiped`.
"""

import mmap
import os
from pathlib import Path

from pykaldi_server.errors import ModelFormatError

__all__ = ["load_bytes", "load_text", "refuse_lfs_pointer"]

_GZIP_MAGIC = b"\x1f\x8b"
_LFS_MAGIC = b"version https://git-lfs.github.com/spec/"


def load_bytes(path: str | os.PathLike[str]) -> bytes | mmap.mmap:
    """Maps a file into memory, read only; a ``.gz`` file is unpacked (an empty file gives empty bytes).

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: the path is a directory or something else that cannot be mapped, the packed data are
            damaged, or the file is a Git LFS pointer.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFormatError(f"{path}: expected a file, found a directory")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ModelFormatError(f"{path}: expected a regular file, found {error}") from error
    refuse_lfs_pointer(data[: len(_LFS_MAGIC)], path)
    return _unpacked(data, path) if data[: len(_GZIP_MAGIC)] == _GZIP_MAGIC else data


def load_text(path: str | os.PathLike[str]) -> str:
    """Reads a text file of UTF-8; raises as `load_bytes`, and where the text is in another encoding."""
    data = bytes(load_bytes(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelFormatError.at(
            path, error.start, expected="UTF-8 text", found=f"the byte 0x{data[error.start]:02x}"
        ) from None


def refuse_lfs_pointer(content: bytes, path: str | os.PathLike[str]) -> None:
    """Raises `ModelFormatError` where the content is a pointer that Git LFS leaves in place of a file."""
    if content.startswith(_LFS_MAGIC):
        raise ModelFormatError(
            f"{os.fspath(path)}: expected a file of a model, found a Git LFS pointer to it; run 'git lfs "
            "pull' in the repository that it comes from"
        )


def _unpacked(data: mmap.mmap, path: Path) -> bytes:
    import gzip  # few models have packed files
    import zlib

    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ModelFormatError(f"{path}: expected gzip data, found damaged ones: {error}") from error
