"""Log lines of a process."""

import contextvars
import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.logs import (
    FORMATS,
    JsonFormatter,
    LogContext,
    TextFormatter,
    configure_logging,
    secure_handlers,
)

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
FORGED = "x\n2026-01-01 00:00:00,000 INFO    master: forged\r\x1b[2J\u2028\u202e\x85"

Start = Callable[..., io.StringIO]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Sets up the logging of a process; returns its standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for owner, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, f"__{name}__"))
    stream = io.StringIO()

    def configure(layout: str = "text") -> io.StringIO:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stderr", stream)
            configure_logging("worker 7", layout=layout)
        return stream

    yield configure
    logging.captureWarnings(False)
    logging.getLogger("tornado.general").filters.clear()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(start: Start) -> io.StringIO:
    return start()


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def in_context(context: LogContext, work: Callable[[], None]) -> None:
    def run() -> None:
        context.enter()
        work()

    contextvars.copy_context().run(run)


def test_lines_about_a_request_have_its_id_once(lines: io.StringIO) -> None:
    logger = logging.getLogger("pykaldi_server.session")

    def work() -> None:
        logger.warning("100 %% of %s is strange", "it")
        logger.warning("%s: done", "some-id")
        logger.warning("%s: another one's", OTHER_ID)

    in_context(LogContext("some-id"), work)
    logger.warning("ready")
    texts = [line.partition("worker 7: ")[2] for line in lines.getvalue().splitlines()]
    assert texts == [
        "some-id: 100 % of it is strange",
        "some-id: done",
        f"{OTHER_ID}: another one's",
        "ready",
    ]


def test_json_lines_have_all_that_is_known_of_a_request(start: Start) -> None:
    stream = start("json")
    logger = logging.getLogger("pykaldi_server.session")
    context = LogContext(ID, caller="desk at 192.0.2.1")

    def work() -> None:
        context.model, context.worker = "english", "worker english at 192.0.2.2"
        logger.warning("strange")

    in_context(context, work)
    logger.info("%s: left", ID)  # by a task of another request or of none
    logger.info("%s: left", OTHER_ID)
    logger.info("ready")
    one, two, three, four = objects(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.pop("time"))
    assert one == {
        "level": "warning",
        "logger": "pykaldi_server.session",
        "process": "worker 7",
        "message": "strange",
        "request": ID,
        "model": "english",
        "worker": "worker english at 192.0.2.2",
        "caller": "desk at 192.0.2.1",
    }
    assert (two["message"], two["request"], two["model"]) == ("left", ID, "english")
    assert (three["message"], three["request"]) == ("left", OTHER_ID)
    assert "model" not in three
    assert four.keys() == {"time", "level", "logger", "process", "message"}


@pytest.mark.parametrize("layout", FORMATS)
def test_what_clients_say_cannot_forge_a_line(start: Start, layout: str) -> None:
    stream = start(layout)
    logger = logging.getLogger("pykaldi_server.master")

    def work() -> None:
        logger.info("upload, type %s", FORGED)
        try:
            raise ValueError(FORGED)
        except ValueError:
            logger.exception("%s: failed", ID)

    in_context(LogContext(FORGED, FORGED, FORGED, FORGED), work)
    text = stream.getvalue()
    assert not set(text) & set("\r\x1b\u2028\u202e\x85")
    if layout == "json":
        assert [each["level"] for each in objects(stream)] == ["info", "error"]
        assert objects(stream)[0]["message"] == f"upload, type {FORGED}"
        assert FORGED in objects(stream)[1]["exception"]
    else:
        begun = [line for line in text.splitlines() if not line.startswith("    ")]
        assert len(begun) == 2
        assert all(" worker 7: " in line for line in begun)


@given(st.text(), st.text(), st.text())
def test_any_text_is_one_line(message: str, name: str, request_id: str) -> None:
    record = logging.LogRecord(name, logging.INFO, __file__, 1, "%s: %s", (request_id, message), None)
    for formatter in (TextFormatter("master"), JsonFormatter("master")):
        line = formatter.format(record)
        assert line.isprintable()
        assert len(line.splitlines()) == 1
    shown = json.loads(line)
    assert f"{request_id}: {message}".endswith(shown["message"]) or "***" in shown["message"]


