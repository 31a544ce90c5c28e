"""What can be set about a master and a worker. The help texts feed the command line."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from pykaldi_server.errors import ConfigError


def option(default: Any, help: str) -> Any:
    """A dataclass field with a help text; with `MISSING` as default the field is required."""
    return field(default=default, metadata={"help": help})


def help_of(options: type, name: str) -> str:
    """The help text of one field."""
    return next(str(each.metadata["help"]) for each in fields(options) if each.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterOptions:
    """Settings of a master."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in")
    port: int = option(8888, "port to listen on; 0 picks a free one")
    references: Path = option(Path("references.jsonl"), "file to which users' corrections are appended")
    certfile: Path | None = option(None, "certificate (PEM); with it, the master speaks TLS only")
    keyfile: Path | None = option(None, "private key (PEM) of the certificate")
    ping_interval_s: float = option(10.0, "seconds between pings to clients and workers")
    silence_timeout_s: float = option(
        30.0, "seconds without any sign of life after which a peer counts as lost"
    )
    write_timeout_s: float = option(20.0, "seconds that a client may take to read one result")
    upload_idle_s: float = option(60.0, "seconds that an HTTP upload may stand still")
    max_message_bytes: int = option(10 * 1024**2, "largest WebSocket message")
    max_upload_bytes: int = option(8 * 1024**3, "largest HTTP upload; it is streamed, never kept")

    def validate(self) -> None:
        """Raises ConfigError for a value that makes no sense."""
        _check_range(self, "port", 0, 65535)
        for name in ("ping_interval_s", "silence_timeout_s", "write_timeout_s", "upload_idle_s"):
            _check_positive(self, name)
        for name in ("max_message_bytes", "max_upload_bytes"):
            _check_positive(self, name)
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("certfile, keyfile: expected both or none, found one")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Settings of a worker process."""

    url: str = option(MISSING, "the master's address for workers, ws://HOST:PORT/worker/ws/speech")
    sessions: int = option(4, "requests that one process serves at once")
    language: str = option("", "language that the worker announces")
    connect_timeout_s: float = option(10.0, "seconds to wait for the master to accept a connection")
    reconnect_max_s: float = option(5.0, "longest pause between attempts to reach a master that is away")
    ping_interval_s: float = option(
        30.0, "seconds between pings to the master, and how long its answer may take"
    )
    drain_s: float = option(30.0, "seconds that running requests may take to end after SIGTERM")

    def validate(self) -> None:
        """Raises ConfigError for a value that makes no sense."""
        if not self.url.startswith(("ws://", "wss://")):
            raise ConfigError(f"url: expected ws://... or wss://..., found {self.url!r}")
        for name in ("sessions", "connect_timeout_s", "reconnect_max_s", "ping_interval_s"):
            _check_positive(self, name)
        if self.drain_s < 0:
            raise ConfigError(f"drain_s: expected 0 or more, found {self.drain_s}")


def _check_positive(options: object, name: str) -> None:
    value = getattr(options, name)
    if not value > 0:
        raise ConfigError(f"{name}: expected more than 0, found {value}")


def _check_range(options: object, name: str, low: int, high: int) -> None:
    value = getattr(options, name)
    if not low <= value <= high:
        raise ConfigError(f"{name}: expected {low} to {high}, found {value}")
