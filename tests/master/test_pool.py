"""Which worker a client gets, and what is counted."""

from pykaldi_server.master.pool import WorkerPool


def test_the_worker_that_waited_longest_comes_first() -> None:
    pool: WorkerPool[str] = WorkerPool()
    for worker in ("a", "b", "c"):
        pool.add(worker, "english")
    assert [pool.acquire(), pool.acquire(), pool.acquire(), pool.acquire()] == ["a", "b", "c", None]


def test_a_client_that_names_a_model_gets_only_that() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "english")
    pool.add("b", "digits")
    assert pool.acquire("digits") == "b"
    assert pool.acquire("digits") is None
    assert pool.acquire("korean") is None


def test_the_default_model_is_not_replaced_by_another() -> None:
    pool: WorkerPool[str] = WorkerPool(default_model="english")
    pool.add("a", "digits")
    pool.add("b", "english")
    pool.add("old", "")
    assert pool.acquire() == "b"
    assert pool.acquire() is None


def test_without_a_default_unnamed_workers_serve() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("old", "")
    assert pool.acquire("english") is None
    assert pool.acquire() == "old"


def test_counts() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "english")
    pool.add("b", "english")
    pool.add("c", "digits")
    pool.acquire("english")
    pool.acquire("korean")
    status = pool.status()
    assert (status.available, status.busy, status.processed, status.refused) == (2, 1, 0, 1)
    assert status.models == {"digits": (1, 0), "english": (1, 1)}

    pool.remove("a")  # its request has ended
    pool.remove("c")  # it leaves without one
    status = pool.status()
    assert (status.available, status.busy, status.processed) == (1, 0, 1)
    assert status.models == {"english": (1, 0)}


def test_nobody_gets_a_worker_while_the_pool_does_not_accept() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "")
    pool.accepting = False
    assert pool.acquire() is None
    assert not pool.status().can_serve
    pool.accepting = True
    assert pool.status().can_serve
    assert pool.acquire() == "a"


def test_removing_twice_counts_once() -> None:
    pool: WorkerPool[str] = WorkerPool()
    pool.add("a", "")
    pool.acquire()
    pool.remove("a")
    pool.remove("a")
    assert pool.status().processed == 1


def test_listeners_hear_every_change_until_they_leave() -> None:
    pool: WorkerPool[str] = WorkerPool()
    seen: list[int] = []
    unlisten = pool.listen(lambda: seen.append(pool.status().available))
    pool.add("a", "")
    pool.add("b", "")
    pool.acquire()
    pool.remove("a")
    pool.remove("nobody")
    unlisten()
    pool.remove("b")
    assert seen == [1, 2, 1, 1]


def test_a_listener_may_leave_while_it_is_told() -> None:
    pool: WorkerPool[str] = WorkerPool()
    seen: list[str] = []

    def once() -> None:
        seen.append("once")
        unlisten()

    unlisten = pool.listen(once)
    pool.listen(lambda: seen.append("other"))
    pool.add("a", "")
    pool.add("b", "")
    assert seen == ["once", "other", "other"]
