"""The site of the documentation: what it takes from outside docs/, and the page of options."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pykaldi_server.cli.model import model_options
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.serve.options import ServeOptions
from pykaldi_server.worker.options import WorkerOptions

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return script("docs_site")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script("options_reference")


def test_the_page_of_options_is_current(reference: ModuleType) -> None:
    found = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert found == reference.page(), "run python scripts/options_reference.py"


def test_an_old_page_of_options_is_named(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "PAGE", tmp_path / "options.md")
    monkeypatch.setattr(sys, "argv", ["options_reference.py"])
    assert reference.main() == 0
    monkeypatch.setattr(sys, "argv", ["options_reference.py", "--check"])
    assert reference.main() == 0
    (tmp_path / "options.md").write_text("beam=16")
    assert reference.main() == 1
    assert capsys.readouterr().out == ("options.md is out of date: run python scripts/options_reference.py\n")


def test_the_page_of_options_has_every_option(reference: ModuleType) -> None:
    """By another way than the one by which it was written."""
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    names = {row.split("`")[1] for row in rows}
    for options in (ServeOptions, MasterOptions, WorkerOptions):
        fields = [field.name for field in dataclasses.fields(options) if field.name != "master"]
        assert {name.replace("_", "-") for name in fields} <= names
    for gmm in (False, True):
        assert {name for name, _, _ in model_options(gmm)} <= names
    assert {"word-syms", "lda-mat", "post-processor", "silence-timeout", "num-mel-bins", "diag-ubm"} <= names
    assert next(row for row in rows if row.startswith("| `beam` ")) == (
        "| `beam` | `16.0` | yes | Hypotheses that cost more than the best one by this are dropped; "
        "larger is slower and more accurate. |"
    )
    assert "| `acoustic-scale` | `0.1` |  |" in reference.page()  # not for requests


def test_the_site_has_what_pages_link_to(site: ModuleType) -> None:
    files = site.linked_files()
    assert {Path("README.md"), Path("models/README.md"), Path("models/samples/chain.yaml")} <= files
    assert all((ROOT / path).is_file() for path in files)
    assert not any(path.is_relative_to("docs") or path.name.startswith(".") for path in files)


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("README.md", "[all](docs/models.md)", "[all](models.md)"),
        ("README.md", "[all](docs/models.md#graphs)", "[all](models.md#graphs)"),
        ("README.md", "![it](docs/page.png)", "![it](page.png)"),
        ("README.md", "[models](models)", "[models](repository/models/README.md)"),
        ("README.md", "[core](pykaldi_server/kaldi/csrc)", "core"),
        ("README.md", "[`core`](pykaldi_server/kaldi/csrc)", "`core`"),
        ("CONTRIBUTING.md", "[CI](.ci/run)", "CI"),
        ("docs/models.md", "[all](../README.md#how-it-compares)", "[all](index.md#how-it-compares)"),
        (
            "docs/models.md",
            "[x](../models/samples/chain.yaml)",
            "[x](repository/models/samples/chain.yaml)",
        ),
        ("models/README.md", "[e](english/README.md)", "[e](english/README.md)"),
        ("models/README.md", "[d](../docs/models.md)", "[d](../../models.md)"),
        ("docs/models.md", "[there](https://example.org/x.md)", "[there](https://example.org/x.md)"),
        ("docs/models.md", "[below](#graphs)", "[below](#graphs)"),
        ("docs/models.md", "`[code](../README.md)`", "`[code](../README.md)`"),
        ("docs/models.md", "```sh\n[x](../README.md)\n```", "```sh\n[x](../README.md)\n```"),
    ],
)
def test_links_hold_in_the_site(site: ModuleType, page: str, text: str, expected: str) -> None:
    assert site.relinked(text, Path(page)) == expected


@pytest.mark.parametrize("path", ["README.md", "docs/models.md", "models/english/README.md"])
def test_places(site: ModuleType, path: str) -> None:
    assert site.place_in_repository(site.place_in_site(Path(path))) == Path(path)
