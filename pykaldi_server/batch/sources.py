"""Which recordings a command line names: files, URLs, and the audio files of directories.

Each has a name of its own among all, without an ending: that of its transcripts.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.batch.locations import Location, file_name
from pykaldi_server.errors import ConfigError

__all__ = ["AUDIO_SUFFIXES", "STANDARD_INPUT", "Recording", "below_output", "find_recordings"]

STANDARD_INPUT = "-"

AUDIO_SUFFIXES = frozenset((
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi",
    ".caf", ".dts", ".eac3", ".flac", ".flv", ".gsm", ".m4a", ".m4b", ".m4v", ".mka", ".mkv",
    ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".oga", ".ogg", ".ogv", ".opus",
    ".ra", ".rm", ".sbc", ".snd", ".spx", ".ts", ".tta", ".voc", ".w64", ".wav", ".wave",
    ".weba", ".webm", ".wma", ".wmv", ".wv",
))  # fmt: skip
"""Endings of the files of a directory that are recordings; files that are named themselves may have any."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording to recognise.

    Attributes:
        path: the file, or its URL; ``-`` for standard input.
        name: path of its transcripts below the output directory, without an ending.
    """

    path: Location
    name: Path

    @property
    def is_standard_input(self) -> bool:
        """Whether it comes from standard input."""
        return str(self.path) == STANDARD_INPUT


def find_recordings(places: Iterable[Location]) -> list[Recording]:
    """Returns the recordings of files, URLs and directories, each once.

    Directories are searched with everything below them, and keep their layout. Files and directories whose
    names begin with a dot are left out there. Recordings that differ in nothing but the ending keep the
    ending in their names.

    Args:
        places: files and URLs, which need not exist, directories, and ``-`` for standard input.

    Raises:
        ConfigError: a directory has no recording, or standard input is named twice.
    """
    found: dict[Location, Path] = {}
    for place in places:
        if str(place) == STANDARD_INPUT and place in found:
            raise ConfigError("-: expected standard input once, found it twice")
        if isinstance(place, Path) and place.is_dir():
            inside = sorted(_audio_files(place))
            if not inside:
                raise ConfigError(f"{place}: expected a directory with audio files, found none in it")
            found |= {path: path.relative_to(place) for path in inside if path not in found}
        else:
            found.setdefault(place, Path("stdin" if str(place) == STANDARD_INPUT else file_name(place)))
    short = {path: name.with_suffix("") for path, name in found.items()}
    uses = Counter(short.values())
    full_uses = Counter(found.values())
    names: dict[Location, Path] = {}
    for path, name in found.items():
        chosen = short[path] if uses[short[path]] == 1 else name
        # The same name in several directories: the directories tell them apart.
        names[path] = chosen if full_uses[name] == 1 else below_output(Path(path))
    return [Recording(path, name) for path, name in names.items()]


def _audio_files(directory: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(directory):
        subfolders[:] = [each for each in subfolders if not each.startswith(".")]
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(folder, file)


def below_output(path: Path) -> Path:
    """A path as one below the output directory: without a root and without steps up."""
    return Path(*(part for part in path.parts if part not in (path.anchor, "..")))
