"""The shape of the package: imports point down only and never in a circle, and no file is too long.

MAY_IMPORT has the order: `cli -> {serve, client, batch, worker, session}`, `serve -> master`, ... It is all
read from the source, so imports inside functions and those for type checking count as well.
"""

import ast
from collections import deque
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pykaldi_server"
BASE = {
    "cores",
    "errors",
    "event_loop",
    "languages",
    "lazy",
    "logs",
    "memory",
    "options",
    "repeated_keys",
    "service",
    "version",
    "whole_files",
}
MAY_IMPORT = {
    "cores": set(),
    "errors": set(),
    "event_loop": set(),
    "languages": set(),
    "lazy": set(),
    "memory": set(),
    "repeated_keys": set(),
    "version": set(),
    "whole_files": set(),
    "logs": {"errors"},
    "metrics": {"version"},
    "sockets": set(),
    "service": {"errors"},
    "options": {"errors"},
    "kaldi": BASE,
    "audio": BASE,
    "models": BASE,
    "session": {*BASE, "kaldi", "audio", "models"},
    "protocols": BASE,
    "database": {*BASE, "protocols"},
    "master": {*BASE, "metrics", "sockets", "protocols", "database"},
    "worker": {*BASE, "metrics", "sockets", "protocols", "session", "audio", "kaldi"},
    "client": {*BASE, "protocols", "audio"},
    "batch": {*BASE, "protocols", "database", "worker", "session", "audio"},
    "serve": {*BASE, "master", "protocols"},
    "fleet": {*BASE, "serve", "protocols", "worker"},
    "doctor": {*BASE, "session", "kaldi", "audio", "models"},
    "cli": {
        *BASE,
        "batch",
        "serve",
        "fleet",
        "master",
        "worker",
        "client",
        "protocols",
        "database",
        "session",
        "kaldi",
        "audio",
        "models",
    }
    | {"doctor"},
    "__main__": {"cli"},
    "__init__": {*BASE, "session", "audio"},
}
SERVER_ONLY = {"tornado", "prometheus_client"}
MAX_LINES = 600
# The types of the extension, which is one module, are one file: a list, not code.
MAX_STUB_LINES = 900
CODE_FOLDERS = ("pykaldi_server", "tests", "scripts")
CODE_SUFFIXES = (".py", ".pyi", ".cc", ".h", ".js", ".css")
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
        if part not in ("metrics", "sockets", "master", "worker", "serve", "fleet", "client", "cli"):
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


def module_name(path: Path) -> str:
    """The dotted name of a module; a package has the name of its folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(paths: list[Path]) -> dict[str, set[str]]:
    """Which modules each module imports; of `from a import b` it is a.b where that is a module, else a.

    That importing a module also runs the packages around it does not count: they do not need it to be done.
    """
    names = {module_name(path) for path in paths}
    graph: dict[str, set[str]] = {}
    for path in paths:
        module = module_name(path)
        graph[module] = set()
        for imported in imported_names(path):
            while imported and imported not in names:
                imported = imported.rpartition(".")[0]
            graph[module] |= {imported} - {"", module, PACKAGE.name}
    return graph


def shortest_circle(graph: Mapping[str, Set[str]], start: str) -> list[str]:
    """The shortest way along imports from a module back to itself; empty where there is none."""
    ways = deque([[start]])
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for target in sorted(graph[way[-1]]):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = import_graph(MODULES)
    circles = [circle for module in sorted(graph) if (circle := shortest_circle(graph, module))]
    # Each circle once, from its first module on.
    assert not [" -> ".join(circle) for circle in circles if circle[0] == min(circle)]


def test_no_file_is_too_long() -> None:
    for folder in CODE_FOLDERS:
        for path in sorted((PACKAGE.parent / folder).rglob("*")):
            if path.suffix in CODE_SUFFIXES:
                lines = len(path.read_text(encoding="utf-8").splitlines())
                most = MAX_STUB_LINES if path.suffix == ".pyi" else MAX_LINES
                assert lines <= most, f"{path}: expected at most {most} lines, found {lines}"


def test_circles_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: inside functions, for type checking, relative, and by way of a package."""
    package = tmp_path / "pykaldi_server"
    sources = {
        "__init__.py": "",
        "a.py": "def f():\n    from pykaldi_server.b import x\n",
        "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import c\n",
        "c.py": "import pykaldi_server.a\n",
        "d.py": "from pykaldi_server import a\nfrom pykaldi_server.e import name\n",
        "e/__init__.py": "from pykaldi_server.e.f import name\n",
        "e/f.py": "from pykaldi_server.e import name\n",
    }
    for name, text in sources.items():
        (package / name).parent.mkdir(exist_ok=True, parents=True)
        (package / name).write_text(text)
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    graph = import_graph([package / name for name in sources])
    top = package.name
    assert shortest_circle(graph, f"{top}.a") == [f"{top}.{name}" for name in "abca"]
    assert shortest_circle(graph, f"{top}.e.f") == [f"{top}.e.f", f"{top}.e", f"{top}.e.f"]
    assert shortest_circle(graph, f"{top}.d") == []
