"""A fleet's decisions over real actors and processes, without Ray."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from harness import Harness, until
from local_cluster import LocalCluster, assignment_of, serves
from scripted_worker import SERVE

from pykaldi_server.errors import ConfigError
from pykaldi_server.fleet import fleet as fleet_module
from pykaldi_server.fleet.fleet import Fleet, FleetSettings
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.scaling import Load

SETTLED = 5  # rounds after which something that should not happen would have happened


class Masters:
    """What the masters say; the test changes it."""

    def __init__(self) -> None:
        self.load = Load(0, 0)
        self.num_asked = 0

    async def read(self, model: str) -> Load:
        assert model == "m"
        self.num_asked += 1
        return self.load

    async def have_been_asked(self) -> None:
        """Returns after some more rounds."""
        asked = self.num_asked
        await until(lambda: self.num_asked > asked + SETTLED)


Use = Callable[[Fleet, LocalCluster, Masters], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "PERIOD_S", 0.02)


def settings(masters: Masters, script: str = SERVE, **options: Any) -> FleetSettings:
    values = {"min_workers": 1, "max_workers": 4, "busy_share": 1.0, "scale_down_s": 0.0, **options}
    return FleetSettings(FleetOptions(**values), assignment_of(script), 10, "", masters.read)


def with_fleet(harness: Harness, use: Use, script: str = SERVE, places: int = 10, **options: Any) -> None:
    async def scenario() -> None:
        masters, cluster = Masters(), LocalCluster(places)
        fleet = Fleet(cluster, settings(masters, script, **options))
        running = asyncio.create_task(fleet.run())
        try:
            await use(fleet, cluster, masters)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait((running,))
            await fleet.stop()
            await cluster.close()
        if not running.cancelled():
            running.result()

    harness.run(scenario)


async def run(cluster: LocalCluster, number: int) -> None:
    """Returns when so many processes run."""
    await until(lambda: len(cluster.running()) == number)


def test_workers_come_and_go_with_the_load(harness: Harness) -> None:
    async def use(fleet: Fleet, cluster: LocalCluster, masters: Masters) -> None:
        await run(cluster, 1)
        masters.load = Load(busy=10, waiting=25)
        await run(cluster, 4)
        for each in cluster.running():
            assert each.actor is not None
            await serves(each.actor)
        oldest = cluster.running()[0]
        masters.load = Load(busy=5, waiting=0)
        await run(cluster, 1)
        assert cluster.running() == [oldest]
        masters.load = Load(busy=0, waiting=11)
        await run(cluster, 2)

    script = SERVE.replace("stay()", "line.recv(100)\n")  # ends when it is told to retire
    with_fleet(harness, use, script)


def test_a_worker_without_a_place_goes_first(harness: Harness) -> None:
    async def use(fleet: Fleet, cluster: LocalCluster, masters: Masters) -> None:
        await run(cluster, 1)
        masters.load = Load(busy=20, waiting=0)
        await until(lambda: len(cluster.workers) == 2)
        await masters.have_been_asked()
        assert len(cluster.workers) == 2  # one that waits for a place is not replaced
        masters.load = Load(busy=5, waiting=0)
        await masters.have_been_asked()
        assert len(cluster.running()) == 1

    with_fleet(harness, use, places=1)


def test_a_worker_that_is_lost_for_good_is_replaced(harness: Harness) -> None:
    async def use(fleet: Fleet, cluster: LocalCluster, masters: Masters) -> None:
        await until(lambda: fleet.model == "m")
        cluster.workers[0].is_lost = True
        await until(lambda: len(cluster.workers) == 2)
        await run(cluster, 1)
        assert cluster.running() == cluster.workers[1:]

    with_fleet(harness, use)


def test_one_that_is_started_again_hears_again_what_it_has_been_told(harness: Harness) -> None:
    async def use(fleet: Fleet, cluster: LocalCluster, masters: Masters) -> None:
        await until(lambda: fleet.model == "m")
        fleet.reload(settings(masters, SERVE.replace("'named m'", "'named m', 'alive'")))
        (worker,) = cluster.workers
        assert worker.actor is not None
        first = worker.actor
        await until(lambda: first.state().revision == 1)
        first.stop()
        worker.start_again()
        await until(lambda: worker.actor is not None and worker.actor.state().revision == 1)

    with_fleet(harness, use)


def test_bounds_change_with_the_settings(harness: Harness) -> None:
    async def use(fleet: Fleet, cluster: LocalCluster, masters: Masters) -> None:
        await until(lambda: fleet.model == "m")
        fleet.reload(settings(masters, min_workers=2))
        await run(cluster, 2)

    with_fleet(harness, use)


def test_a_model_that_no_worker_can_load_ends_the_fleet(harness: Harness) -> None:
    async def scenario() -> None:
        masters, cluster = Masters(), LocalCluster()
        fleet = Fleet(cluster, settings(masters, f"sys.exit({os.EX_CONFIG})\n"))
        with pytest.raises(ConfigError, match="the worker cannot load it"):
            await fleet.run()
        await cluster.close()

    harness.run(scenario)


def test_stopping_ends_all_workers(harness: Harness) -> None:
    async def scenario() -> None:
        masters, cluster = Masters(), LocalCluster(places=2)
        fleet = Fleet(cluster, settings(masters, min_workers=3))
        running = asyncio.create_task(fleet.run())
        await until(lambda: fleet.model == "m")
        running.cancel()
        await fleet.stop()
        assert not cluster.running()
        await cluster.close()

    harness.run(scenario)
