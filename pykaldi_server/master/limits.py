"""How much each caller may use: requests at the same time, and messages per second.

Both take memory only for those who are there: a table has no entry for a caller without a request.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.options import MasterOptions

__all__ = ["LimitError", "MessageRate", "Sessions", "message_rate", "network_of", "session_limit_s"]

BURST_S = 10.0
"""A connection may send as many messages at once as it may in this time."""
SHORTEST_DELAY_S, LONGEST_DELAY_S = 0.02, 1.0
"""A connection that is held back may send several messages after that, and costs fewer timers; but nobody is
kept from being read for long, whatever has become of its rate in between."""
IPV6_SITE_BITS = 64
"""Whoever has an IPv6 address usually has all that share this many bits."""


class LimitError(PykaldiServerError):
    """A caller asks for more than it may use at the same time.

    Attributes:
        num_sessions: how many requests it has.
    """

    def __init__(self, text: str, num_sessions: int) -> None:
        super().__init__(text)
        self.num_sessions = num_sessions


def network_of(address: str) -> str:
    """Whom an address stands for: an IPv4 address itself, of IPv6 the network; other texts are themselves."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, IPV6_SITE_BITS), strict=False))
    return str(found)


def session_limit_s(caller: Caller, options: MasterOptions) -> float | None:
    """For how many seconds a caller's request may be served; None is without limit."""
    own_s = caller.limits.session_s
    return own_s if own_s is not None else options.session_s


class Sessions:
    """How many requests each token and each address has, waiting or served."""

    def __init__(self) -> None:
        self._of_token: Counter[str] = Counter()
        self._of_network: Counter[str] = Counter()

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._of_token) + len(self._of_network)

    @contextmanager
    def entered(self, caller: Caller, options: MasterOptions) -> Iterator[None]:
        """While inside, the caller has one request more.

        A token with a limit of its own is not limited by address: it may stand for a service with many users.

        Raises:
            LimitError: it would have too many.
        """
        of_token = caller.limits.sessions
        of_address = options.sessions_per_address if of_token is None else None
        of_token = options.sessions_per_token if of_token is None else of_token
        network = network_of(caller.address)
        with (
            _counted(self._of_token, caller.name, of_token, f"the token {caller.name}"),
            _counted(self._of_network, network, of_address, f"the address {network}"),
        ):
            yield


@contextmanager
def _counted(table: Counter[str], key: str, limit: int | None, who: str) -> Iterator[None]:
    """Counts one more; callers without a key are not counted."""
    if not key:
        yield
        return
    if limit is not None and table[key] >= limit:
        found = table[key]  # a counter gets no entry by this
        text = f"{who}: expected at most {limit} requests at the same time, found one more; try again later"
        raise LimitError(text, found)
    table[key] += 1
    try:
        yield
    finally:
        table[key] -= 1
        if not table[key]:
            del table[key]


class MessageRate:
    """Holds a connection back that sends more messages than it may: a bucket of tokens that fills by time.

    Args:
        per_s: returns how many messages per second are allowed.
        clock: tells the time in seconds.
    """

    def __init__(self, per_s: Callable[[], float], clock: Callable[[], float] | None = None) -> None:
        self._per_s = per_s
        self._clock = clock or asyncio.get_running_loop().time
        self._spent = 0.0  # of what the bucket holds
        self._seen_s = self._clock()

    def delay_s(self) -> float:
        """Counts a message; returns how long to wait before the next one is read, 0 for not at all."""
        now_s, per_s = self._clock(), self._per_s()
        self._spent = max(0.0, self._spent - (now_s - self._seen_s) * per_s) + 1
        self._seen_s = now_s
        delay_s = self._spent / per_s - BURST_S
        return min(max(delay_s, SHORTEST_DELAY_S), LONGEST_DELAY_S) if delay_s > 0 else 0.0


def message_rate(caller: Callable[[], Caller], options: Callable[[], MasterOptions]) -> MessageRate:
    """The rate of a connection: that of the caller's token, or else the general one, as they are now."""

    def per_s() -> float:
        own = caller().limits.messages_per_s
        return own if own is not None else options().messages_per_s

    return MessageRate(per_s)
