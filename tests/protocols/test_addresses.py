"""Addresses that people type, and what they are told."""

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.addresses import CLIENT_PATH, WORKER_PATH, check_websocket_url


@pytest.mark.parametrize(
    "url",
    [
        "ws://localhost:8888/client/ws/speech",
        "wss://example.org/behind/a/proxy",
        "ws://[::1]:8888/client/ws/speech?token=1",
        "WS://localhost/x",
    ],
)
def test_addresses_of_websockets(url: str) -> None:
    assert check_websocket_url(url, CLIENT_PATH) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:8888", "ws://localhost:8888/worker/ws/speech"),
        ("localhost", "ws://localhost/worker/ws/speech"),
        ("[::1]:8888", "ws://[::1]:8888/worker/ws/speech"),
        ("http://localhost:8888", "ws://localhost:8888/worker/ws/speech"),
        ("http://localhost:8888/", "ws://localhost:8888/worker/ws/speech"),
        ("http://localhost:8888/speech?a=1", "ws://localhost:8888/speech?a=1"),
        ("https://example.org/x", "wss://example.org/x"),
        ("ws://localhost:8888", "ws://localhost:8888/worker/ws/speech"),
        ("wss://localhost:8888/?a=1", "wss://localhost:8888/worker/ws/speech?a=1"),
        ("ftp://localhost/x", "ws://HOST:PORT/worker/ws/speech"),
        ("://localhost/x", "ws://HOST:PORT/worker/ws/speech"),
        ("", "ws://HOST:PORT/worker/ws/speech"),
        ("ws://", "ws://HOST:PORT/worker/ws/speech"),
        ("wss:///path", "wss://HOST:PORT/worker/ws/speech"),
        ("ws://:8888/path", "ws://HOST:PORT/worker/ws/speech"),
        ("ws://[::1/path", "ws://HOST:PORT/worker/ws/speech"),
        ("[::1", "ws://HOST:PORT/worker/ws/speech"),
        ("ws://localhost:99999/path", "ws://HOST:PORT/worker/ws/speech"),
        ("ws://localhost:port/path", "ws://HOST:PORT/worker/ws/speech"),
        ("ws://a..b/path", "ws://HOST:PORT/worker/ws/speech"),
        ("http://[x/path", "ws://HOST:PORT/worker/ws/speech"),
    ],
)
def test_other_addresses_are_refused_with_what_was_probably_meant(url: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_websocket_url(url, WORKER_PATH)
    text = str(caught.value)
    assert text.startswith(f"address: expected {expected}, found {url!r}")
    assert "\n" not in text
