"""How many connections are open, at all and from each address, whatever they are used for.

A connection takes memory and a file descriptor from the moment when it is accepted, long before it says what
it wants: a client may connect and say nothing, or open WebSockets and never speak. So they are counted when
they are accepted, and one too many is closed at once. Workers are not counted: who has filled the server with
connections must not keep its workers away, too.

Without a limit from the settings, there may be as many connections as the operating system has files for:
beyond that nothing can be accepted, or stored on disk.
"""

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from tornado.httpserver import HTTPServer

from pykaldi_server.master.limits import network_of
from pykaldi_server.master.options import MasterOptions

__all__ = ["Connections", "CountingServer", "allow_many_files"]

logger = logging.getLogger(__name__)

OTHER_FILES = 100
"""Files of a master that belong to no connection: modules, databases, logs, its own sockets."""
FILES_PER_CONNECTION = 2
"""The connection itself, and the file in which its audio is stored; workers and longer lines use the rest."""
RETRY_AFTER_S = 10
REFUSAL = "HTTP/1.1 {code}\r\nRetry-After: {retry_after_s}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def allow_many_files() -> None:
    """Raises the number of files that this process may open to what the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _most_connections() -> int:
    """How many connections this process has files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (files - OTHER_FILES) // FILES_PER_CONNECTION)


class Connections:
    """The open connections of a master. It belongs to the master's event loop.

    Args:
        options: returns the settings as they are now.
    """

    def __init__(self, options: Callable[[], MasterOptions]) -> None:
        self._options = options
        self._networks: dict[object, str] = {}
        self._of_network: Counter[str] = Counter()
        self._num_refused = 0

    def __len__(self) -> int:
        """How many are counted."""
        return len(self._networks)

    @property
    def num_networks(self) -> int:
        """From how many addresses they come."""
        return len(self._of_network)

    def enter(self, connection: object, address: str) -> str:
        """Counts a connection, which is to be counted out by `leave`.

        Connections from a reverse proxy have no limit of their address, which is not that of the clients.

        Returns:
            The HTTP status with which it is to be refused; "" if it may stay.
        """
        options, network = self._options(), network_of(address)
        most = options.connections or _most_connections()
        of_address = None if options.proxies else options.connections_per_address
        if of_address is not None and self._of_network[network] >= of_address:
            return self._refused("429 Too Many Requests", f"from {network}, at most {of_address} per address")
        if len(self._networks) >= most:
            return self._refused("503 Service Unavailable", f"from {network}, at most {most}")
        self._networks[connection] = network
        self._of_network[network] += 1
        return ""

    def leave(self, connection: object) -> None:
        """A connection is closed, or is not to be counted. May be called again."""
        network = self._networks.pop(connection, None)
        if network is not None:
            self._of_network[network] -= 1
            if not self._of_network[network]:
                del self._of_network[network]

    def _refused(self, status: str, why: str) -> str:
        """Logs the first refusal, then every tenth, hundredth, ...: a flood must not fill the log."""
        self._num_refused += 1
        if str(self._num_refused).strip("0") == "1":
            logger.warning("%d connections refused so far; the last one %s", self._num_refused, why)
        return status


class CountingServer(HTTPServer):
    """Tornado's HTTP server; connections beyond the limits are closed before a byte of them is read.

    Attributes:
        connections: what they count among; None does not count them.
    """

    connections: Connections | None = None

    def handle_stream(self, stream: Any, address: tuple[Any, ...]) -> None:
        """Tornado's: takes a connection that has been accepted."""
        if self.connections is not None:
            refusal = self.connections.enter(stream, str(address[0]))
            if refusal:
                self._refuse(stream, refusal)
                return
            _when_closed(stream, partial(self.connections.leave, stream))
        super().handle_stream(stream, address)

    def _refuse(self, stream: Any, status: str) -> None:
        """Says why, where that needs no handshake first."""
        if self.ssl_options is None:
            text = REFUSAL.format(code=status, retry_after_s=RETRY_AFTER_S)
            stream.write(text.encode()).add_done_callback(_ignore)
        stream.close()


def _when_closed(stream: Any, call: Callable[[], None]) -> None:
    """Calls a function when a stream is closed: its callback for that changes hands as the protocol does."""
    close_fd = stream.close_fd

    def close_and_call() -> None:
        close_fd()
        call()

    stream.close_fd = close_and_call


def _ignore(written: "asyncio.Future[None]") -> None:
    """Whether somebody who is refused has read why is of no interest."""
    if not written.cancelled():
        written.exception()
