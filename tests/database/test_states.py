"""The table of states, in SQLite and in PostgreSQL."""

import math
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql import PostgresqlServer
from sqlalchemy import Connection, event, text

from pykaldi_server.database.addresses import database_url, default_file, relative_to_folder
from pykaldi_server.database.database import Database
from pykaldi_server.database.states import (
    StateEntry,
    StoredState,
    delete_states,
    list_states,
    load_state,
    save_state,
)
from pykaldi_server.errors import AdaptationStateError, ConfigError, DatabaseError
from pykaldi_server.protocols.gstreamer import ADAPTATION_STATE_TYPE, encode_adaptation_state


def state(
    user: str = "anna",
    ended_s: float = 1000.0,
    text: str = "x",
    model: str = "english",
    cmvn: str | None = None,
) -> StoredState:
    packed = None if cmvn is None else encode_adaptation_state(cmvn)
    return StoredState(model, user, ended_s, ADAPTATION_STATE_TYPE, encode_adaptation_state(text), packed)


@pytest.fixture
def database(database_name: str) -> Iterator[Database]:
    database = Database(database_name)
    yield database
    database.close()


def load(database: Database, user: str = "anna", model: str = "english", since_s: float = 0) -> object:
    return database.run(lambda each: load_state(each, model, user, since_s))


def save(database: Database, *states: StoredState) -> list[bool]:
    return [database.run(lambda each, saved=saved: save_state(each, saved)) for saved in states]  # type: ignore[misc]


def test_a_state_is_found_by_model_and_user(database: Database) -> None:
    first, second = state(cmvn="c"), state(model="estonian", text="y")
    third = state(user="Bär/берта 'x'", text="z")
    assert save(database, first, second, third) == [True] * 3
    assert load(database) == first
    assert load(database, model="estonian") == second
    assert load(database, user="Bär/берта 'x'") == third
    assert load(database, user="nobody else") is None


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_later_end_wins(database: Database, order: tuple[int, int]) -> None:
    kept = save(database, *(state(ended_s=1000.0 + end, text=f"end {end}") for end in order))
    assert kept == [True, order == (1, 2)]
    assert load(database) == state(ended_s=1002.0, text="end 2")


def test_a_state_of_a_clock_that_was_wrong_keeps_no_other_from_being_saved(database: Database) -> None:
    years_s = 10 * 365 * 86_400.0
    assert save(database, state(ended_s=1000.0 + years_s, text="wrong"), state(ended_s=1001.0)) == [
        True,
        True,
    ]
    assert load(database) == state(ended_s=1001.0)


def test_a_later_state_without_cmvn_leaves_none_of_the_earlier(database: Database) -> None:
    save(database, state(cmvn="old"), state(ended_s=1001.0))
    assert load(database) == state(ended_s=1001.0)


def test_two_masters_that_start_and_save_at_once(database_name: str) -> None:
    """Both create the table, and both save for the same user: one of the states is there, whole."""
    start, failures = threading.Barrier(4), []

    def work(number: int) -> None:
        database = Database(database_name)
        start.wait()
        try:
            for step in range(5):
                ended_s = 1000.0 + 10 * step + number
                save(database, state(ended_s=ended_s, text=f"{ended_s}"))
        except DatabaseError as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    database = Database(database_name)
    assert load(database) == state(ended_s=1043.0, text="1043.0")
    database.close()


