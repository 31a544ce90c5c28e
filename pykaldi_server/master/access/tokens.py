"""Tokens by which a master knows its callers, and the file that has them.

    clients:
      kitchen: a-long-random-text            # a token
      phones:
        token: sha256:9f86d081884c7d65...    # or its SHA-256, in hexadecimal digits
        sessions: 4                          # limits of its own
        messages-per-s: 100
        session-s: 3600
    workers:
      decoder-1: another-long-random-text
    administrators:
      monitoring: a-third-one

A token is compared by its SHA-256 with those of all others, in a time that depends neither on which one it is
nor on how much of it is right.
"""

import hashlib
import hmac
import logging
import math
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path

import yaml

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.caller import Limits

__all__ = ["MIN_TOKEN_CHARACTERS", "Role", "Token", "find_token", "read_tokens"]

logger = logging.getLogger(__name__)

MIN_TOKEN_CHARACTERS = 16
"""Shorter tokens could be guessed; nothing slows a guesser down."""
HASH_PREFIX = "sha256:"
_HASH = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_NAME = re.compile(r"[\w.@+-]{1,64}")


class Role(StrEnum):
    """What a token is for: the names of the sections of the file."""

    CLIENT = "clients"
    WORKER = "workers"
    ADMINISTRATOR = "administrators"


@dataclass(frozen=True, slots=True)
class Token:
    """A token.

    Attributes:
        name: whose it is; unique in the file.
        role: what it is for.
        digest: the SHA-256 of its UTF-8 text.
        limits: what its callers may use at most.
    """

    name: str
    role: Role
    digest: bytes
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_text(cls, name: str, role: Role, text: str) -> "Token":
        """A token of this text."""
        return cls(name, role, _digest(text))


def find_token(tokens: Iterable[Token], text: str) -> Token | None:
    """The token with this text; None where there is none."""
    digest = _digest(text)
    found = None
    for each in tokens:  # all of them, so that the time says nothing
        if hmac.compare_digest(each.digest, digest):
            found = each
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Reads a file of tokens.

    Raises:
        ConfigError: the file cannot be read, or something in it is invalid; the text names the file, the line
            and the field, and never has a token in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"tokens: {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"tokens: {path}: expected UTF-8 text: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"tokens: {path}{line}: expected YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigError(f"tokens: {path}: expected YAML, found characters that are invalid in it") from None
    if mode & stat.S_IROTH:
        logger.warning("%s: any user of this machine can read the tokens; chmod o= %s", path, path)
    tokens = _Reader(path).tokens(root)
    if not tokens:
        raise ConfigError(f"tokens: {path}: expected at least one token, found none")
    return tokens


class _Reader:
    """Reads the nodes of a file, which know the lines that they are on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: list[Token] = []

    def tokens(self, root: yaml.Node | None) -> tuple[Token, ...]:
        """All tokens, in the order of the file."""
        if root is not None:
            sections = ", ".join(Role)
            for key, value in self._fields(root, "", f"the sections {sections}"):
                if key not in list(Role):
                    raise self._error(value, key, f"expected one of the sections {sections}")
                for name, entry in self._fields(value, key, "names of tokens"):
                    self._add(Role(key), name, entry)
        return tuple(self._tokens)

    def _add(self, role: Role, name: str, entry: yaml.Node) -> None:
        place = f"{role}.{name}"
        if not _NAME.fullmatch(name):
            raise self._error(entry, place, "expected up to 64 letters, digits and any of _ . @ + -")
        limits: dict[str, int | float] = {}
        digest = None
        if isinstance(entry, yaml.ScalarNode):
            digest = self._read_digest(entry, place)
        else:
            known = {each.name.replace("_", "-"): each.name for each in fields(Limits)}
            for key, value in self._fields(entry, place, "token and limits"):
                if key == "token":
                    digest = self._read_digest(value, f"{place}.token")
                elif key not in known:
                    raise self._error(value, f"{place}.{key}", f"expected one of token, {', '.join(known)}")
                elif role is Role.WORKER:
                    raise self._error(value, f"{place}.{key}", "expected no limits of a worker, found one")
                else:
                    limits[known[key]] = self._read_limit(value, f"{place}.{key}", key == "sessions")
        if digest is None:
            raise self._error(entry, place, "expected a token, found none")
        for other in self._tokens:
            if other.name == name:
                raise self._error(entry, place, f"expected a name of its own, found one of {other.role}")
            if other.digest == digest:
                same = f"{other.role}.{other.name}"
                raise self._error(entry, place, f"expected a token of its own, found that of {same}")
        self._tokens.append(Token(name, role, digest, Limits(**limits)))  # type: ignore[arg-type]

    def _read_digest(self, node: yaml.Node, place: str) -> bytes:
        text = self._scalar(node, place)
        if text.startswith(HASH_PREFIX):
            digits = text.removeprefix(HASH_PREFIX)
            if not _HASH.fullmatch(digits):
                found = f"{len(digits)} characters"
                raise self._error(
                    node, place, f"expected 64 hexadecimal digits after {HASH_PREFIX}, found {found}"
                )
            return bytes.fromhex(digits)
        if len(text) < MIN_TOKEN_CHARACTERS:
            expected = f"expected a token of at least {MIN_TOKEN_CHARACTERS} characters"
            raise self._error(node, place, f"{expected}, found one of {len(text)}")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise self._error(
                node, place, "expected a token of printable ASCII characters without spaces, found others"
            )
        return _digest(text)

    def _read_limit(self, node: yaml.Node, place: str, is_whole: bool) -> int | float:
        text = self._scalar(node, place)
        expected = f"expected a {'whole ' if is_whole else ''}number above 0"
        try:
            value: int | float = int(text) if is_whole else float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise self._error(node, place, f"{expected}, found {text!r}")
        return value

    def _scalar(self, node: yaml.Node, place: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            raise self._error(node, place, "expected text, found something else or nothing")
        return str(node.value)

    def _fields(self, node: yaml.Node, place: str, what: str) -> list[tuple[str, yaml.Node]]:
        """The fields of a mapping, each once; nothing at all counts as an empty one."""
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return []
        if not isinstance(node, yaml.MappingNode):
            kind = node.tag.rpartition(":")[2]
            raise self._error(node, place, f"expected a mapping of {what}, found a value of type {kind}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._scalar(key, place or "a section")
            if name in found:
                raise self._error(key, f"{place}.{name}".lstrip("."), "expected it once, found it again")
            found[name] = value
        return list(found.items())

    def _error(self, node: yaml.Node, place: str, text: str) -> ConfigError:
        line = node.start_mark.line + 1
        return ConfigError(f"tokens: {self._path}, line {line}: {place + ': ' if place else ''}{text}")
