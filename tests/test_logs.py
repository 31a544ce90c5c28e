"""Log lines of a process."""

import contextvars
import io
import logging
from collections.abc import Iterator

import pytest

from pykaldi_server.logs import configure_logging, current_request_id


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error, with the logging of a process set up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging("worker 7")
    yield stream
    logging.getLogger("tornado.general").filters.clear()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_about_a_request_have_its_id_once(lines: io.StringIO) -> None:
    logger = logging.getLogger("pykaldi_server.session")

    def work() -> None:
        current_request_id.set("some-id")
        logger.warning("100 %% of %s is strange", "it")
        logger.warning("%s: done", "some-id")

    contextvars.copy_context().run(work)
    logger.warning("ready")
    texts = [line.partition("worker 7: ")[2] for line in lines.getvalue().splitlines()]
    assert texts == ["some-id: 100 % of it is strange", "some-id: done", "ready"]


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
