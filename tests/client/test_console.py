"""What people and scripts see of results."""

import io
import json

import pytest

from pykaldi_server.client.console import ResultPrinter, ordinal
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


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (20, "20th"), (22, "22nd")],
        *[(11, "11th"), (12, "12th"), (13, "13th"), (101, "101st"), (111, "111th"), (1003, "1003rd")],
    ],
)
def test_numbers_in_a_row(number: int, text: str) -> None:
    assert ordinal(number) == text


PLACES: list[Message] = [{"status": 0, "queue": place} for place in (3, 1, 0)]


def test_a_place_in_line_goes_where_partials_go() -> None:
    out, live = io.StringIO(), io.StringIO()
    printer = ResultPrinter(out, live)
    for message in PLACES:
        printer.show(message)
    assert (out.getvalue(), live.getvalue()) == ("", "... waiting: 3rd in line\n... waiting: 1st in line\n")


def test_on_a_terminal_the_place_goes_away_when_the_request_is_served() -> None:
    out, live = io.StringIO(), Terminal()
    printer = ResultPrinter(out, live)
    for message in PLACES:
        printer.show(message)
    clear = "\r\033[K"
    assert live.getvalue() == f"{clear}waiting: 3rd in line{clear}waiting: 1st in line{clear}"
