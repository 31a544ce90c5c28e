"""Which addresses are this machine's, and whom proxies speak for."""

import pytest
from tornado.httputil import HTTPHeaders

from pykaldi_server.master.access.networks import is_local, is_public


@pytest.mark.parametrize(
    ("address", "host", "headers", "expected"),
    [
        ("127.0.0.1", "localhost", {}, True),
        ("127.0.0.1", "127.0.0.1", {}, True),
        ("::1", "[::1]", {}, True),
        ("::ffff:127.0.0.1", "localhost", {}, True),
        ("192.0.2.1", "localhost", {}, False),
        ("127.0.0.1", "evil.example", {}, False),
        ("127.0.0.1", "localhost", {"x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", "localhost", {"Via": "1.1 proxy"}, False),
    ],
)
def test_who_is_this_machine(address: str, host: str, headers: dict[str, str], expected: bool) -> None:
    assert is_local(address, host, HTTPHeaders(headers)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", True),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", True),
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("localhost", False),
    ],
)
def test_which_addresses_others_can_reach(host: str, expected: bool) -> None:
    assert is_public(host) == expected
