"""Archives with any content, as nobody would pack them."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["make_tar", "make_zip"]


def make_zip(path: Path, files: Mapping[str, bytes], modes: Mapping[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return path


def make_tar(path: Path, files: Mapping[str, bytes], *special: tarfile.TarInfo) -> Path:
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in special:
            archive.addfile(member)
    return path
