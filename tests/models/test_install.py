"""Models come into the library whole or not at all, and go again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archives import make_tar, make_zip

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.models.install import add_folder, downloads_folder, install, remove
from pykaldi_server.models.library import Description, find_model, models_folder
from pykaldi_server.session.formats.directories import find_model_directory

FILES = {"a-model/am/final.mdl": b"network", "a-model/graph/HCLG.fst": b"graph"}


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def in_library() -> set[str]:
    return {path.name for path in models_folder().iterdir() if path.name != ".lock"}


def test_an_archive_becomes_a_model(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", FILES)
    place = install(
        "mine", archive, Description(language="fr", url="https://a.example/"), find_model_directory
    )
    assert place == models_folder() / "mine"
    assert (place / "am" / "final.mdl").read_bytes() == b"network"
    assert in_library() == {"mine", "mine.json"}
    model = find_model("fr")
    assert model is not None
    assert model.description == Description(language="fr", url="https://a.example/")
    assert remove("mine") is None
    assert in_library() == set()


def test_an_archive_without_a_folder_of_its_own(tmp_path: Path) -> None:
    files = {name.removeprefix("a-model/"): content for name, content in FILES.items()}
    install("mine", make_tar(tmp_path / "a.tar.gz", files), Description(), find_model_directory)
    assert (models_folder() / "mine" / "am" / "final.mdl").exists()
    assert os.stat(models_folder() / "mine").st_mode & 0o777 == 0o755


def test_the_archive_of_a_recipe_has_its_model_deep_inside(tmp_path: Path) -> None:
    files = {
        "s5/exp/chain/online/conf/online.conf": b"",
        "s5/exp/chain/online/final.mdl": b"",
        "s5/conf/x": b"",
    }
    place = install("deep", make_tar(tmp_path / "a.tar", files), Description(), find_model_directory)
    assert place == models_folder() / "deep/exp/chain/online"
    model = find_model("deep")
    assert model is not None
    assert model.path == place
    assert (models_folder() / "deep/conf/x").exists()


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError):
        install(
            "bad", make_zip(tmp_path / "a.zip", {**FILES, "../x": b""}), Description(), find_model_directory
        )
    with pytest.raises(ConfigError, match="expected a model in Vosk's layout"):
        install("bad", make_zip(tmp_path / "b.zip", {"README": b""}), Description(), find_model_directory)
    two = {"a/am/final.mdl": b"", "b/am/final.mdl": b""}
    with pytest.raises(ConfigError, match="expected one model, found several: a, b"):
        install("bad", make_zip(tmp_path / "c.zip", two), Description(), find_model_directory)
    assert in_library() == set()


def test_what_a_killed_process_has_left_is_deleted(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", FILES)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from pykaldi_server.models.install import install\n"
        "from pykaldi_server.models.library import Description\n"
        "def die(folder): os.kill(os.getpid(), signal.SIGKILL)\n"
        "install('mine', Path(sys.argv[1]), Description(), die)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(archive)], check=False)
    assert ran.returncode == -signal.SIGKILL
    (left,) = in_library()
    assert left.startswith(".half-")
    (models_folder() / "gone.json").write_text("{}")
    assert find_model("mine") is None
    install("mine", archive, Description(), find_model_directory)
    assert in_library() == {"mine", "mine.json"}


def test_parts_of_archives_that_nobody_goes_on_with_are_deleted(models: Path) -> None:
    downloads_folder().mkdir(parents=True)
    for name, used_s in (("old.zip.part", 0.0), ("new.zip.part", time.time())):
        (downloads_folder() / name).touch()
        os.utime(downloads_folder() / name, (used_s, used_s))
    add_folder("eesti", models / "estonian", Description())
    assert [path.name for path in downloads_folder().iterdir()] == ["new.zip.part"]


def test_a_directory_stays_where_it_is(models: Path) -> None:
    add_folder("eesti", models / "estonian", Description(language="et"))
    model = find_model("et")
    assert model is not None
    assert model.name == "eesti"
    assert model.path.resolve() == models / "estonian"
    with pytest.raises(ConfigError, match="eesti: there is a model of this name"):
        add_folder("eesti", models / "english", Description())
    assert remove("eesti") == models / "estonian"
    assert (models / "estonian" / "am").is_dir()
    assert in_library() == set()


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a:b", "a=b", ".."])
def test_names(models: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected a name without"):
        add_folder(name, models / "estonian", Description())


def test_only_the_users_models_are_removed() -> None:
    with pytest.raises(
        ConfigError, match=r"estonian: expected a model of the user's, found one in .*software"
    ):
        remove("estonian")
    with pytest.raises(ConfigError, match="et: there is no model of this name"):
        remove("et")
