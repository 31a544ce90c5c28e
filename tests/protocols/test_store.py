"""The store of messages, in memory and on disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.protocols.store import MessageStore

MESSAGES = st.lists(st.text() | st.binary(max_size=50))


@given(st.lists(MESSAGES), st.integers(min_value=0, max_value=100))
def test_messages_come_out_in_order_as_they_went_in(rounds: list[list[str | bytes]], memory: int) -> None:
    """Each round puts messages in and takes half of what waits out."""
    store = MessageStore(10**6, memory)
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