def test_tables_that_another_master_creates_just_before(
    database_name: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever this one has found missing, it does not create a second time."""
    other = Database(database_name)
    found: list[object] = []

    def create(*arguments: object) -> None:
        begins = any(word in str(arguments[2]) for word in ("BEGIN", "lock", "CREATE"))
        if begins and not found:
            found.append(load(other))

    event.listen(database.engine, "before_cursor_execute", create)
    with caplog.at_level("DEBUG"):
        assert load(database) is None
    other.close()
    assert found == [None]
    assert "a second attempt follows" not in caplog.text


def test_what_is_too_old_is_not_found(database: Database) -> None:
    save(database, state(ended_s=1000.0))
    assert load(database, since_s=1000.0) is not None
    assert load(database, since_s=1000.1) is None
    assert database.run(lambda each: list_states(each, None, None, 1000.1)) == []


def test_lists(database: Database) -> None:
    save(database, state("b"), state("a", cmvn="c"), state("a", model="estonian"))
    sizes = len(state().value), len(state(cmvn="c").cmvn_state or "")
    expected = [
        StateEntry("english", "a", 1000.0, sum(sizes)),
        StateEntry("english", "b", 1000.0, sizes[0]),
        StateEntry("estonian", "a", 1000.0, sizes[0]),
    ]
    assert database.run(lambda each: list_states(each, None, None, 0)) == expected
    assert database.run(lambda each: list_states(each, "english", None, 0)) == expected[:2]
    assert database.run(lambda each: list_states(each, None, "a", 0)) == [expected[0], expected[2]]


@pytest.mark.parametrize(
    ("model", "user", "before_s", "left"),
    [
        ("english", "a", None, ["b", "a"]),
        (None, "a", None, ["b"]),
        ("english", None, None, ["a"]),
        (None, None, 1000.5, []),
        (None, None, 1000.0, ["a", "b", "a"]),
    ],
)
def test_deletion(
    database: Database, model: str | None, user: str | None, before_s: float | None, left: list[str]
) -> None:
    save(database, state("b"), state("a"), state("a", model="estonian"))
    count = database.run(lambda each: delete_states(each, model, user, before_s))
    found = database.run(lambda each: list_states(each, None, None, 0))
    assert [entry.user_id for entry in found] == left
    assert count == 3 - len(left)


def test_a_damaged_value_is_found_out() -> None:
    state(cmvn="c").check()
    good = state()
    for damaged in (
        StoredState("m", "u", 0.0, "pickle", good.value),
        StoredState("m", "u", 0.0, good.type, good.value[:-5]),
        StoredState("m", "u", 0.0, good.type, good.value, "!"),
    ):
        with pytest.raises(AdaptationStateError, match="expected"):
            damaged.check()


def test_a_table_of_another_version(database_name: str) -> None:
    def change(connection: Connection) -> None:
        connection.execute(text("DROP TABLE adaptation_states"))
        connection.execute(text("CREATE TABLE adaptation_states (model TEXT, user_id TEXT, value TEXT)"))

    database = Database(database_name)
    database.run(change)
    database.close()
    database = Database(database_name)
    with pytest.raises(DatabaseError, match=r"adaptation_states: expected the columns .*, found model"):
        load(database)
    database.close()


def test_a_table_that_is_gone_is_made_again(database: Database) -> None:
    save(database, state())
    database.run(lambda each: each.execute(text("DROP TABLE adaptation_states")))
    assert load(database) is None
    assert save(database, state()) == [True]


def test_a_server_that_was_killed_and_is_back(postgresql: PostgresqlServer) -> None:
    database = Database(postgresql.url)
    save(database, state())
    postgresql.kill()
    try:
        with pytest.raises(DatabaseError, match="connection"):
            load(database)
    finally:
        postgresql.start()
    assert load(database) == state()
    database.close()
    postgresql.clear()


def test_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "states.db"
    writable = Database(str(path))
    save(writable, state())
    database = Database(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert load(database) == state()
    with pytest.raises(DatabaseError, match=r"states\.db.*: attempt to write a readonly database"):
        save(database, state(ended_s=2000.0))


def test_a_full_disk(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "states.db"))
    save(database, state())

    def allow_no_growth(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says of a full disk

    event.listen(database.engine, "connect", allow_no_growth)
    with pytest.raises(DatabaseError, match="database or disk is full"):
        save(database, state(user="b", text="".join(map(chr, range(200, 20_000)))))
    event.remove(database.engine, "connect", allow_no_growth)
    assert save(database, state(user="b")) == [True]


@pytest.mark.parametrize(("content", "reason"), [(b"no database at all" * 99, "not a database")])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "states.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=reason):
        load(Database(str(path)))


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="No such file or directory"):
        load(Database(str(tmp_path / "missing" / "states.db")))


def test_the_file_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    save(Database("default"), state())
    assert default_file() == tmp_path / "data" / "pykaldi-server" / "states.db"
    assert default_file().stat().st_mode & 0o777 == 0o600
    assert default_file().parent.stat().st_mode & 0o777 == 0o700


def test_a_deleted_state_is_not_left_in_the_file(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "states.db"))
    save(database, state(user="somebody with a long name"))
    assert b"somebody with a long name" in (tmp_path / "states.db").read_bytes()
    database.run(lambda each: delete_states(each, user_id="somebody with a long name"))
    assert b"somebody with a long name" not in (tmp_path / "states.db").read_bytes()


def test_names_of_databases(tmp_path: Path) -> None:
    assert database_url("/x/states.db") == "sqlite:////x/states.db"
    assert database_url("states.db") == f"sqlite:///{Path.cwd()}/states.db"
    assert database_url("postgres://a@b/c") == "postgresql+psycopg://a@b/c"
    for wrong in ("mysql://a@b/c", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigError, match=r"states: expected .*, found"):
            database_url(wrong)


def test_files_named_in_a_configuration_file(tmp_path: Path) -> None:
    assert relative_to_folder("states.db", tmp_path) == f"{tmp_path}/states.db"
    assert relative_to_folder("sqlite:///states.db", tmp_path) == f"sqlite:///{tmp_path}/states.db"
    for name in ("default", "/x/states.db", "sqlite:////x/states.db", "postgresql://a@b/c"):
        assert relative_to_folder(name, tmp_path) == name


def test_a_password_is_never_shown() -> None:
    assert "secret" not in str(Database("postgresql://a:secret@b/c"))
    with pytest.raises(ConfigError) as raised:
        Database("postgresql://a:secret@b:port/c")
    assert "secret" not in str(raised.value)


def test_a_state_that_never_expires(database: Database) -> None:
    save(database, state(ended_s=0.0))
    assert load(database, since_s=-math.inf) == state(ended_s=0.0)


def test_without_the_driver_of_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'pykaldi-server\[postgresql\]'"):
        Database("postgresql://a@b/c")
