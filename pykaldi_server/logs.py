"""Logging of a process to standard error: one event per line, as text or as JSON.

Every line that belongs to a request has the request's id, whoever logs it: the id at the beginning of the
message counts, and otherwise the `LogContext` of the running task or thread. What comes from clients cannot
forge a line or control a terminal: characters that do not print are escaped, and the lines of a traceback
are indented. Tokens and passwords in addresses and headers are never shown.
"""

import contextvars
import json
import logging
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

__all__ = [
    "FORMATS",
    "LEVELS",
    "JsonFormatter",
    "LogContext",
    "TextFormatter",
    "add_request",
    "configure_logging",
    "current_log_context",
    "secure_handlers",
]

LEVELS = ("debug", "info", "warning", "error", "none")
"""From what level on messages are logged, as ``--logging`` of kaldi-gstreamer-server names them."""

FORMATS = ("text", "json")
"""How lines are laid out."""

QUIET_S = 60.0
"""A library's warning is logged once in this time, however often it comes."""

MOST_KINDS = 1000
"""As many different warnings of a library are remembered; peers determine what they say."""

INDENT = "    "
"""Begins each line of a traceback, so that none can be taken for a line of the log."""

_NUMBERS = re.compile(r"\d+|\([^()]*\)")
_LEADING_ID = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}): ")
# Each takes time in proportion to the text, whatever that is.
_SECRETS = (
    re.compile(r"((?:token|secret|api[_-]?key|password)=)[^\s&;,'\"]+", re.I),  # in a query string
    re.compile(r"(\bBearer\s+|\bAuthorization\W+Basic\s+)[^\s,'\"]+", re.I),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),  # user:password@host
)

_contexts: "weakref.WeakValueDictionary[str, LogContext]" = weakref.WeakValueDictionary()


@dataclass(slots=True, weakref_slot=True, eq=False)
class LogContext:
    """What log lines say of the request that they belong to. Its fields may change while the request runs.

    Attributes:
        request: the request's id.
        model: name of the model.
        worker: the worker that serves it.
        caller: the name of the caller's token, and its address.
    """

    request: str = ""
    model: str = ""
    worker: str = ""
    caller: str = ""

    def __post_init__(self) -> None:
        if self.request:
            _contexts[self.request] = self  # also for lines of tasks that serve several requests

    def enter(self) -> None:
        """Makes it the context of the running task, and of those that the task starts."""
        current_log_context.set(self)


_NO_CONTEXT = LogContext()

current_log_context: contextvars.ContextVar[LogContext] = contextvars.ContextVar(
    "current_log_context", default=_NO_CONTEXT
)
"""The request that the running code works for."""


def configure_logging(role: str, verbose: bool = False, level: str = "info", layout: str = "text") -> None:
    """Sets up the root logger; warnings and exceptions that nothing catches are logged, too.

    Args:
        role: appears in every line, to tell the processes of one server apart.
        verbose: also log what is only of use for finding errors.
        level: one of `LEVELS`; "none" leaves the root logger as it is.
        layout: one of `FORMATS`.
    """
    if level == "none":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role) if layout == "json" else TextFormatter(role))
    handler.addFilter(add_request)
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else level.upper(), force=True)
    logging.captureWarnings(True)
    _log_uncaught()
    for chatty in ("asyncio", "tornado.access"):
        logging.getLogger(chatty).setLevel(max(logging.INFO, logging.getLogger().level))
    # Tornado warns of each TLS handshake that fails, which a peer that tries again makes many of.
    logging.getLogger("tornado.general").filters[:] = [_Repetitions()]


def add_request(record: logging.LogRecord) -> bool:
    """A filter for handlers: notes in the record which request it belongs to."""
    message = record.getMessage()
    context = current_log_context.get()
    leading = _LEADING_ID.match(message)
    if leading is not None:
        context = _contexts.get(leading[1]) or LogContext(leading[1])
        message = message[leading.end() :]
    elif context.request and message.startswith(f"{context.request}: "):  # an id of somebody else's making
        message = message[len(context.request) + 2 :]
    record.context, record.text = context, message
    return True


