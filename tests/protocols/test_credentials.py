"""The token of a client or a worker, and what a server says to a wrong one."""

from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.credentials import (
    TOKEN_VARIABLE,
    authorization,
    find_token,
    refusal_text,
    without_token,
)


def test_where_a_token_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    environment = {TOKEN_VARIABLE: "of-the-environment", "HOME": "/"}
    assert find_token("", None, {}) == ""
    assert find_token("", None, environment) == "of-the-environment"
    assert find_token("of-the-option", None, environment) == "of-the-option"
    assert find_token("", file, environment) == "of-the-file"
    assert authorization("x") == {"Authorization": "Bearer x"}
    assert authorization("") == {}
    assert without_token(environment) == {"HOME": "/"}


@pytest.mark.parametrize(
    ("token", "content", "error"),
    [
        ("a", b"b", "token, token-file: expected one of them, found both"),
        ("", b"", "token-file .*: expected a token, found nothing"),
        ("", b"\xff", "token-file .*: expected ASCII text"),
        ("", b"a\nb", "token-file .*: expected printable ASCII characters without spaces, found others"),
        ("a b", None, "token: expected printable"),
        ("sch\u00f6n", None, "token: expected printable"),
    ],
)
def test_what_is_not_a_token(tmp_path: Path, token: str, content: bytes | None, error: str) -> None:
    file = None
    if content is not None:
        file = tmp_path / "token"
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{error}"):
        find_token(token, file, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^token-file {tmp_path}/no: No such file"):
        find_token("", tmp_path / "no", {})


@pytest.mark.parametrize(
    ("code", "body", "text"),
    [
        (401, b'{"message": "expected a token"}', "refused with code 401: expected a token; see --token"),
        (403, b"<html>", "refused with code 403; see --token"),
        (401, b'["message"]', "refused with code 401; see --token"),
        (404, b'{"message": "x"}', None),
    ],
)
def test_what_a_refusal_says(code: int, body: bytes, text: str | None) -> None:
    found = refusal_text(code, body)
    assert found == (None if text is None else f"{text} and --token-file")
