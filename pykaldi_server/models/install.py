"""Puts models into the user's library and takes them out again, each in one step that happens or does not.

An archive is unpacked next to where the model will be, and moved there when it is complete. One process at a
time changes the library, so what it finds half done is what another one has left when it was killed: that is
deleted.
"""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.models.library import Description, find_model, models_folder
from pykaldi_server.models.unpack import unpack

__all__ = ["FindModel", "add_folder", "check_is_new", "downloads_folder", "install", "remove"]

FindModel = Callable[[Path], Path]
"""Finds the directory of the model in a folder; raises `ConfigError` if there is none."""

_HALF_DONE = ".half-"
_LONGEST_PART_S = 30 * 24 * 3600
"""A part of an archive that nobody has gone on with for longer is deleted."""
_LOCK = ".lock"


def downloads_folder() -> Path:
    """Where archives are while they arrive."""
    return models_folder() / ".downloads"


def check_is_new(name: str) -> None:
    """Raises `ConfigError` where the user has a model of this name, or it cannot be a name."""
    if not name or name.startswith(".") or "/" in name or ":" in name or "=" in name:
        raise ConfigError(f"{name!r}: expected a name without '/', ':' and '=' that does not begin with '.'")
    place = models_folder() / name
    if os.path.lexists(place):
        raise ConfigError(f"{name}: there is a model of this name in {place}; `model remove` removes it")


def install(
    name: str,
    archive: Path,
    description: Description,
    find: FindModel,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Unpacks an archive and adds its model to the library.

    Args:
        name: what the model will be called.
        archive: a zip or tar archive.
        description: what is known of it; where the model is in it is found out here.
        find: finds the model in what has been unpacked.
        progress: called with the number of bytes that have been read, and that of all.

    Returns:
        The model's directory.

    Raises:
        ConfigError: there is a model of this name, or none in the archive.
        ModelFormatError: the archive is damaged, or has something that it must not have.
        OSError: the disk is full, or the folder cannot be written to.
    """
    with _library() as folder:
        check_is_new(name)
        unpacked = Path(tempfile.mkdtemp(prefix=_HALF_DONE, dir=folder))
        try:
            unpack(archive, unpacked, progress)
            os.chmod(unpacked, 0o755)  # mkdtemp keeps others out; a model is no secret  # nosec B103
            top = _without_wrapping(unpacked)
            inner = find(top).relative_to(top)
            description = Description(
                **{**asdict(description), "folder": "" if inner == Path() else inner.as_posix()}
            )
            _put(folder, name, top, description)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    return folder / name / description.folder


def add_folder(name: str, model: Path, description: Description) -> None:
    """Adds a model that stays where it is: the library has a link to it.

    Raises:
        ConfigError: there is a model of this name.
        OSError: the folder cannot be written to.
    """
    with _library() as folder:
        check_is_new(name)
        link = Path(tempfile.mkdtemp(prefix=_HALF_DONE, dir=folder)) / name
        try:
            link.symlink_to(model.resolve(), target_is_directory=True)
            _put(folder, name, link, description)
        finally:
            shutil.rmtree(link.parent, ignore_errors=True)


def remove(name: str) -> Path | None:
    """Removes a model of the user's; of one that was added as a folder, only the link.

    Returns:
        The folder that was linked and stays; None for a model that was unpacked.

    Raises:
        ConfigError: there is no such model, or it is not the user's.
        OSError: it cannot be deleted.
    """
    with _library() as folder:
        model = find_model(name)
        if model is None or model.name != name:
            raise ConfigError(f"{name}: there is no model of this name; `model list --installed` lists them")
        if model.place is None:
            how = f"pip uninstall {name}" if model.origin == "package" else "it comes with the software"
            raise ConfigError(f"{name}: expected a model of the user's, found one in {model.path}: {how}")
        _description(folder, name).unlink(missing_ok=True)
        if model.place.is_symlink():
            linked = model.place.resolve()
            model.place.unlink()
            return linked
        # Out of sight in one step; deleting may take its time.
        bin_ = Path(tempfile.mkdtemp(prefix=_HALF_DONE, dir=folder))
        os.rename(model.place, bin_ / name)
        shutil.rmtree(bin_)
    return None


@contextmanager
def _library() -> Iterator[Path]:
    """Holds the library for this process alone, and deletes what a killed one has left half done."""
    folder = models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(f"{_HALF_DONE}*"):
            shutil.rmtree(leftover)
        for part in downloads_folder().glob("*"):
            if part.stat().st_mtime < time.time() - _LONGEST_PART_S:
                part.unlink()
        for description in folder.glob("*.json"):
            if not os.path.lexists(description.with_suffix("")):
                description.unlink()
        yield folder


def _put(folder: Path, name: str, model: Path, description: Description) -> None:
    """Moves a model to its place. The description comes first: without its model it says nothing."""
    fields = {key: value for key, value in asdict(description).items() if value}
    temporary = model.parent / f".{name}.json"
    temporary.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, _description(folder, name))
    os.rename(model, folder / name)


def _description(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _without_wrapping(folder: Path) -> Path:
    """The only folder of an archive that has nothing else at its top; otherwise the whole."""
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
