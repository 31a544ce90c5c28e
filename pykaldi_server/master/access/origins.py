"""Which browsers' pages may use a master.

A browser adds the origin of a page (RFC 6454) to what the page's scripts ask for; other programs send none.
Without a check, any page that somebody opens could use a server that only the somebody's machine reaches.
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.networks import is_loopback

__all__ = ["ANY_ORIGIN", "check_origin_setting", "is_allowed_origin", "origin_of"]

ANY_ORIGIN = "*"
_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(scheme: str, host: str) -> str | None:
    """The origin of pages of a host; None if the host is malformed.

    Args:
        scheme: http or https.
        host: name or address, and port, as in a Host header.
    """
    return _normalised(f"{scheme}://{host}")


def is_allowed_origin(origin: str, own: str | None, allowed: Collection[str], *, only_loopback: bool) -> bool:
    """Whether pages of an origin may use the server.

    Args:
        origin: that of the page.
        own: that of the server, as the client has called it, if that makes one.
        allowed: origins that may use the server as well, or `ANY_ORIGIN`.
        only_loopback: the server is reached by addresses of this machine only. Under another name it is one
            that the page's own name server has given this machine (DNS rebinding).
    """
    if ANY_ORIGIN in allowed or origin in allowed:
        return True
    page = _normalised(origin)
    if page is None:
        return False
    if page in map(_normalised, allowed):
        return True
    found = _ORIGIN.fullmatch(page)
    assert found is not None
    return page == own and (not only_loopback or is_loopback(found[2].strip("[]")))


def check_origin_setting(origin: str) -> None:
    """Checks an origin that somebody wants to allow.

    Raises:
        ConfigError: it is not an origin.
    """
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme and parts.hostname and not (parts.path or parts.query or parts.fragment)
    except ValueError:
        is_origin = False
    if origin not in (ANY_ORIGIN, "null") and not is_origin:
        raise ConfigError(f"allow-origin: expected SCHEME://HOST, SCHEME://HOST:PORT or *, found {origin!r}")


def _normalised(origin: str) -> str | None:
    """In small letters, without a port that the scheme implies; None for what is not the origin of a host."""
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    is_implied = port is None or int(port) == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if is_implied else f"{scheme}://{host}:{int(port)}"
