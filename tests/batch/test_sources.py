"""Which recordings a command line names, and what their transcripts are called."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pykaldi_server.batch.sources import find_recordings
from pykaldi_server.errors import ConfigError


def names_of(*places: Path) -> dict[str, str]:
    return {str(each.path): str(each.name) for each in find_recordings(places)}


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def test_files_need_neither_exist_nor_have_a_known_ending() -> None:
    assert names_of(Path("x/a.wav"), Path("b.raw"), Path("c")) == {"x/a.wav": "a", "b.raw": "b", "c": "c"}
    assert names_of(Path("-")) == {"-": "stdin"}


def test_directories_keep_their_layout(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "B/c.OPUS", "B/d.txt", ".hidden.wav", ".git/e.wav")
    assert names_of(tmp_path) == {f"{tmp_path}/a.wav": "a", f"{tmp_path}/B/c.OPUS": "B/c"}


def test_names_differ(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "a.mp3", "b/a.flac")
    assert set(names_of(tmp_path).values()) == {"a.wav", "a.mp3", "b/a"}
    assert names_of(Path("x/a.wav"), Path("../y/a.wav")) == {"x/a.wav": "x/a.wav", "../y/a.wav": "y/a.wav"}


def test_names_differ_from_those_that_others_have_with_their_endings(tmp_path: Path) -> None:
    make(tmp_path, "a.flac", "a.wav", "a.wav.mp3", "b.wav.mp3")
    assert sorted(names_of(tmp_path).values()) == ["a.flac", "a.wav", "a.wav.mp3", "b.wav"]


def test_names_differ_where_steps_up_are_all_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, parent = tmp_path.relative_to("/"), tmp_path.parent.relative_to("/")
    assert names_of(Path("x/a.wav"), Path("../x/a.wav"), Path("/x/a.wav")) == {
        "x/a.wav": f"{here}/x/a.wav",
        "../x/a.wav": f"{parent}/x/a.wav",
        "/x/a.wav": "x/a.wav",
    }


def test_a_file_counts_once(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    assert len(names_of(tmp_path / "a.wav", tmp_path, tmp_path / "a.wav")) == 1


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a directory it is one of the recordings: it fails, and the others do not."""
    make(tmp_path, "a.wav", "closed/b.wav")
    scandir = os.scandir

    def refusing(path: str | Path) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert names_of(tmp_path) == {f"{tmp_path}/a.wav": "a", f"{tmp_path}/closed": "closed"}
    with pytest.raises(PermissionError, match="closed"):
        find_recordings([tmp_path / "closed"])


def test_what_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found none in it"):
        find_recordings([tmp_path])
    with pytest.raises(ConfigError, match="found it twice"):
        find_recordings([Path("-"), Path("-")])
    with pytest.raises(ConfigError, match="expected the URL of a file, found one without its name"):
        find_recordings(["s3://bucket/"])
