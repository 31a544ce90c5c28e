"""The store of messages, in memory and on disk."""

import os
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykaldi_server.protocols import store as store_module
from pykaldi_server.protocols.store import MessageStore, StoreBudget

MESSAGES = st.lists(st.text() | st.binary(max_size=50))


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SEGMENT_BYTES", 200)


@given(st.lists(MESSAGES), st.integers(min_value=0, max_value=1000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it is the same for every example
def test_messages_come_out_in_order_as_they_went_in(rounds: list[list[str | bytes]], memory: int) -> None:
    """Each round puts messages in and takes half of what waits out."""
    budget = StoreBudget(10**6)
    store = MessageStore(10**6, memory, budget)
    put: list[str | bytes] = []
    got: list[str | bytes] = []
    for messages in rounds:
        for message in messages:
            store.put(message)
        put += messages
        for _ in range((len(put) - len(got)) // 2):
            got.append(store.get())
    while store:
        got.append(store.get())
    assert got == put
    assert len(store) == 0
    assert (budget.held_bytes, budget.held_memory_bytes, budget.num_holding) == (0, 0, 0)
    store.close()


def test_it_is_full_at_its_limit_and_empties_again() -> None:
    store = MessageStore(1000, 100)
    while not store.is_full:
        store.put(bytes(90))
    assert 1000 <= len(store) < 1200
    store.get()
    store.get()
    assert not store.is_full
    store.close()


def test_a_message_that_is_put_back_comes_first() -> None:
    store = MessageStore(1000, 10)
    for message in (b"a" * 20, b"b" * 20, "c"):
        store.put(message)
    first = store.get()
    store.put_back(first)
    assert [store.get(), store.get(), store.get()] == [b"a" * 20, b"b" * 20, "c"]
    with pytest.raises(IndexError, match="no message waits"):
        store.get()
    store.close()


def test_what_has_been_read_takes_no_room_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the sender is always ahead, so that the store is never empty."""
    open_files: set[Any] = set()
    make = tempfile.TemporaryFile

    def counted(*arguments: Any, **named: Any) -> Any:
        file = make(*arguments, **named)
        open_files.add(file)
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", counted)
    store = MessageStore(10**6, 0)
    for _ in range(5):
        store.put(bytes(90))
    largest = 0
    for _ in range(1000):
        store.put(bytes(90))
        store.get()
        on_disk = sum(os.fstat(file.fileno()).st_size for file in open_files if not file.closed)
        largest = max(largest, on_disk)
    assert largest < 5 * (90 + 200)
    store.close()
    assert all(file.closed for file in open_files)


def test_tiny_messages_count_with_the_memory_that_they_take() -> None:
    budget = StoreBudget(10**9)
    store = MessageStore(10**9, 64 * 1024, budget)
    for _ in range(20_000):
        store.put(b"xy")
    assert budget.held_memory_bytes < 65 * 1024
    assert len(store._first) <= 1024
    store.close()


def test_when_the_memory_of_all_is_used_up_further_messages_go_to_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "_SEGMENT_BYTES", 10**6)
    budget = StoreBudget(10**9, memory_bytes=1000_000)
    stores = [MessageStore(10**9, budget=budget) for _ in range(50)]
    for store in stores:
        for _ in range(100):
            store.put(bytes(1000))
    assert budget.held_bytes >= 50 * 100 * 1000
    # Each keeps half a second of audio in memory, come what may.
    assert 1_000_000 <= budget.held_memory_bytes < 1_000_000 + 50 * 18 * 1024
    for store in stores:
        store.close()
        store.close()
    assert (budget.held_bytes, budget.held_memory_bytes, budget.num_holding) == (0, 0, 0)


def test_when_the_budget_is_used_up_those_with_more_than_their_share_are_held_back() -> None:
    """Who holds little, as every client does whose audio is recognised as it comes, notices nothing."""
    budget = StoreBudget(1_000_000)
    greedy, modest, empty = (MessageStore(10**9, budget=budget) for _ in range(3))
    while not greedy.is_full:
        greedy.put(bytes(10_000))
    assert len(greedy) >= 1_000_000
    modest.put(bytes(10_000))
    assert not modest.is_full
    assert not empty.is_full
    while not modest.is_full:
        modest.put(bytes(10_000))
    assert 500_000 <= len(modest) < 520_000  # there are two that hold anything
    while greedy.is_full:
        greedy.get()
    assert len(greedy) < 500_000
    for store in (greedy, modest):
        store.close()
    assert budget.held_bytes == 0
