"""A request from its begin to its end, without a client's protocol."""

import asyncio
from typing import Any

from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.worker import Position


class Silence:
    """A client that wants nothing any more."""

    async def deliver(self, event: str) -> None:
        raise AssertionError(event)

    async def consumed(self, position: Position) -> None:
        raise AssertionError(position)

    async def end(self, end: End) -> None:
        raise AssertionError(end)


def test_a_request_that_is_cancelled_before_it_has_begun_is_forgotten(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            relay = Relay(master.hub, RequestInfo(), Silence(), Caller("127.0.0.1"))
            relay.start()
            assert master.hub.requests == {relay}
            relay.cancel()
            async with asyncio.timeout(200):
                while master.hub.requests:
                    await asyncio.sleep(0)

    harness.run(scenario)
