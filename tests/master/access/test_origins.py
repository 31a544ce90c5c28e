"""Origins: which are the server's own, and what may be allowed."""

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.origins import check_origin_setting, is_allowed_origin, origin_of


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "Example.ORG:80", "http://example.org"),
        ("https", "example.org:443", "https://example.org"),
        ("https", "example.org:80", "https://example.org:80"),
        ("http", "[::1]:8888", "http://[::1]:8888"),
        ("http", "a_b.local:08888", "http://a_b.local:8888"),
        ("ftp", "example.org", None),
        ("http", "user@example.org", None),
        ("http", "example.org/path", None),
        ("http", "", None),
    ],
)
def test_origins_are_written_in_one_way(scheme: str, host: str, origin: str | None) -> None:
    assert origin_of(scheme, host) == origin


@pytest.mark.parametrize(
    ("origin", "host", "only_loopback", "expected"),
    [
        ("http://localhost:8888", "localhost:8888", True, True),
        ("http://127.0.0.1:8888", "127.0.0.1:8888", True, True),
        ("http://[::1]", "[::1]:80", True, True),
        ("http://evil.example", "evil.example", True, False),
        ("http://speech.example", "speech.example", False, True),
        ("http://[:::]", "[:::]", True, False),
        ("http://localhost", "localhost:8888", True, False),
        ("null", "localhost", True, False),
    ],
)
def test_which_is_the_own_one(origin: str, host: str, only_loopback: bool, expected: bool) -> None:
    own = origin_of("http", host)
    assert is_allowed_origin(origin, own, (), only_loopback=only_loopback) == expected


def test_what_is_allowed() -> None:
    allowed = ("https://A.example:443", "chrome-extension://abcdef", "null")
    for origin in ("https://a.example", "chrome-extension://abcdef", "null"):
        assert is_allowed_origin(origin, None, allowed, only_loopback=True)
        check_origin_setting(origin)
    assert not is_allowed_origin("https://b.example", None, allowed, only_loopback=True)
    assert is_allowed_origin("anything", None, ("*",), only_loopback=True)


@pytest.mark.parametrize("origin", ["example.org", "https://", "https://a/", "https://a?b", "http://[", ""])
def test_what_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"^allow-origin: expected SCHEME://HOST, .*, found "):
        check_origin_setting(origin)
