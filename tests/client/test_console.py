"""What people and scripts see of results."""

import io
import json

import pytest

from pykaldi_server.client.console import ResultPrinter
from pykaldi_server.protocols.messages import Message


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(transcript: str, *, final: bool) -> Message:
    return {"status": 0, "result": {"hypotheses": [{"transcript": transcript}], "final": final}}


MESSAGES = [
    result("one", final=False),
    result("one two", final=False),
    result("one two.\nthree", final=True),
    {"status": 0, "adaptation_state": {"value": "abc"}},
]


def test_finals_are_lines_and_partials_are_beside_them() -> None:
    out, live = io.StringIO(), io.StringIO()
    printer = ResultPrinter(out, live, prefix="a.wav: ")
    for message in MESSAGES:
        printer.show(message)
    assert out.getvalue() == "a.wav: one two.\\nthree\n"
    assert live.getvalue() == "... one\n... one two\n"


def test_partials_overwrite_each_other_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out, live = io.StringIO(), Terminal()
    printer = ResultPrinter(out, live)
    for message in (*MESSAGES, result("a very long partial result that ends here", final=False)):
        printer.show(message)
    *_, last = live.getvalue().split("\r\033[K")
    assert live.getvalue().startswith("\r\033[Kone\r\033[Kone two\r\033[K")
    assert last == "...  that ends here"  # 19 characters: the last column stays free
    assert "\n" not in live.getvalue()


def test_json_is_every_message() -> None:
    out, live = io.StringIO(), io.StringIO()
    printer = ResultPrinter(out, live, as_json=True)
    for message in MESSAGES:
        printer.show(message)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == MESSAGES
    assert live.getvalue() == ""
