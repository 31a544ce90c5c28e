"""Settings of `serve`: names of models."""

from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.serve.options import ServeOptions, split_name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("models/english", ("", "models/english")),
        ("en=models/english:graph", ("en", "models/english:graph")),
        ("en=a=b", ("en", "a=b")),
        ("/exp/lr=0.1/model", ("", "/exp/lr=0.1/model")),
    ],
)
def test_names(model: str, expected: tuple[str, str]) -> None:
    assert split_name(model) == expected


def test_paths_that_exist_are_not_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    assert split_name("lr=0.1") == ("", "lr=0.1")


@pytest.mark.parametrize("model", ["=models/english", "en="])
def test_half_a_name_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="expected PATH or NAME=PATH"):
        ServeOptions(models=(model,)).validate()


def test_names_are_given_once() -> None:
    with pytest.raises(ConfigError, match="found 'a' more than once"):
        ServeOptions(models=("a=x", "a=y")).validate()
    ServeOptions(models=("a=x", "b=x", "x")).validate()