class _Formatter(logging.Formatter):
    """Lays lines out.

    Args:
        role: which process this is.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role


class TextFormatter(_Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{moment},{int(record.msecs):03} {record.levelname:7} {self._role}: {_text(record)}"
        trace = _indented_trace(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(_Formatter):
    """One JSON object per line: time (UTC), level, logger, process, message; of a request also its id, model,
    worker and caller; of an exception its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        context, text = _request_of(record)
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._role,
            "message": _hidden(text),
            "request": context.request,
            "model": context.model,
            "worker": context.worker,
            "caller": context.caller,
            "exception": _hidden(_trace(record)),
        }
        return json.dumps({name: value for name, value in fields.items() if value or name == "message"})


def secure_handlers(names: Collection[str]) -> None:
    """Gives handlers that somebody else has set up what those of `configure_logging` have.

    Their lines have the request's id in front, and nothing that clients say can forge one. Formats may use
    ``%(request)s``, ``%(model)s``, ``%(worker)s`` and ``%(caller)s``.

    Args:
        names: what the handlers are called.
    """
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    for handler in {handler for logger in (logging.root, *loggers) for handler in logger.handlers}:
        if handler.name in names:
            handler.addFilter(_secure)


def _secure(record: logging.LogRecord) -> bool:
    """A filter that makes a record safe for any formatter."""
    add_request(record)
    context, _ = _request_of(record)
    record.msg, record.args = _text(record), None
    record.exc_text, record.stack_info = _indented_trace(record), None
    for name in ("request", "model", "worker", "caller"):
        setattr(record, name, _printable(getattr(context, name)))
    return True


def _text(record: logging.LogRecord) -> str:
    """The message, with the id of the request that it belongs to in front."""
    context, text = _request_of(record)
    if context.request and context.request not in text:
        text = f"{context.request}: {text}"
    return _printable(_hidden(text))


def _indented_trace(record: logging.LogRecord) -> str:
    return "\n".join(INDENT + _printable(each) for each in _hidden(_trace(record)).splitlines())


def _request_of(record: logging.LogRecord) -> tuple[LogContext, str]:
    """The request that a record belongs to, and the message without the request's id in front."""
    if not hasattr(record, "context"):
        add_request(record)
    return record.context, record.text  # type: ignore[attr-defined]


def _trace(record: logging.LogRecord) -> str:
    """The traceback of a record's exception, and its stack, if it has them."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(logging.Formatter().formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _hidden(text: str) -> str:
    """The text without the secrets in it."""
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return text


def _printable(text: str) -> str:
    """The text with everything escaped that could begin a line or control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def _log_uncaught() -> None:
    """Lets exceptions that end the process or a thread, or that a finaliser raises, appear in the log."""
    if not isinstance(sys.excepthook, _UncaughtHook):
        sys.excepthook = _UncaughtHook(sys.excepthook, sys.__excepthook__, lambda *args: args)
    if not isinstance(threading.excepthook, _UncaughtHook):
        threading.excepthook = _UncaughtHook(
            threading.excepthook,
            threading.__excepthook__,
            lambda args: (args.exc_type, args.exc_value, args.exc_traceback),
        )
    if not isinstance(sys.unraisablehook, _UncaughtHook):
        sys.unraisablehook = _UncaughtHook(
            sys.unraisablehook,
            sys.__unraisablehook__,
            lambda args: (args.exc_type, args.exc_value, args.exc_traceback),
        )


_ExceptionParts = tuple[type[BaseException], BaseException | None, TracebackType | None]


class _UncaughtHook:
    """A hook of the interpreter that logs, and then calls the hook of before unless that only prints."""

    def __init__(
        self,
        before: Callable[..., Any],
        printing: Callable[..., Any],
        parts: Callable[..., _ExceptionParts],
    ) -> None:
        self._before = None if before is printing else before
        self._printing = printing
        self._parts = parts

    def __call__(self, *args: Any) -> None:
        kind, error, trace = self._parts(*args)
        if issubclass(kind, KeyboardInterrupt | SystemExit):
            (self._before or self._printing)(*args)
            return
        logging.getLogger(__name__).critical(
            "an exception that nothing has caught", exc_info=(kind, error or kind(), trace)
        )
        if self._before is not None:
            self._before(*args)


class _Repetitions(logging.Filter):
    """Lets one of several messages pass that differ only in numbers and in what is in parentheses."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = _NUMBERS.sub("", record.getMessage())
        now_s = time.monotonic()
        if record.levelno >= logging.ERROR or now_s - self._last_s.get(kind, -QUIET_S) >= QUIET_S:
            if len(self._last_s) >= MOST_KINDS:
                self._last_s.clear()
            self._last_s[kind] = now_s
            return True
        return False
