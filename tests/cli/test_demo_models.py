"""Which models commands use that were given none."""

import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pykaldi_server.cli import common, main
from pykaldi_server.models import CHECKOUT_MODELS

DIGITS = "ps-tidigits-2934z"


@pytest.fixture
def packaged(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model of digits where an installed package has it."""
    demo = tmp_path / "english-digits"
    for name, part in (("am", "am"), ("conf", "conf"), ("ivector", "ivector"), ("graph", "graph-digits")):
        shutil.copytree(models / "english" / part, demo / name)
    monkeypatch.setattr(common, "PACKAGED_DEMO", demo)
    return demo


@pytest.fixture
def no_demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PACKAGED_DEMO", tmp_path / "none")
    monkeypatch.setattr(common, "CHECKOUT_MODELS", tmp_path / "none")


def test_a_wheel_gets_its_model_where_it_is_looked_for() -> None:
    setup = (CHECKOUT_MODELS.parent / "setup.py").read_text(encoding="utf-8")
    assert str(common.PACKAGED_DEMO.relative_to(CHECKOUT_MODELS.parent)) in setup


def test_a_checkout_has_several_models_and_says_nothing_of_them(
    capsys: pytest.CaptureFixture[str], models: Path
) -> None:
    found = common.default_models()
    assert [Path(each.partition(":")[0]).is_dir() for each in found] == len(found) * [True]
    assert len(found) > 1
    assert common.default_model() == f"{models}/english:graph"
    common.say_what_demos_are(found)
    assert capsys.readouterr().err == ""


def test_an_installed_package_has_digits_and_says_so(packaged: Path, golden: Path) -> None:
    assert common.default_models() == (str(packaged),)
    ran = CliRunner().invoke(main, ["transcribe", str(golden / "wav" / f"{DIGITS}.wav")])
    assert (ran.exit_code, ran.stdout) == (0, "two nine three four zero\n")
    assert ran.stderr.startswith(common.DIGITS_ONLY)
    named = CliRunner().invoke(
        main, ["transcribe", "-m", str(packaged), str(golden / "wav" / f"{DIGITS}.wav")]
    )
    assert named.stdout == ran.stdout
    assert "demo" not in named.stderr


def test_doctor_loads_the_demo_of_an_installed_package(packaged: Path) -> None:
    ran = CliRunner().invoke(main, ["doctor"])
    assert ran.stdout.count("english-digits: 16000 Hz, loaded in ") == 1
    assert "demo" not in ran.stderr


@pytest.mark.usefixtures("no_demos")
@pytest.mark.parametrize("command", [["serve"], ["transcribe", "x.wav"], ["worker"]])
def test_without_demos_a_model_is_required(command: list[str]) -> None:
    with pytest.raises(click.UsageError):
        common.default_model()
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 2
    assert "expected a model, found none; this installation has no demo models" in ran.stderr
