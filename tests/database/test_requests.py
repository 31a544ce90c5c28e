"""The table of requests, in SQLite and in PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pykaldi_server.database.database import Database
from pykaldi_server.database.requests import (
    GROUPS,
    LoggedRequest,
    RequestFilter,
    RequestSummary,
    add_requests,
    delete_requests,
    list_requests,
    load_request,
    summarize_requests,
)

FIRST = LoggedRequest(
    id="a",
    begun_s=1000.25,
    ended_s=1003.5,
    protocol="kaldi",
    caller="desk",
    address="192.0.2.1",
    user_id="Bär/берта 'x'",
    model="english",
    worker="worker english at 192.0.2.2",
    outcome="success",
    message="",
    received_bytes=5 * 2**31,
    sent_bytes=1000,
    audio_s=3.0,
    cpu_s=0.25,
    queue_wait_s=0.5,
    partial_delay_s=0.125,
    longest_partial_delay_s=0.25,
    final_delay_s=0.5,
    longest_final_delay_s=0.75,
    num_words=7,
    text="one two\nthree",
)
SECOND = replace(
    FIRST,
    id="b",
    begun_s=2000.0,
    protocol="vosk",
    outcome="aborted",
    audio_s=1.0,
    queue_wait_s=1.5,
    num_words=1,
)
THIRD = replace(
    FIRST,
    id="c",
    begun_s=3000.0,
    model="",
    caller="",
    outcome="not_available",
    address=None,
    user_id=None,
    queue_wait_s=None,
    partial_delay_s=None,
    longest_partial_delay_s=None,
    final_delay_s=None,
    longest_final_delay_s=None,
    audio_s=0.0,
    num_words=0,
    text=None,
)
ALL = (THIRD, SECOND, FIRST)


@pytest.fixture
def database(database_name: str) -> Iterator[Database]:
    database = Database(database_name)
    database.run(lambda each: add_requests(each, (FIRST, SECOND, THIRD)))
    yield database
    database.close()


def ids(database: Database, limit: int | None = None, **wanted: object) -> str:
    found = database.run(lambda each: list_requests(each, RequestFilter(**wanted), limit))  # type: ignore[arg-type]
    return "".join(each.id for each in found)


def test_requests_are_kept_as_they_are(database: Database) -> None:
    for request in ALL:
        assert database.run(lambda each, request=request: load_request(each, request.id)) == request  # type: ignore[misc]
    assert database.run(lambda each: load_request(each, "x")) is None


def test_the_latest_requests_come_first_and_may_be_chosen(database: Database) -> None:
    assert ids(database) == "cba"
    assert ids(database, limit=2) == "cb"
    assert ids(database, since_s=2000.0) == "cb"
    assert ids(database, until_s=2000.0) == "a"
    assert ids(database, model="english") == "ba"
    assert ids(database, model="") == "c"
    assert ids(database, protocol="vosk", outcome="aborted", caller="desk") == "b"
    assert ids(database, protocol="vosk", outcome="success") == ""


def test_a_request_that_is_there_already_stays(database: Database) -> None:
    database.run(lambda each: add_requests(each, (replace(FIRST, model="x"), replace(FIRST, id="d"))))
    assert ids(database, model="x") == ""
    assert len(ids(database)) == 4


def test_no_requests_can_be_added(database: Database) -> None:
    database.run(lambda each: add_requests(each, ()))
    assert ids(database) == "cba"


def test_old_requests_are_deleted(database: Database) -> None:
    assert database.run(lambda each: delete_requests(each, 2000.0)) == 1
    assert ids(database) == "cb"


def test_requests_are_summed_up(database: Database) -> None:
    none, english = database.run(lambda each: summarize_requests(each, RequestFilter(), "model"))
    assert none == RequestSummary("", 1, 0, 0.0, 0.25, 0, None, None, None)
    assert english == RequestSummary("english", 2, 1, 4.0, 0.5, 8, 1.0, 0.125, 0.5)
    for by in GROUPS:
        found = database.run(lambda each, by=by: summarize_requests(each, RequestFilter(model="english"), by))  # type: ignore[misc]
        assert sum(each.num_requests for each in found) == 2


def test_properties_are_for_json() -> None:
    shown = replace(FIRST, cpu_s=0.123456).properties()
    assert list(shown) == LoggedRequest.names()
    assert shown["begun"] == "1970-01-01T00:16:40.250Z"
    assert shown["cpu_s"] == 0.1235
