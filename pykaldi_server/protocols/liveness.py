"""Noticing that the other end of a connection is gone although nobody closed it.

A ping goes out every `interval_s`, and less often to a peer that is heard anyway: with all of them a live
stream would cost a tenth more. *Any* frame that comes back is a sign of life, not only the pong: the pong of
a client that uploads a long file waits behind all its audio. A peer that has been silent for `timeout_s` is
lost, except while we ourselves do not read from it (`not_reading`, back-pressure), and while what has been
sent before a ping is still on its way (`is_late`, a slow line that moves): then its silence proves nothing.
Time is counted in whole intervals, so that a stall of our own process is only one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SILENT_INTERVALS", "Liveness", "watch_close_frame", "watch_server"]

SILENT_INTERVALS = 3
"""A server that has been silent for so many intervals between pings is lost."""
INTERVALS_UNPINGED = 4
"""Of so many intervals one has a ping, however often the peer is heard: proxies between us may give up a line
on which nothing goes towards it."""


def watch_close_frame(protocol: Any) -> Callable[[], bool]:
    """Notices whether the peer closes properly, which Tornado does not say of close frames without a code.

    Args:
        protocol: Tornado's `WebSocketProtocol13` of a connection that has just been opened.

    Returns:
        A function that returns whether the peer has sent a close frame.
    """
    has_closed = False
    close = protocol.close

    def watching_close(code: int | None = None, reason: str | None = None) -> None:
        # Tornado answers a close frame by closing, too. When it gives a connection up, both flags are set.
        nonlocal has_closed
        if protocol.client_terminated and not protocol.server_terminated:
            has_closed = True
        close(code, reason)

    protocol.close = watching_close
    return lambda: has_closed


@contextmanager
def watch_server(connection: Any, interval_s: float, lost: Callable[[], None]) -> Iterator[None]:
    """Watches the other end of a connection that this process has opened; one that is lost is broken off.

    Args:
        connection: Tornado's `WebSocketClientConnection`, just opened.
        interval_s: seconds between pings.
        lost: called before the connection is broken off because the server has given no sign of life.
    """
    stream = connection.protocol.stream
    pass_on = connection.on_message

    def break_off() -> None:
        lost()
        stream.close()

    def ping() -> None:
        if connection.protocol is not None and not connection.protocol.is_closing():
            connection.ping()

    liveness = Liveness(
        ping=ping, lost=break_off, interval_s=interval_s, timeout_s=SILENT_INTERVALS * interval_s
    )

    def on_message(message: str | bytes) -> Awaitable[None] | None:
        liveness.heard()
        taken = pass_on(message)
        return None if taken is None else until(taken)

    async def until(taken: Awaitable[None]) -> None:
        with liveness.not_reading():  # until somebody takes the message, nothing more is read
            await taken

    connection.on_message = on_message
    connection.on_ping = connection.on_pong = lambda data: liveness.heard()
    try:
        yield
    finally:
        liveness.stop()


class Liveness:
    """Watches one connection, from construction until `stop`.

    Args:
        ping: sends something that the peer answers; None where the transport has no such thing.
        lost: called once, when the peer has been silent for too long.
        interval_s: seconds between pings to a peer that is not heard otherwise.
        timeout_s: seconds of silence after which the peer counts as lost.
        is_late: returns whether the peer cannot have answered the last ping yet, because it is still taking
            what was sent before; asked at the end of each interval in which the peer has not been heard.
    """

    def __init__(
        self,
        *,
        ping: Callable[[], None] | None,
        lost: Callable[[], None],
        interval_s: float,
        timeout_s: float,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ping = ping
        self._lost = lost
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._is_late = is_late
        self._loop = asyncio.get_running_loop()
        self._silent_intervals = 0
        self._unpinged_intervals = 0
        self._is_heard = False  # in this interval
        self._pauses = 0
        self._timer = self._loop.call_later(interval_s, self._tick)

    def heard(self) -> None:
        """The peer has given a sign of life."""
        self._silent_intervals = 0
        self._is_heard = True

    @contextmanager
    def not_reading(self) -> Iterator[None]:
        """While inside, the peer cannot be heard, and afterwards it has the full time again."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self.heard()

    def stop(self) -> None:
        """Ends the watch. May be called again."""
        self._timer.cancel()

    def _tick(self) -> None:
        if not self._is_heard and self._is_late():
            self._silent_intervals = 0
        elif not self._pauses:
            self._silent_intervals += 1
        # The peer may have been heard during the first of them.
        if (self._silent_intervals - 1) * self._interval_s >= self._timeout_s:
            self._lost()
            return
        self._timer = self._loop.call_later(self._interval_s, self._tick)
        is_needless = self._is_heard and self._unpinged_intervals < INTERVALS_UNPINGED - 1
        self._is_heard = False
        self._unpinged_intervals += 1
        if self._ping is not None and not is_needless:
            self._unpinged_intervals = 0
            self._ping()
