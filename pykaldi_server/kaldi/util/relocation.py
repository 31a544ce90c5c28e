"""Finds the files that a configuration names, although they have moved since.

Kaldi's scripts write the paths of the machine where a model was trained into its configuration files
(``--lda-matrix=/export/exp/tdnn_online/ivector_extractor/final.mat``). A path that does not exist is *lost*.
What stays the same when a model is copied is the end of the path, so the file sought is the one whose path
has the longest *tail* in common with the lost one: ``ivector_extractor/final.mat`` before ``am/final.mat``.
Where several files have the longest tail, none is better than the others, and that is an error.
"""

import logging
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from pykaldi_server.errors import ConfigError

__all__ = ["PathBase", "resolve_path", "unpiped"]

logger = logging.getLogger(__name__)

_DRIVE = re.compile(r"[A-Za-z]:")
_UNPACKERS = (["gunzip", "-c"], ["gzip", "-dc"], ["gzip", "-cd"], ["gzip", "-d", "-c"], ["zcat"], ["cat"])


@dataclass(frozen=True)
class PathBase:
    """Where the files that a configuration file names are looked for.

    Attributes:
        config_dir: directory of the configuration file.
        model_dir: directory of the model; None where it is that of the configuration file.
    """

    config_dir: Path
    model_dir: Path | None = None

    @property
    def roots(self) -> tuple[Path, ...]:
        """Directories in which lost files are looked for; none of them lies in another one."""
        if self.model_dir is None:
            return (self.config_dir,)
        model_dir, config_dir = self.model_dir.resolve(), self.config_dir.resolve()
        if config_dir.is_relative_to(model_dir):
            return (self.model_dir,)
        return (
            (self.config_dir,) if model_dir.is_relative_to(config_dir) else (self.model_dir, self.config_dir)
        )


def resolve_path(value: str, base: PathBase, place: str) -> Path:
    """Finds a file that a configuration names.

    Tried in this order: the path as it is, or relative to the configuration file or the working directory;
    then, with a warning that says which file was taken, the path relative to a directory above the
    configuration file, and the file in the model's directory that has the longest tail in common with it.

    Args:
        value: the path; backslashes and drive letters of Windows are understood, and so is a command that
            only unpacks a file (`unpiped`).
        base: where to look.
        place: where the path is written, for errors (``conf/online.conf:3: --mfcc-config``).

    Raises:
        ConfigError: there is no such file, or there are several; the text names what was tried or found.
    """
    value = unpiped(value, place)
    lost = _as_path(value)
    exact = [Path(value)] if Path(value).is_absolute() else [base.config_dir / value, Path(value)]
    if isinstance(lost, PureWindowsPath) and not lost.anchor:
        exact += [base.config_dir / lost.as_posix(), Path(lost.as_posix())]
    found = next((path for path in exact if path.exists()), None)
    if found is not None:
        return found
    found = _relative_to_a_parent(lost, base.config_dir) or _find_lost(value, lost, base, place)
    logger.warning("%s: there is no %s; using %s instead", place, _printable(value), found)
    return found


def unpiped(value: str, place: str) -> str:
    """Returns the file of a command that only unpacks or copies it (``gunzip -c FILE |``); no command is run.

    Readers unpack ``.gz`` files themselves. A value that is not a command is returned as it is.

    Raises:
        ConfigError: it is another command.
    """
    if not value.rstrip().endswith("|"):
        return value
    try:
        words = shlex.split(value.rstrip().removesuffix("|"))
    except ValueError:
        words = []
    if words[:-1] not in _UNPACKERS or set(words[-1]) & set("|;&<>$`*?"):
        raise ConfigError(
            f"{place}: expected a file or 'gunzip -c FILE |', found a command, which is not run: {value!r}; "
            "write its output to a file"
        )
    return words[-1]


def _as_path(value: str) -> PurePath:
    """The path as the machine that wrote it understood it."""
    is_windows = bool(_DRIVE.match(value)) or "\\" in value
    return PureWindowsPath(value) if is_windows else PurePosixPath(value)


def _relative_to_a_parent(lost: PurePath, config_dir: Path) -> Path | None:
    """The file that a relative path names in a directory above the configuration file, the nearest first."""
    if lost.anchor or len(lost.parts) < 2:
        return None
    files = (folder / lost.as_posix() for folder in config_dir.absolute().parents)
    return next((path for path in files if path.is_file()), None)


def _find_lost(value: str, lost: PurePath, base: PathBase, place: str) -> Path:
    inside = " or ".join(map(str, base.roots))
    tails = [(_common_tail(path, lost), path) for root in base.roots for path in _files_named(root, lost)]
    if not tails:
        raise ConfigError(
            f"{place}: there is no such file: {_printable(value)}, nor a {lost.name!r} inside {inside}"
        )
    longest = max(tail for tail, _ in tails)
    best = sorted(path for tail, path in tails if tail == longest)
    if len(best) > 1:
        raise ConfigError(
            f"{place}: there is no such file: {_printable(value)}; several may be meant, write the path of "
            f"the right one: {', '.join(map(str, best))}"
        )
    return best[0]


def _files_named(root: Path, lost: PurePath) -> Iterator[Path]:
    """Yields the files inside a directory that have the name of a lost one; hidden folders are left out."""
    visited = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if _is_same(name, lost.name, lost))


def _common_tail(path: Path, lost: PurePath) -> int:
    """How many parts at the end of two paths are the same."""
    length = 0
    for part, lost_part in zip(reversed(path.absolute().parts), reversed(lost.parts), strict=False):
        if not _is_same(part, lost_part, lost):
            break
        length += 1
    return length


def _is_same(name: str, lost_name: str, lost: PurePath) -> bool:
    """Whether two names are the same; on Windows, capitals and small letters are."""
    if isinstance(lost, PureWindowsPath):
        return name.casefold() == lost_name.casefold()
    return name == lost_name


def _printable(path: str) -> str:
    """A path for messages, in which bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode(errors="replace")
