"""The addresses that clients and workers connect to, and what is wrong with those that people type."""

import re
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from pykaldi_server.errors import ConfigError

__all__ = ["CLIENT_PATH", "WORKER_PATH", "check_websocket_url", "shown_url"]

CLIENT_PATH = "/client/ws/speech"
WORKER_PATH = "/worker/ws/speech"
_TOKEN = re.compile(r"(token=)[^&\s']+", re.IGNORECASE)


def check_websocket_url(url: str, usual_path: str) -> str:
    """Checks the address of a WebSocket before anything connects to it.

    Any path is accepted, since proxies map paths as they like, but a missing one is not: it was forgotten.

    Args:
        url: the address, such as ``ws://localhost:8888/client/ws/speech``.
        usual_path: the path that servers have by default; errors show it in an example.

    Returns:
        The address, unchanged.

    Raises:
        ConfigError: the address is not one of a WebSocket; the text has what was expected and what was found.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  parsed and checked on access
        (parts.hostname or "").encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise ConfigError(_expected(f"ws://HOST:PORT{usual_path}", url, str(error))) from None
    if parts.scheme not in ("ws", "wss"):
        raise ConfigError(_expected(_corrected(url, usual_path), url))
    if not parts.hostname:
        raise ConfigError(_expected(f"{parts.scheme}://HOST:PORT{usual_path}", url, "it has no host"))
    if parts.path in ("", "/"):
        with_path = parts._replace(path=usual_path).geturl()
        raise ConfigError(_expected(with_path, url, "it has no path"))
    return url


def shown_url(url: str) -> str:
    """An address as logs and errors show it: without a password and the fields, such as a token."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _expected(expected: str, url: str, reason: str = "") -> str:
    text = f"address: expected {expected}, found {url!r}" + (f" ({reason})" if reason else "")
    return _TOKEN.sub(r"\1...", text)


def _corrected(url: str, usual_path: str) -> str:
    """What a person probably meant who wrote ``http://host:port`` or ``host:port``."""
    scheme, separator, rest = url.rpartition("://")
    if scheme in ("http", "https") or not separator:
        with suppress(ValueError):
            parts = urlsplit(f"{'wss' if scheme == 'https' else 'ws'}://{rest}")
            if parts.hostname:
                return parts._replace(path=usual_path if parts.path in ("", "/") else parts.path).geturl()
    return f"ws://HOST:PORT{usual_path}"
