"""The master gives free memory back, however long it serves."""

import gc
import weakref
from typing import Any

import pytest
from harness import until

from pykaldi_server.master import server
from pykaldi_server.memory import return_free_memory


def test_free_memory_goes_back_while_the_master_serves(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def count() -> bool:
        nonlocal calls
        calls += 1
        return return_free_memory()

    async def scenario() -> None:
        async with harness.master() as master:
            await until(lambda: calls >= 3)
        assert not master._returning.is_running()

    monkeypatch.setattr(server, "MEMORY_PERIOD_S", 0.01)
    monkeypatch.setattr(server, "return_free_memory", count)
    harness.run(scenario)


class Part:
    """Refers to itself, as the parts of a connection refer to each other."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize("few", [0, -1])
def test_what_refers_to_itself_goes_while_connections_are_few(
    harness: Any, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    calls = 0

    def count() -> bool:
        nonlocal calls
        calls += 1
        return return_free_memory()

    async def scenario() -> None:
        async with harness.master():
            await until(lambda: calls >= 2)

    monkeypatch.setattr(server, "MEMORY_PERIOD_S", 0.01)
    monkeypatch.setattr(server, "FEW_CONNECTIONS", few)
    monkeypatch.setattr(server, "return_free_memory", count)
    gc.disable()
    try:
        part = weakref.ref(Part())
        harness.run(scenario)
        assert (part() is None) == (few == 0)
    finally:
        gc.enable()
