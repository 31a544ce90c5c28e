"""What can be set about master, worker and server. The help texts feed the command line."""

from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from pykaldi_server.errors import ConfigError


def option(default: Any, help: str) -> Any:
    """A dataclass field with a help text."""
    return field(default=default, metadata={"help": help})


def field_of(options: type, name: str) -> "Field[Any]":
    """One field of an options class, with its default and its help text (`metadata["help"]`)."""
    return next(each for each in fields(options) if each.name == name)


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
    drain_s: float = option(10.0, "seconds that running requests may take to end at shutdown")

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

    url: str = option("ws://localhost:8888/worker/ws/speech", "the master's address for workers")
    sessions: int = option(4, "requests that one process serves at once")
    language: str = option("", "language that the worker announces")
    connect_timeout_s: float = option(10.0, "seconds to wait for the master to accept a connection")
    reconnect_max_s: float = option(5.0, "longest pause between attempts to reach a master that is away")
    ping_interval_s: float = option(
        30.0, "seconds between pings to the master, and how long its answer may take"
    )
    silence_timeout_s: float | None = option(
        None, "end a request with status 1 when nothing new is recognised for so many seconds"
    )
    drain_s: float = option(30.0, "seconds that running requests may take to end after SIGTERM")
    compile_graphs: bool = option(
        True, "compile graphs that come in two parts into the user's cache, in the background"
    )

    def validate(self) -> None:
        """Raises ConfigError for a value that makes no sense."""
        if not self.url.startswith(("ws://", "wss://")):
            raise ConfigError(f"url: expected ws://... or wss://..., found {self.url!r}")
        for name in ("sessions", "connect_timeout_s", "reconnect_max_s", "ping_interval_s"):
            _check_positive(self, name)
        if self.silence_timeout_s is not None:
            _check_positive(self, "silence_timeout_s")
        if self.drain_s < 0:
            raise ConfigError(f"drain_s: expected 0 or more, found {self.drain_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Settings of a server on one machine."""

    models: tuple[str, ...] = option((), "model directories or configuration files; the first is the default")
    workers: int = option(1, "worker processes for each model")
    sessions: int = option(4, "requests that each worker process serves at once")
    worker_arguments: tuple[str, ...] = option((), "further arguments of the worker command")
    master: MasterOptions = field(default_factory=MasterOptions)

    def validate(self) -> None:
        """Raises ConfigError for a value that makes no sense."""
        self.master.validate()
        if not self.models:
            raise ConfigError("models: expected at least one, found none")
        if len(set(self.models)) < len(self.models):
            raise ConfigError("models: expected each once; use workers for more processes")
        for name in ("workers", "sessions"):
            _check_positive(self, name)
        if self.master.certfile is not None:
            raise ConfigError("certfile: expected none: the workers of serve connect without TLS")


def _check_positive(options: object, name: str) -> None:
    value = getattr(options, name)
    if not value > 0:
        raise ConfigError(f"{name}: expected more than 0, found {value}")


def _check_range(options: object, name: str, low: int, high: int) -> None:
    value = getattr(options, name)
    if not low <= value <= high:
        raise ConfigError(f"{name}: expected {low} to {high}, found {value}")
