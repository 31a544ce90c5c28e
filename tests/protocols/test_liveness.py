"""When a peer counts as lost, on a clock of our own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pykaldi_server.protocols.liveness import Liveness


class Peer:
    """Counts what a Liveness does to its peer."""

    def __init__(self) -> None:
        self.pings: list[float] = []
        self.lost: list[float] = []

    def watch(self, **changes: Any) -> Liveness:
        now = asyncio.get_running_loop().time
        settings: dict[str, Any] = {
            "ping": lambda: self.pings.append(now()),
            "lost": lambda: self.lost.append(now()),
            "interval_s": 10,
            "timeout_s": 30,
        }
        return Liveness(**{**settings, **changes})


@pytest.fixture
def run(run_in_fake_time: Any) -> Any:
    def run_with_peer(scenario: Callable[[Peer], Any]) -> Peer:
        peer = Peer()
        run_in_fake_time(lambda: scenario(peer))
        return peer

    return run_with_peer


def test_a_silent_peer_is_pinged_then_lost_once(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        peer.watch()
        await asyncio.sleep(200)

    peer = run(scenario)
    assert peer.pings == [10, 20, 30]
    assert peer.lost == [40]


def test_any_sign_of_life_counts(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        liveness = peer.watch()
        for _ in range(10):
            await asyncio.sleep(24)
            liveness.heard()
        liveness.stop()

    peer = run(scenario)
    assert peer.pings[:7] == [10, 20, 40, 60, 70, 90, 110]  # not those at 30, 50, 80, 100 s
    assert peer.lost == []


def test_a_peer_that_is_heard_anyway_is_pinged_now_and_then(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        liveness = peer.watch()
        for _ in range(241):
            liveness.heard()
            await asyncio.sleep(0.5)
        await asyncio.sleep(100)

    peer = run(scenario)
    assert peer.pings == [40, 80, 120, 140, 150]
    assert peer.lost == [160]


def test_silence_proves_nothing_while_we_do_not_read(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        liveness = peer.watch()
        with liveness.not_reading():
            await asyncio.sleep(500)
        await asyncio.sleep(25)
        assert peer.lost == []
        await asyncio.sleep(25)

    assert run(scenario).lost == [540]


def test_silence_proves_nothing_while_a_ping_is_on_its_way(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        late = asyncio.get_running_loop().time() + 205
        peer.watch(is_late=lambda: asyncio.get_running_loop().time() < late)
        await asyncio.sleep(500)

    assert run(scenario).lost == [240]


def test_stop_ends_it(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        liveness = peer.watch()
        await asyncio.sleep(15)
        liveness.stop()
        liveness.stop()
        await asyncio.sleep(100)

    peer = run(scenario)
    assert (peer.pings, peer.lost) == ([10], [])


def test_a_transport_without_pings_is_only_watched(run: Any) -> None:
    async def scenario(peer: Peer) -> None:
        peer.watch(ping=None)
        await asyncio.sleep(100)

    peer = run(scenario)
    assert (peer.pings, peer.lost) == ([], [40])
