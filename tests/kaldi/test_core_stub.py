"""The types of the extension (``_core.pyi``) say what the extension has: names, arguments and results."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pykaldi_server.kaldi import _core

STUB = ast.parse(Path(_core.__file__).with_name("_core.pyi").read_text())
# What pybind11 gives to every class or enumeration, and what Python gives to every object.
EVERYWHERE = {"__init__", "__module__", "__doc__", "__hash__", "_pybind11_conduit_v1_"}
ENUMERATION = _core.FstFormat


class Signature(NamedTuple):
    """A function: its arguments but for ``self``, which of them have defaults, and its result."""

    arguments: tuple[str, ...]
    optional: tuple[str, ...]
    result: str


def plain(annotation: str) -> str:
    """A type without modules, quotes and None, which the extension does not show for pointers."""
    short = re.sub(
        r"\b(pykaldi_server\.kaldi\._core|numpy\.typing|numpy|np|collections\.abc|typing)\.", "", annotation
    )
    return re.sub(r" \| None$", "", short)


def split_top_level(text: str) -> Iterator[str]:
    """The parts between commas that are in no brackets."""
    depth, begin = 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield text[begin:i].strip()
            begin = i + 1
    if text[begin:].strip():
        yield text[begin:].strip()


def signatures_of_extension(function: object, name: str) -> set[Signature]:
    """What pybind11 writes into the docstring: one line, or one per overload."""
    found = set()
    for line in (function.__doc__ or "").splitlines():
        match = re.fullmatch(rf"(?:\d+\. )?{name}\((.*)\) -> (.+)", line)
        if match is None or match[1] == "*args, **kwargs":
            continue
        parts = [part for part in split_top_level(match[1]) if part not in ("/", "*")]
        parts = [part for part in parts if not part.startswith("self:")]
        optional = tuple(part.partition(":")[0] for part in parts if " = " in part)
        arguments = tuple(part.partition(":")[0] for part in parts)
        found.add(Signature(arguments, optional, plain(match[2])))
    return found


def signature_of_stub(function: ast.FunctionDef) -> Signature:
    arguments = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    optional = arguments[len(arguments) - len(function.args.defaults) :]
    is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    if arguments and arguments[0] == "self" and not is_static:
        arguments = arguments[1:]
    assert function.returns is not None
    return Signature(tuple(arguments), tuple(optional), plain(ast.unparse(function.returns)))


def stub_functions(body: list[ast.stmt]) -> dict[str, list[ast.FunctionDef]]:
    functions: dict[str, list[ast.FunctionDef]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, []).append(node)
    return functions


STUB_FUNCTIONS = stub_functions(STUB.body)
STUB_CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
CLASSES = {name: value for name, value in vars(_core).items() if isinstance(value, type)}
FUNCTIONS = {name: value for name, value in vars(_core).items() if type(value).__name__ == type(len).__name__}


def stub_members(class_name: str) -> list[ast.stmt]:
    """What the stub gives to a class, with what it has from bases that the extension does not have."""
    node = STUB_CLASSES[class_name]
    inherited = [stub_members(base.id) for base in node.bases if isinstance(base, ast.Name)]
    return [*(member for members in inherited for member in members), *node.body]


def is_property(function: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list)


def test_the_stub_has_every_name_and_no_other() -> None:
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert public == {*CLASSES, *FUNCTIONS}
    assert {name for name in STUB_CLASSES if not name.startswith("_")} == set(CLASSES)
    assert set(STUB_FUNCTIONS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions(name: str) -> None:
    check_overloads(signatures_of_extension(FUNCTIONS[name], name), STUB_FUNCTIONS[name])


def check_overloads(found: set[Signature], stubs: list[ast.FunctionDef]) -> None:
    """Overloads that differ only in the types of their arguments are one function of the stub."""
    assert found, "no signature in the docstring"
    assert found == {signature_of_stub(stub) for stub in stubs}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {ENUMERATION.__name__}))
def test_classes(name: str) -> None:
    members = {key: value for key, value in vars(CLASSES[name]).items() if key not in EVERYWHERE}
    body = stub_members(name)
    functions = stub_functions(body)
    fields = {
        node.target.id
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    fields -= EVERYWHERE
    assert {*functions, *fields} - {"__init__"} == set(members)
    for key, value in members.items():
        if isinstance(value, property):
            assert (value.fset is not None) == (key in fields), key
            if key in functions:
                assert is_property(functions[key][0]), key
                assert isinstance(value.fget.__doc__, str)
                result = plain(value.fget.__doc__.splitlines()[0].partition(" -> ")[2])
                assert result == signature_of_stub(functions[key][0]).result, key
            continue
        function = getattr(CLASSES[name], key)
        check_overloads(signatures_of_extension(function, key), functions[key])
        is_static = isinstance(value, staticmethod)
        assert is_static == ("self" not in [a.arg for a in functions[key][0].args.args]), key
    if signatures := signatures_of_extension(vars(CLASSES[name])["__init__"], "__init__"):
        check_overloads(signatures, functions["__init__"])
    else:
        assert "__init__" not in functions, "the extension makes objects of this class itself"


def test_enumeration() -> None:
    body = STUB_CLASSES[ENUMERATION.__name__].body
    members = {
        node.target.id
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.isupper()
    }
    assert members == set(ENUMERATION.__members__)
    for name in ("name", "value"):
        assert isinstance(vars(ENUMERATION)[name], property)
