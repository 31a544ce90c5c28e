"""Addresses: whether one is this machine's own, and what a proxy says about its client."""

import ipaddress
import socket
from collections.abc import Iterable, Mapping

from pykaldi_server.errors import ConfigError

__all__ = [
    "Network",
    "client_behind",
    "is_in",
    "is_local",
    "is_loopback",
    "is_public",
    "parse_networks",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by an address that no other machine reaches, or `localhost`."""
    address = _parse(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_local(address: str, host: str, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a program of this machine.

    One that a proxy has passed on, or that a page from elsewhere makes under another name of this machine, is
    not one of this machine.

    Args:
        address: the client's.
        host: the name by which the client has asked for this machine.
        headers: the request's, a mapping that ignores case.
    """
    is_passed_on = any(name in headers for name in _PROXY_HEADERS)
    return not is_passed_on and is_loopback(address) and is_loopback(host.strip("[]"))


def is_public(host: str) -> bool:
    """Whether other machines may reach a server that listens on this address or name; "" is all addresses."""
    if not host or _parse(host) is not None:
        return not is_loopback(host)
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:  # listening fails, too, and says why
        return True
    return not all(map(is_loopback, found))


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Reads addresses and networks, such as ``10.0.0.0/8``.

    Raises:
        ConfigError: a text is neither.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigError(f"proxy: expected an IP address or network, found {text!r}: {error}") from None
    return tuple(networks)


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address belongs to one of these networks."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def client_behind(peer: str, headers: Mapping[str, str], proxies: Iterable[Network]) -> str:
    """The address of the client that a proxy has passed on.

    Each proxy has appended the address of its own peer to X-Forwarded-For: the last one that is not a
    proxy's is the client's. What comes before it, the client may have made up.

    Args:
        peer: the address of the proxy.
        headers: those of the request.
        proxies: those that are trusted.
    """
    networks = tuple(proxies)
    client = peer
    for text in reversed(headers.get("X-Forwarded-For", "").split(",")):
        address = _parse(_without_port(text.strip()))
        if address is None:
            break
        client = str(address)
        if not is_in(client, networks):
            break
    return client


def _without_port(text: str) -> str:
    """An address of X-Forwarded-For without the port that some proxies add."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _parse(text: str) -> Address | None:
    """An address; IPv4 addresses in their IPv6 form as what they are."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
