"""Which recordings a command line names: files, URLs, and the audio files of directories.

Each has a name of its own among all, without an ending: that of its transcripts.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

_LONGEST_STEP = 3


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
        ConfigError: a directory has no recording, a URL names no file, or standard input is named twice.
        OSError: a directory cannot be read; one below it counts as a recording, which cannot be read.
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
            name = "stdin" if str(place) == STANDARD_INPUT else file_name(place)
            if not name:
                raise ConfigError(f"{place}: expected the URL of a file, found one without its name")
            found.setdefault(place, Path(name))
    return [Recording(path, name) for path, name in _different_names(found).items()]


def _different_names(names: Mapping[Location, Path]) -> dict[Location, Path]:
    """Shortens names as far as they differ: without endings, with them, with the folders as they are given.

    Only a file that is named in two ways, such as by a link, may end up with one name.
    """
    choices = {place: _choices(place, name) for place, name in names.items()}
    steps = dict.fromkeys(names, 0)
    while True:
        sharing: dict[Path, list[Location]] = {}
        for place, step in steps.items():
            sharing.setdefault(choices[place][step], []).append(place)
        lengthened = [place for places in sharing.values() for place in _to_lengthen(places, steps)]
        if not lengthened:
            return {place: choices[place][step] for place, step in steps.items()}
        for place in lengthened:
            steps[place] += 1


def _to_lengthen(places: Sequence[Location], steps: Mapping[Location, int]) -> Iterator[Location]:
    """Of those that share a name, the ones whose names are still the shortest."""
    fewest = min(steps[place] for place in places)
    if len(places) > 1 and fewest < _LONGEST_STEP:
        yield from (place for place in places if steps[place] == fewest)


def _choices(place: Location, name: Path) -> tuple[Path, Path, Path, Path]:
    """What a recording may be called, the shortest first."""
    whole = os.path.abspath(place) if isinstance(place, Path) else place
    return name.with_suffix(""), name, below_output(Path(place)), below_output(Path(whole))


def _audio_files(directory: Path) -> Iterator[Path]:
    unread: list[OSError] = []
    for folder, subfolders, files in os.walk(directory, onerror=unread.append):
        subfolders[:] = [each for each in subfolders if not each.startswith(".")]
        for file in files:
            if not file.startswith(".") and Path(file).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(folder, file)
    for error in unread:  # whoever reads a folder below as if it were a recording says what is wrong with it
        if Path(error.filename) == directory:
            raise error
        yield Path(error.filename)


def below_output(path: Path) -> Path:
    """A path as one below the output directory: without a root and without steps up."""
    return Path(*(part for part in path.parts if part not in (path.anchor, "..")))
