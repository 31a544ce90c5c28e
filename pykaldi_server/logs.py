"""Logging of a process: plain, one line per event, to standard error; lines about a request carry its id."""

import contextvars
import logging
import re
import sys
import time

__all__ = ["LEVELS", "configure_logging", "current_request_id"]

LEVELS = ("debug", "info", "warning", "error", "none")
"""From what level on messages are logged, as ``--logging`` of kaldi-gstreamer-server names them."""

current_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("current_request_id", default="")
"""Id of the request that the running code works for; log lines that do not name it get it in front."""

QUIET_S = 60.0
"""A library's warning is logged once in this time, however often it comes."""

_NUMBERS = re.compile(r"\d+|\([^()]*\)")


def configure_logging(role: str, verbose: bool = False, level: str = "info") -> None:
    """Sets up the root logger.

    Args:
        role: appears in every line, to tell the processes of one server apart.
        verbose: also log what is only of use for finding errors.
        level: one of `LEVELS`; "none" leaves the root logger as it is.
    """
    if level == "none":
        return
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else level.upper(),
        format=f"%(asctime)s %(levelname)-7s {role}: %(message)s",
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_name_request)
    for chatty in ("asyncio", "tornado.access"):
        logging.getLogger(chatty).setLevel(max(logging.INFO, logging.getLogger().level))
    # Tornado warns of each TLS handshake that fails, which a peer that tries again makes many of.
    logging.getLogger("tornado.general").filters[:] = [_Repetitions()]


def _name_request(record: logging.LogRecord) -> bool:
    request_id = current_request_id.get()
    if request_id and request_id not in (message := record.getMessage()):
        record.msg, record.args = f"{request_id}: {message}", None
    return True


class _Repetitions(logging.Filter):
    """Lets one of several messages pass that differ only in numbers and in what is in parentheses."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = _NUMBERS.sub("", record.getMessage())
        now_s = time.monotonic()
        if record.levelno >= logging.ERROR or now_s - self._last_s.get(kind, -QUIET_S) >= QUIET_S:
            self._last_s[kind] = now_s
            return True
        return False
