"""Settings of a worker process."""

from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.options import MODEL_OPTIONS_HELP, check_positive, option, parse_assignments
from pykaldi_server.protocols.addresses import WORKER_PATH, check_websocket_url

__all__ = ["PostProcessorOptions", "WorkerOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessorOptions:
    """Which programs change the text of results."""

    post_processor: str = option("", "shell command that changes transcripts: one line in, one line out")
    full_post_processor: str = option(
        "", "shell command that changes final results: JSON and an empty line in, the same out"
    )
    post_processor_timeout_s: float = option(
        5.0, "seconds that a final result waits for a post-processor before it is sent as it is"
    )

    def validate(self) -> None:
        """Raises `ConfigError` for an invalid value."""
        check_positive(self, "post_processor_timeout_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions(PostProcessorOptions):
    """Settings of a worker process."""

    url: str = option(f"ws://localhost:8888{WORKER_PATH}", "the master's address for workers")
    sessions: int = option(4, "requests that one process serves at once")
    name: str = option(
        "", "name by which clients ask for the model; without it that of its directory or file"
    )
    language: str = option("", "language that the worker announces")
    connect_timeout_s: float = option(10.0, "seconds to wait for the master to accept a connection")
    reconnect_max_s: float = option(5.0, "longest pause between attempts to reach a master that is away")
    ping_interval_s: float = option(
        30.0, "seconds between pings to the master, and how long its answer may take"
    )
    silence_timeout_s: float | None = option(
        None, "end a request with status 1 when nothing new is recognised for this number of seconds"
    )
    out_dir: Path | None = option(
        None,
        "directory in which the audio of each request is kept: ID.raw, S16LE at the model's rate",
        path=True,
    )
    drain_s: float = option(30.0, "seconds that running requests may take to end after SIGTERM")
    compile_graphs: bool = option(
        True, "compile graphs that come in two parts into the user's cache, in the background"
    )
    model_options: tuple[str, ...] = option((), MODEL_OPTIONS_HELP)

    def validate(self) -> None:
        PostProcessorOptions.validate(self)
        check_websocket_url(self.url, WORKER_PATH)
        parse_assignments(self.model_options)
        for name in ("sessions", "connect_timeout_s", "reconnect_max_s", "ping_interval_s"):
            check_positive(self, name)
        if self.silence_timeout_s is not None:
            check_positive(self, "silence_timeout_s")
        if self.drain_s < 0:
            raise ConfigError(f"drain_s: expected 0 or more, found {self.drain_s}")
