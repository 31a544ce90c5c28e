"""What waits for a listener of a call: bounded, and no partial result that a later one has replaced."""

from typing import Any

from pykaldi_server.protocols import calls
from pykaldi_server.protocols.calls import Backlog
from pykaldi_server.protocols.messages import Message, Status


def result(text: str, final: bool = False, request: str = "r1") -> Message:
    event = {
        "status": 0,
        "id": request,
        "result": {"hypotheses": [{"transcript": text}], "final": final},
    }
    message = calls.call_message("c", "inbound", event)
    assert message is not None
    return message


def contents(backlog: Backlog) -> list[Any]:
    return [backlog.take() for _ in range(len(backlog))]


def test_a_partial_result_gives_way_to_the_next_of_its_track() -> None:
    backlog = Backlog(10)
    messages = [result("a"), result("a b"), result("x", request="r2"), result("x y", request="r2")]
    messages += [result("x y z", final=True, request="r2"), result("c"), calls.end("c")]
    for message in messages:
        assert backlog.put(message)
    assert contents(backlog) == [messages[1], *messages[4:]]


def test_an_error_leaves_what_was_recognised_before_it() -> None:
    backlog = Backlog(10)
    error = calls.error("c", "inbound", Status.ABORTED, "lost", "r1")
    for message in (result("a"), error):
        backlog.put(message)
    assert contents(backlog) == [result("a"), error]


def test_what_waits_is_bounded() -> None:
    backlog = Backlog(2)
    assert backlog.put(result("a", final=True))
    assert backlog.put(result("b"))
    assert backlog.put(result("b c"))
    assert not backlog.put(calls.end("c"))
    assert contents(backlog) == [result("a", final=True), result("b c")]


def test_adaptation_states_are_not_for_listeners() -> None:
    assert calls.call_message("c", "inbound", {"status": 0, "adaptation_state": {"value": "x"}}) is None
