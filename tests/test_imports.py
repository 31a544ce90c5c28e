"""Imports point down only, see MAY_IMPORT: `cli -> {serve, client, worker, session}`, `serve -> master`, ...

Read from the source, so that imports inside functions and for type checking count, too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pykaldi_server"
BASE = {"errors", "options", "logs", "version"}
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "logs": {"errors"},
    "options": {"errors"},
    "kaldi": BASE,
    "audio": BASE,
    "session": {*BASE, "kaldi", "audio"},
    "protocols": BASE,
    "master": {*BASE, "protocols"},
    "worker": {*BASE, "protocols", "session", "audio", "kaldi"},
    "client": {*BASE, "protocols", "audio"},
    "serve": {*BASE, "master", "protocols"},
    "doctor": {*BASE, "session", "kaldi", "audio"},
    "cli": {*BASE, "serve", "master", "worker", "client", "protocols", "session", "kaldi", "audio", "doctor"},
    "__main__": {"cli"},
    "__init__": {*BASE, "session"},
}
SERVER_ONLY = {"tornado", "prometheus_client"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to: its folder or, at the top, its own name."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, relative imports resolved."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.relative_to(PACKAGE.parent).parts[: -node.level])
            module = node.module or ""
            full = f"{base}.{module}".strip(".") if node.level else module
            yield from (f"{full}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    for name in imported_names(path):
        top, *rest = name.split(".")
        if top == PACKAGE.name and rest:
            target = rest[0]
            known = target == part or target in MAY_IMPORT[part] or target == "__version__"
            assert known, f"{part} imports {name}"
        if part not in ("master", "worker", "serve", "client", "cli"):
            assert top not in SERVER_ONLY, f"{part} imports {name}"


def test_every_part_has_a_place_in_the_order() -> None:
    assert {part_of(path) for path in MODULES} <= set(MAY_IMPORT)


def test_a_relative_import_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: `from ..master import server` inside session must be seen for what it is."""
    package = tmp_path / "pykaldi_server"
    (package / "session").mkdir(parents=True)
    module = package / "session" / "sample.py"
    module.write_text("from ..master import server\nfrom . import events\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    assert list(imported_names(module)) == ["pykaldi_server.master.server", "pykaldi_server.session.events"]
