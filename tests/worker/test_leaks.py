"""Nothing is left of a stream, whatever the protocol: neither in the master nor in the worker.

Objects are counted by type before and after some streams. A type of which every stream leaves one grows by as
many as there were streams; what is made once, by whichever of them, does not.
"""

import asyncio
import gc
from collections import Counter
from typing import Any

import pytest
from every_protocol import PORTS, PROTOCOLS, Client
from harness import until
from live_worker import running_worker

from pykaldi_server.master.endpoints import upload
from pykaldi_server.session import Model

AUDIO = bytes(3200)
"""0.2 s of 8 kHz, twice that where it is mu-law."""
WARM_UP, STREAMS = 3, 10
SLOTS = 2
CANCELLED_TIMERS = 500
PATIENCE_S = 30.0


async def forget_cancelled_timers() -> None:
    """asyncio keeps timers that were cancelled until these are most of those it has."""
    loop = asyncio.get_running_loop()
    for _ in range(len(asyncio.all_tasks()) + CANCELLED_TIMERS):
        loop.call_later(3600, int).cancel()
    await asyncio.sleep(0)


async def count_objects() -> Counter[str]:
    """How many objects there are, by type."""
    await forget_cancelled_timers()
    gc.collect()
    return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


async def speak(harness: Any, master: Any, protocol: type[Client], *, to_the_end: bool) -> None:
    """One stream; returns when it and all connections of clients are gone, and all slots are free."""
    async with protocol(harness, master) as client:
        await client.speak(AUDIO)
        if to_the_end:
            await client.stop()
            assert (await client.outcome()).error is None
        else:
            await until(lambda: len(master.hub.requests) > 0)
    harness.dispose()
    await until(lambda: not master.hub.requests and len(master.hub.sockets) == SLOTS)
    await until(lambda: len(master.hub.connections) == 0)
    await master.until(lambda: master.hub.pool.status().available == SLOTS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_streams_leave_nothing(
    harness: Any, digits: Model, protocol: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them are broken off by the client."""

    async def scenario() -> None:
        async with harness.master(**PORTS) as master, running_worker(digits, master, sessions=SLOTS):

            async def speak_often(streams: int) -> None:
                for _ in range(streams):
                    await speak(harness, master, protocol, to_the_end=True)
                    await speak(harness, master, protocol, to_the_end=False)

            await speak_often(WARM_UP)
            before = await count_objects()
            await speak_often(STREAMS)
            # Some things take a moment to go, such as what reads the rest of an upload that was broken off.
            end_s = asyncio.get_running_loop().time() + PATIENCE_S
            while grown := {
                name: number for name, number in (await count_objects() - before).items() if number >= STREAMS
            }:
                assert asyncio.get_running_loop().time() < end_s, grown
                await asyncio.sleep(0.1)

    monkeypatch.setattr(upload, "REFUSED_BODY_S", 0.05)
    harness.run(scenario)