def test_handlers_of_a_configuration_file_are_as_safe() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("configured")
    logger.handlers, logger.propagate = [logging.StreamHandler(stream), logging.StreamHandler(stream)], False
    for number, handler in enumerate(logger.handlers):
        handler.set_name(f"of a file {number}")
        handler.setFormatter(logging.Formatter("LINE %(request)s %(model)s: %(message)s"))
    try:
        secure_handlers(["of a file 0", "of a file 1"])
        secure_handlers(["of a file 0", "of a file 1"])

        def work() -> None:
            logger.warning("upload, type %s?token=SECRET", FORGED)
            try:
                raise ValueError(f"{FORGED} token=SECRET")
            except ValueError:
                logger.exception("%s: failed", ID)

        in_context(LogContext("some-id", FORGED), work)
    finally:
        logger.handlers = []
    text = stream.getvalue()
    assert not set(text) & set("\r\x1b\u2028\u202e\x85")
    assert "SECRET" not in text
    begun = [line for line in text.splitlines() if not line.startswith("    ")]
    assert [line.split()[:2] for line in begun] == [["LINE", "some-id"]] * 2 + [["LINE", ID]] * 2
    assert begun[0].count("some-id") == 2  # as the field, and in front of the message
    assert begun[2] == f"LINE {ID} : {ID}: failed"


@pytest.mark.parametrize("layout", FORMATS)
def test_secrets_are_not_shown(start: Start, layout: str) -> None:
    stream = start(layout)
    logger = logging.getLogger("tornado.application")
    for text in (
        "Uncaught exception GET /client/ws/speech?model=a&token=SECRET (192.0.2.1)",
        "HTTPServerRequest(method='GET', uri='/vosk?access_token=SECRET', version='HTTP/1.1')",
        "wss://host/worker/ws/speech?token=SECRET refuses this worker",
        "Authorization: Bearer SECRET",
        "{'Authorization': 'Basic SECRET'}",
        "cannot connect to postgresql://desk:SECRET@host/name",
    ):
        logger.error("%s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("failed")
    logger.error("expected a token, found none; Basic settings; max-tokens=5")
    assert "SECRET" not in stream.getvalue()
    assert "expected a token, found none; Basic settings; max-tokens=5" in stream.getvalue()


@pytest.mark.parametrize("layout", FORMATS)
def test_what_nothing_catches_is_logged(layout: str) -> None:
    """Warnings, an exception in a thread, in a finaliser, and the one that ends the process."""
    program = f"""
import threading, warnings
from pykaldi_server.logs import configure_logging
configure_logging("worker 7", layout={layout!r})

class Fragile:
    def __del__(self):
        raise ValueError("in a finaliser")

def fail():
    raise ValueError("in a thread")

warnings.warn("a warning")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fragile = Fragile()
del fragile
raise ValueError("at the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    begun = [line for line in done.stderr.splitlines() if not line.startswith("    ")]
    assert len(begun) == 4, done.stderr
    for line in begun:
        assert (
            json.loads(line)["level"] in ("warning", "critical") if layout == "json" else "worker 7" in line
        )
    for text in ("a warning", "in a thread", "in a finaliser", "at the end"):
        assert text in done.stderr


def test_hooks_of_before_are_still_called(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: called.append(args))
    stream = start()
    start()
    error = ValueError("strange")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [args[0] for args in called] == [ValueError, KeyboardInterrupt]
    assert stream.getvalue().count("nothing has caught") == 1


def test_warnings_are_one_line(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("strange", stacklevel=1)
        logging.captureWarnings(False)
    assert len(lines.getvalue().splitlines()) == 1


def test_a_peer_whose_handshakes_fail_does_not_flood_the_log(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("pykaldi_server.logs.time.monotonic", lambda: now_s)
    logger = logging.getLogger("tornado.general")
    for number in range(50):
        logger.warning("SSL Error on %d ('127.0.0.1', %d): certificate verify failed", number, 40000 + number)
        now_s += 1.0
    logger.warning("something else")
    assert len(lines.getvalue().splitlines()) == 2
    now_s += 60.0
    logger.warning("SSL Error on 3 (not connected): certificate verify failed")
    assert len(lines.getvalue().splitlines()) == 3


def test_what_peers_say_is_not_remembered_for_ever(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pykaldi_server.logs.MOST_KINDS", 20)
    logger = logging.getLogger("tornado.general")
    for number in range(100):
        logger.warning("Malformed HTTP message: %s", "x" * number)
    (repetitions,) = logger.filters
    assert len(repetitions._last_s) <= 20  # type: ignore[union-attr]
