"""Settings of a worker process."""

from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.options import (
    MODEL_OPTIONS_HELP,
    Settings,
    check_positive,
    check_range,
    option,
    parse_assignments,
)
from pykaldi_server.protocols.addresses import WORKER_PATH, check_websocket_url
from pykaldi_server.protocols.credentials import TOKEN_FILE_HELP, TOKEN_HELP, find_token
from pykaldi_server.protocols.trust import CAFILE_HELP, INSECURE_HELP, Trust

__all__ = ["STATUS", "PostProcessorOptions", "WorkerOptions"]

STATUS = Path("/proc/self/status")
"""Where Linux says how much memory this process has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessorOptions(Settings):
    """Which programs change the text of results."""

    post_processor: str = option(
        "", "shell command that changes transcripts: it reads one line and prints one line per transcript"
    )
    full_post_processor: str = option(
        "",
        "shell command that changes final results: it reads JSON and an empty line, and prints the same for "
        "each",
    )
    post_processor_timeout_s: float = option(
        5.0, "seconds a final result waits for a post-processor before it is sent unchanged"
    )

    def validate(self) -> None:
        check_positive(self, "post_processor_timeout_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions(PostProcessorOptions):
    """Settings of a worker process."""

    url: tuple[str, ...] = option(
        (f"ws://localhost:8888{WORKER_PATH}",),
        "address at which the master accepts workers; repeat it for several masters, each of which gets its "
        "share of the slots, and the others' while they are away",
    )
    sessions: int = option(4, "requests that one process serves at the same time")
    name: str = option(
        "", "name by which clients request the model; the name of its directory or file if not set"
    )
    language: str = option(
        "",
        "language of the model, such as en, by which clients may request it; if not set, what the model says",
    )
    cafile: Path | None = option(None, CAFILE_HELP, path=True)
    insecure: bool = option(False, INSECURE_HELP)
    token: str = option("", TOKEN_HELP)
    token_file: Path | None = option(None, TOKEN_FILE_HELP)
    connect_timeout_s: float = option(10.0, "seconds to wait for the master to accept a connection")
    reconnect_max_s: float = option(
        5.0, "longest pause, in seconds, between attempts to reach a master that does not answer"
    )
    ping_interval_s: float = option(
        4.0,
        "seconds between pings to the master, which is lost when it has been silent for three times as long",
    )
    silence_timeout_s: float | None = option(
        None, "seconds without anything new recognised after which a request ends with status 1"
    )
    out_dir: Path | None = option(
        None,
        "directory in which the audio of each request is saved, as ID.raw (S16LE at the model's rate)",
        path=True,
    )
    health_port: int | None = option(
        None,
        "port on which the worker serves /healthz, /readyz and /metrics (for Prometheus); 0 picks a free "
        "port; not served if not set",
    )
    health_host: str = option(
        "127.0.0.1", "address to listen on with health-port; 0.0.0.0 accepts other machines"
    )
    drain_s: float = option(30.0, "seconds that running requests are given to finish after SIGTERM")
    recycle_requests: int | None = option(
        None,
        "requests after which a fresh process takes the place of this one, without a gap where a supervisor "
        "runs it; alone, it ends with exit code 75, to be started again; never if not set",
    )
    recycle_memory_mib: float | None = option(
        None, "MiB of memory, mapped files aside, at which the same happens; never if not set"
    )
    compile_graphs: bool = option(
        True,
        "compile graphs that come in two parts, in the background and into the user's cache; recognition is "
        "faster afterwards",
    )
    model_options: tuple[str, ...] = option((), MODEL_OPTIONS_HELP)

    def validate(self) -> None:
        PostProcessorOptions.validate(self)
        if not self.url:
            raise ConfigError("url: expected the address of at least one master, found none")
        for url in self.url:
            check_websocket_url(url, WORKER_PATH)
        Trust(self.cafile, self.insecure)
        find_token(self.token, self.token_file)
        parse_assignments(self.model_options)
        for name in ("sessions", "connect_timeout_s", "reconnect_max_s", "ping_interval_s"):
            check_positive(self, name)
        for name in ("silence_timeout_s", "recycle_requests", "recycle_memory_mib"):
            if getattr(self, name) is not None:
                check_positive(self, name)
        if self.recycle_memory_mib is not None and not STATUS.exists():
            raise ConfigError(
                f"recycle_memory_mib: expected {STATUS}, which reports the memory of a process; this system "
                "has no such file"
            )
        if self.health_port is not None:
            check_range(self, "health_port", 0, 65535)
        if self.drain_s < 0:
            raise ConfigError(f"drain_s: expected 0 or more, found {self.drain_s}")
