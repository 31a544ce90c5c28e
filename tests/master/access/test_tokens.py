"""The file of tokens: what is read, and what is wrong with it."""

import hashlib
import logging
import re
from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.caller import Limits
from pykaldi_server.master.access.tokens import Role, find_token, read_tokens

LONG = "0123456789abcdef"
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "security.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "tokens.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_tokens_as_text_and_as_hash(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"another-secret-text").hexdigest()
    text = f"""
clients:
  a: {LONG}
  b:
    token: sha256:{digest.upper()}
    sessions: 2
    messages-per-s: 2.5
    session-s: 60
workers:
administrators: {{c: 12345678901234567890}}
"""
    tokens = read_tokens(write(tmp_path, text))
    assert [(each.name, each.role) for each in tokens] == [
        ("a", Role.CLIENT),
        ("b", Role.CLIENT),
        ("c", Role.ADMINISTRATOR),
    ]
    assert tokens[1].limits == Limits(2, 2.5, 60)
    found = find_token(tokens, "another-secret-text")
    assert found is tokens[1]
    assert find_token(tokens, "12345678901234567890") is tokens[2]
    for wrong in ("", LONG[:-1], LONG + "x", LONG.upper(), digest, f"sha256:{digest}", "\udcff"):
        assert find_token(tokens, wrong) is None


def test_the_documented_file(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(# tokens.yaml.*?)```", DOCUMENT.read_text(), re.DOTALL)
    tokens = read_tokens(write(tmp_path, text))
    assert {each.role for each in tokens} == set(Role)


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        ("", 0, "expected at least one token, found none"),
        ("clients:", 0, "expected at least one token, found none"),
        ("[a]", 1, "expected a mapping of the sections clients, workers, administrators, found a value of"),
        ("\nclient: {}", 2, "client: expected one of the sections clients, workers, administrators"),
        (
            f"clients:\n- {LONG}",
            2,
            "clients: expected a mapping of names of tokens, found a value",
        ),
        ("clients:\n  a: short", 2, "clients.a: expected a token of at least 16 characters, found one of 5"),
        ("clients:\n  a:\n", 2, "clients.a: expected text, found something else or nothing"),
        ("clients:\n  a: {}\n", 2, "clients.a: expected a token, found none"),
        (f"clients: {{'a b': {LONG}}}", 1, "clients.a b: expected up to 64 letters"),
        ("clients: {a: sha256:12}", 1, "clients.a: expected 64 hexadecimal digits after sha256:, found 2"),
        ("clients: {a: with spaces in the middle}", 1, "clients.a: expected a token of printable ASCII"),
        (
            f"clients:\n  a:\n    token: {LONG}\n    session: 1",
            4,
            "clients.a.session: expected one of",
        ),
        (
            f"clients:\n  a: {{token: {LONG}, sessions: 1.5}}",
            2,
            "clients.a.sessions: expected a whole number above 0, found '1.5'",
        ),
        (
            f"clients:\n  a: {{token: {LONG}, session-s: .nan}}",
            2,
            "clients.a.session-s: expected a number above 0, found '.nan'",
        ),
        (
            f"clients:\n  a: {{token: {LONG}, session-s: -1}}",
            2,
            "clients.a.session-s: expected a number above 0, found '-1'",
        ),
        (f"workers:\n  a: {{token: {LONG}, sessions: 1}}", 2, "workers.a.sessions: expected no limits"),
        (f"clients:\n  a: {LONG}\n  a: {LONG}x", 3, "clients.a: expected it once, found it again"),
        (f"clients:\n  a: {LONG}\nworkers:\n  a: {LONG}x", 4, "workers.a: expected a name of its own"),
        (
            f"clients:\n  a: {LONG}\nworkers:\n  b: {LONG}",
            4,
            "workers.b: expected a token of its own, found that of clients.a",
        ),
        ("clients:\n  a: [", 2, "expected YAML: "),
        ("clients: \x00", 0, "expected YAML, found characters"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, error: str) -> None:
    path = write(tmp_path, text)
    place = f"{path}, line {line}" if line else str(path)
    with pytest.raises(ConfigError, match=f"^tokens: {re.escape(f'{place}: {error}')}") as raised:
        read_tokens(path)
    assert LONG not in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    with pytest.raises(ConfigError, match=f"^tokens: {path}: No such file"):
        read_tokens(path)
    path.write_bytes(b"clients: {a: \xff}")
    with pytest.raises(ConfigError, match=f"^tokens: {path}: expected UTF-8 text"):
        read_tokens(path)


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, is_warned: bool
) -> None:
    path = write(tmp_path, f"clients: {{a: {LONG}}}")
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        read_tokens(path)
    assert (f"chmod o= {path}" in caplog.text) == is_warned
