"""Which browsers' pages may use a master.

A browser adds the origin of a page (RFC 6454) to what the page's scripts ask for; other programs send none.
Without a check, any page that somebody opens could use a server that only the somebody's machine reaches.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.networks import is_loopback

__all__ = ["ANY_ORIGIN", "check_origin_setting", "is_allowed_origin", "origin_of"]

ANY_ORIGIN = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(scheme: str, host: str) -> str:
    """The origin of pages of a host.

    Args:
        scheme: http or https.
        host: name or address, and port, as in a Host header.
    """
    return _normalised(f"{scheme}://{host}")


def is_allowed_origin(origin: str, own: str, allowed: Collection[str], *, only_loopback: bool) -> bool:
    """Whether pages of an origin may use the server.

    Args:
        origin: that of the page.
        own: that of the server, as the client has called it.
        allowed: origins that may use the server as well, or `ANY_ORIGIN`.
        only_loopback: the server is reached by addresses of this machine only. Under another name it is one
            that the page's own name server has given this machine (DNS rebinding).
    """
    if ANY_ORIGIN in allowed or origin in allowed:
        return True
    page = _normalised(origin)
    if page in {_normalised(each) for each in allowed}:
        return True
    return page == own and not (only_loopback and not is_loopback(urlsplit(page).hostname or ""))


def check_origin_setting(origin: str) -> None:
    """Checks an origin that somebody wants to allow.

    Raises:
        ConfigError: it is not an origin.
    """
    parts = urlsplit(origin)
    is_origin = parts.scheme and parts.netloc and not (parts.path or parts.query or parts.fragment)
    if origin not in (ANY_ORIGIN, "null") and not is_origin:
        raise ConfigError(f"allow-origin: expected SCHEME://HOST, SCHEME://HOST:PORT or *, found {origin!r}")


def _normalised(origin: str) -> str:
    """In small letters, without a port that the scheme implies; what is not an origin stays as it is."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port
    except ValueError:
        return origin
    if port is not None and port == _DEFAULT_PORTS.get(parts.scheme):
        return f"{parts.scheme}://{parts.netloc.removesuffix(f':{port}')}"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else origin
