"""What masters and workers say to each other, and what strangers may say instead."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.messages import dumps
from pykaldi_server.protocols.worker import (
    Position,
    WorkerInfo,
    WorkerRequestInfo,
    init_message,
    is_position,
    split_message,
)

CAPS = "audio/x-raw, layout=(string)interleaved, rate=(int)16000, format=(string)S16LE, channels=(int)1"
OURS = WorkerInfo(model="english v2", language="en", version="0.1.0", protocol=2, sample_rate_hz=8000)


def test_an_init_message_reaches_a_worker_of_the_original_as_it_knows_it() -> None:
    request = RequestInfo(CAPS, user_id="anna", content_id="42", options={"num_nbest": 3}, id="some-id")
    message = init_message(request, WorkerInfo(), 1000)
    assert json.loads(message) == {
        "id": "some-id",
        "content_type": CAPS,
        "user_id": "anna",
        "content_id": "42",
    }
    info = WorkerRequestInfo.from_init_message(message)
    assert (info.position_bytes, info.options) == (None, {})


def test_an_init_message_reaches_our_worker_with_everything() -> None:
    request = RequestInfo(CAPS, user_id="anna", content_id="42", options={"num_nbest": 3}, id="some-id")
    info = WorkerRequestInfo.from_init_message(init_message(request, OURS, 1000))
    assert info.request == RequestInfo(CAPS, user_id="anna", content_id="42", id="some-id")
    assert (info.position_bytes, info.options) == (1000, {"num_nbest": 3})


def test_raw_audio_of_no_stated_rate_has_that_of_the_model() -> None:
    request = RequestInfo("audio/x-raw", at_model_rate=True)
    for worker, content_type in (
        (OURS, "audio/x-raw, rate=(int)8000"),
        (WorkerInfo(), "audio/x-raw, rate=(int)16000"),
    ):
        assert json.loads(init_message(request, worker, 0))["content_type"] == content_type


def test_a_short_init_message_is_enough() -> None:
    info = WorkerRequestInfo.from_init_message('{"id": "x", "content_type": null}')
    assert info.request == RequestInfo(id="x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "EOS",
        "[]",
        "{}",
        '{"id": "x"}',
        '{"id": "", "content_type": null}',
        '{"id": 7, "content_type": null}',
        '{"id": "x", "content_type": 16000}',
        '{"id": "x", "content_type": null, "options": 3}',
        '{"id": "x", "content_type": null, "position_bytes": "3"}',
        '{"status": 9, "message": "No decoder available", "id": "x", "content_type": null}',
        "[" * 100_000,
    ],
)
def test_a_damaged_init_message_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        WorkerRequestInfo.from_init_message(text)


def test_worker_query() -> None:
    url = OURS.url("ws://localhost:8888/worker/ws/speech?token=a%26b")
    base, _, query = url.partition("?")
    assert base == "ws://localhost:8888/worker/ws/speech"
    assert "token=a%26b" in query
    assert WorkerInfo.from_query(query) == OURS
    assert OURS.reports_positions
    original = WorkerInfo.from_query("")
    assert original == WorkerInfo("", "", "", 1)
    assert not original.reports_positions
    assert WorkerInfo().url("ws://localhost/worker/ws/speech") == "ws://localhost/worker/ws/speech"


@given(st.text())
def test_any_query_is_understood_or_ignored(query: str) -> None:
    WorkerInfo.from_query(query)
    WorkerInfo.from_query(f"protocol={query}&rate={query}")


@given(st.integers(min_value=0), st.floats(min_value=0, allow_infinity=False), st.booleans())
def test_positions_are_recognised_and_read(num_bytes: int, audio_s: float, end: bool) -> None:
    position = Position(num_bytes, audio_s, end)
    assert is_position(position.text())
    assert Position.from_text(position.text()) == position


def test_positions_say_what_results_took() -> None:
    position = Position(1, 0.5, False, 0.25, (0.1, 0.2), (0.3,))
    assert Position.from_text(position.text()) == position
    assert "cpu" not in Position(1, 0.5).text()  # as those of workers that say nothing of it
    with pytest.raises(ProtocolError):
        Position.from_text('{"position": {"bytes": 1, "seconds": 0, "end": false, "partials": ["soon"]}}')


@pytest.mark.parametrize("text", ['{"position": 3}', '{"position": {"bytes": 1}}', '{"position": {}}'])
def test_damaged_positions_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="expected bytes, seconds and end of a position, found"):
        Position.from_text(text)


def test_events_are_not_positions() -> None:
    assert not is_position(dumps({"status": 0}))
    assert not is_position(b'{"position": {}}')


@given(st.binary(max_size=100), st.integers(min_value=3, max_value=50))
def test_split_messages_keep_the_stream(data: bytes, limit: int) -> None:
    pieces = [piece for piece in split_message(data, limit) if isinstance(piece, bytes)]
    assert b"".join(pieces) == data
    assert all(len(piece) <= limit for piece in pieces)


def test_split_messages_never_make_an_end_of_stream() -> None:
    assert list(split_message(b"abcEOS", 3)) == [b"abc", b"E", b"OS"]
    assert list(split_message(b"EOS", 3)) == [b"EOS"]
    assert list(split_message("text" * 9, 3)) == ["text" * 9]
