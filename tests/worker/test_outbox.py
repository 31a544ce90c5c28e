"""What a request sends, in order, beside a text processor that takes its time."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from tornado.websocket import WebSocketClosedError

from pykaldi_server.protocols.worker import Position
from pykaldi_server.session.events import AdaptationState, Final, Hypothesis, Partial
from pykaldi_server.session.text_processor import Result
from pykaldi_server.worker.outbox import Outbox

RunInFakeTime = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def final(transcript: str) -> Final:
    return Final(0, 0.0, 1.0, 1.0, (Hypothesis(transcript, 0.0),))


class Connection:
    """Keeps what is written, shortened to what matters here."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.is_closed = False

    def write_texts(self, texts: list[str]) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self._write(list(texts)))

    async def _write(self, texts: list[str]) -> None:
        if self.is_closed:
            raise WebSocketClosedError
        for text in texts:
            self._keep(text)

    def _keep(self, text: str) -> None:
        message = json.loads(text) if text.startswith("{") else text
        match message:
            case {"position": {"bytes": num_bytes, "end": end}}:
                self.written.append(f"{'end' if end else 'position'} {num_bytes}")
            case {"result": {"hypotheses": [{"transcript": transcript}, *_]}}:
                self.written.append(transcript)
            case {"adaptation_state": _}:
                self.written.append("state")
            case _:
                self.written.append(text)


class Slow:
    """Makes results longer when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_go_on = asyncio.Event()

    async def __call__(self, result: Result, request_id: str) -> Result:
        text = result.transcript if isinstance(result, Partial) else result.hypotheses[0].transcript
        self.asked.append(text)
        await self.may_go_on.wait()
        return Partial(0, text + "!") if isinstance(result, Partial) else final(text + "!")


def test_everything_in_order_without_a_text_processor(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        connection = Connection()
        outbox = Outbox(connection, "id")  # type: ignore[arg-type]
        outbox.put(Partial(0, "a"), final("b"))
        outbox.put(Position(7, 0.1), AdaptationState("x"), "text", Position(8, 0.1, end=True))
        await outbox.flush()
        assert connection.written == ["a", "b", "position 7", "state", "text", "end 8"]
        outbox.close()

    run_in_fake_time(scenario)


def test_results_wait_but_positions_do_not(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        connection, slow = Connection(), Slow()
        outbox = Outbox(connection, "id", slow)  # type: ignore[arg-type]
        outbox.put(final("a"), Position(1, 0.1))
        await asyncio.sleep(0.1)
        assert connection.written == []  # a fast program keeps positions in their place
        await asyncio.sleep(0.2)
        outbox.put(Position(2, 0.2), Partial(1, "b"), AdaptationState("x"), Position(3, 0.3, end=True))
        await asyncio.sleep(100)
        assert connection.written == ["position 1", "position 2"]
        slow.may_go_on.set()
        await outbox.flush()
        assert connection.written[2:] == ["a!", "b!", "state", "end 3"]
        outbox.close()

    run_in_fake_time(scenario)


def test_partial_results_that_a_newer_one_follows_are_sent_as_they_are(
    run_in_fake_time: RunInFakeTime,
) -> None:
    async def scenario() -> None:
        connection, slow = Connection(), Slow()
        slow.may_go_on.set()
        outbox = Outbox(connection, "id", slow)  # type: ignore[arg-type]
        outbox.put(Partial(0, "a"), Position(1, 0.1), Partial(0, "a b"), final("a b c"))
        await outbox.flush()
        assert connection.written == ["a", "position 1", "a b", "a b c!"]
        assert slow.asked == ["a b c"]
        outbox.close()

    run_in_fake_time(scenario)


def test_a_text_processor_that_fails_loses_nothing(run_in_fake_time: RunInFakeTime) -> None:
    async def fail(result: Result, request_id: str) -> Result:
        raise ValueError("broken")

    async def scenario() -> None:
        connection = Connection()
        outbox = Outbox(connection, "id", fail)  # type: ignore[arg-type]
        outbox.put(final("a"), AdaptationState("x"))
        await outbox.flush()
        assert connection.written == ["a", "state"]
        outbox.close()

    run_in_fake_time(scenario)


def test_what_is_put_after_the_master_has_closed_is_dropped(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        connection, slow = Connection(), Slow()
        connection.is_closed = True
        outbox = Outbox(connection, "id", slow)  # type: ignore[arg-type]
        outbox.put("text", final("a"))
        await outbox.flush()
        assert outbox.is_closed
        assert slow.asked == []
        outbox.close()

    run_in_fake_time(scenario)


def test_closing_while_a_result_is_with_the_text_processor(run_in_fake_time: RunInFakeTime) -> None:
    async def scenario() -> None:
        connection, slow = Connection(), Slow()
        outbox = Outbox(connection, "id", slow)  # type: ignore[arg-type]
        outbox.put(final("a"))
        await asyncio.sleep(1)
        outbox.close()
        await asyncio.sleep(1)
        assert connection.written == []

    run_in_fake_time(scenario)
