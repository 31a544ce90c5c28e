"""Settings of a master."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pykaldi_server.database.addresses import relative_to_folder
from pykaldi_server.errors import ConfigError
from pykaldi_server.options import Settings, check_positive, check_range, option

__all__ = ["MasterOptions", "StatesFor"]


PRIVATE_PARTS = ("metrics", "status", "corrections", "calls")
_PREFIX = re.compile(r"(/[\w.~-]+)+/?")


class StatesFor(StrEnum):
    """Whose adaptation is kept."""

    ASKED = "asked"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterOptions(Settings):
    """Settings of a master."""

    host: str = option(
        "127.0.0.1", "address to listen on; 0.0.0.0 accepts clients from other machines", fixed=True
    )
    port: int = option(8888, "port to listen on; 0 picks a free port", fixed=True)
    default_model: str | None = option(
        None,
        "model for clients that name none; if not set, the first model of serve, or that of any free worker "
        "of a master alone",
        fixed=True,
    )
    vosk_port: int | None = option(
        None, "additional port for clients of vosk-server, which expect 2700; 0 picks a free port", fixed=True
    )
    vosk_sample_rate_hz: int = option(
        8000, "sample rate of the audio of Vosk clients that do not state one, on any port"
    )
    wyoming_port: int | None = option(
        None,
        "additional port for clients of the Wyoming protocol, such as Home Assistant, which expect 10300; "
        "0 picks a free port; the protocol has no TLS and no tokens",
        fixed=True,
    )
    wyoming_host: str | None = option(
        None,
        "address to listen on for the Wyoming protocol; anybody who reaches it may use it",
        fixed=True,
    )
    audiosocket_port: int | None = option(
        None,
        "additional port for calls from Asterisk (AudioSocket); 0 picks a free port; the protocol has no TLS "
        "and no tokens",
        fixed=True,
    )
    audiosocket_host: str | None = option(
        None,
        "address to listen on for calls from Asterisk; anybody who reaches it may use it",
        fixed=True,
    )
    audiosocket_model: str | None = option(
        None, "model for calls from Asterisk; the default model if not set"
    )
    references: Path = option(
        Path("references.jsonl"), "file to which the corrections that users send are appended"
    )
    states: str | None = option(
        None,
        "database that keeps the adaptation to users for their next sessions: an SQLite file, "
        "postgresql://USER@HOST/NAME, or default, a file in the user's data folder",
        resolve=relative_to_folder,
        fixed=True,
    )
    states_for: str = option(
        "asked",
        "whose adaptation is kept: asked, requests with a user-id and adaptation=keep; all, every request "
        "with a user-id, unless it says adaptation=none",
    )
    states_days: float = option(
        90.0, "days after a user's last session after which its state is deleted; inf keeps it for ever"
    )
    states_timeout_s: float = option(
        1.0, "seconds that a request waits for its state; it then starts as for an unknown speaker"
    )
    states_remote: bool = option(
        False,
        "let other machines list, fetch and delete states over HTTP; only this machine may do so otherwise",
    )
    request_log: str | None = option(
        None,
        "database in which each request is written down when it has ended, named as for states; it may be "
        "the same one",
        resolve=relative_to_folder,
        fixed=True,
    )
    request_log_days: float = option(
        30.0, "days after which a request is deleted from the request log; inf keeps it for ever"
    )
    request_log_users: bool = option(
        False, "also write down the address and the user-id of each request, which tell who has spoken"
    )
    request_log_text: bool = option(False, "also write down what was recognised")
    tokens: Path | None = option(
        None,
        "YAML file of the tokens of clients, workers and administrators, who are refused without; read again "
        "on SIGHUP and when it changes",
        path=True,
    )
    open: bool = option(
        False,
        "let clients without a token use the server, even from other machines; a wrong one is still refused",
    )
    private: tuple[str, ...] = option(
        (),
        "what is kept to administrators (with --tokens) or programs of this machine (without): metrics, "
        "status, corrections or calls; may be given several times",
    )
    allow_origins: tuple[str, ...] = option(
        (),
        "origin of pages that may use the server besides its own, such as https://example.org; * allows all; "
        "may be given several times",
    )
    proxies: tuple[str, ...] = option(
        (),
        "address or network of a reverse proxy whose X-Forwarded-For, -Proto and -Host are believed, such as "
        "127.0.0.1; may be given several times",
    )
    path_prefix: str = option(
        "", "what paths begin with that a reverse proxy passes on unchanged, such as /speech"
    )
    certfile: Path | None = option(
        None, "TLS certificate (PEM); if set, HTTP and WebSocket connections must use TLS"
    )
    keyfile: Path | None = option(None, "private key (PEM) of the TLS certificate")
    self_signed: bool = option(
        False,
        "serve with TLS and a certificate created for the names and addresses of this machine, kept "
        "in the user data directory; browsers ask once whether to trust it",
    )
    ping_interval_s: float = option(4.0, "seconds between pings to clients and workers")
    silence_timeout_s: float = option(
        12.0, "seconds without any reply after which a client or worker is disconnected"
    )
    queue_s: float = option(
        10.0, "seconds a request waits in line for a free worker before it is refused; 0 refuses at once"
    )
    queue_length: int = option(
        100, "requests that may wait for the same model; further ones are refused at once"
    )
    sessions_per_token: int | None = option(
        None, "requests at the same time with the same token; no limit if not set"
    )
    sessions_per_address: int | None = option(
        None,
        "requests at the same time from the same address, of IPv6 from the same /64 network; no limit if not "
        "set; calls from Asterisk and tokens with a limit of their own do not count",
    )
    connections: int | None = option(
        None,
        "connections at the same time, of clients with and without a request; as many as the operating "
        "system has files for if not set",
    )
    connections_per_address: int | None = option(
        None,
        "connections at the same time from the same address, of IPv6 from the same /64 network; no limit if "
        "not set, or behind a reverse proxy, which has to limit them itself",
    )
    session_s: float | None = option(
        None,
        "seconds for which a request is served at most; it then ends with what has been recognised; no limit "
        "if not set",
    )
    idle_s: float = option(60.0, "seconds a request may occupy a worker without sending any audio")
    pause_s: float = option(
        300.0,
        "seconds without any message after which a request that has sent audio gives up its worker to one "
        "that is waiting",
    )
    worker_timeout_s: float = option(
        300.0,
        "seconds a worker that has audio to recognise may send nothing before it is given up as hung; for "
        "machines with very many sessions, more",
    )
    messages_per_s: float = option(
        1000.0,
        "messages per second that are read from a connection, after a burst of ten times as many; one that "
        "sends more has to wait",
    )
    store_bytes: int = option(
        256 * 1024**2,
        "bytes of audio stored per request while its worker catches up; a client further ahead has to wait",
    )
    store_total_bytes: int = option(
        2 * 1024**3,
        "bytes of audio stored for all requests; when there is more, clients with more than their share of "
        "it have to wait",
    )
    write_timeout_s: float = option(
        20.0, "seconds a client may take to read a result before it is disconnected"
    )
    upload_idle_s: float = option(60.0, "seconds an HTTP upload may pause before it is ended")
    max_message_bytes: int = option(
        200 * 1024**2, "largest WebSocket message in bytes; messages are held in memory while they arrive"
    )
    max_upload_bytes: int = option(
        8 * 1024**3, "largest HTTP upload in bytes; uploads are streamed and take no memory of this size"
    )
    drain_s: float = option(10.0, "seconds that running requests are given to finish at shutdown")

    @property
    def uses_tls(self) -> bool:
        """Whether HTTP and WebSockets are served with TLS."""
        return self.self_signed or self.certfile is not None

    def validate(self) -> None:
        for part in self.private:
            if part not in PRIVATE_PARTS:
                raise ConfigError(f"private: expected one of {', '.join(PRIVATE_PARTS)}, found {part!r}")
        if self.path_prefix and not _PREFIX.fullmatch(self.path_prefix):
            raise ConfigError(f"path-prefix: expected a path such as /speech, found {self.path_prefix!r}")
        for name in ("port", "vosk_port", "wyoming_port", "audiosocket_port"):
            if getattr(self, name) is not None:
                check_range(self, name, 0, 65535)
        check_range(self, "vosk_sample_rate_hz", 1000, 768_000)
        check_positive(
            self, "ping_interval_s", "silence_timeout_s", "write_timeout_s", "upload_idle_s", "idle_s"
        )
        check_positive(self, "max_message_bytes", "max_upload_bytes", "store_bytes", "store_total_bytes")
        check_positive(self, "pause_s", "worker_timeout_s")
        check_range(self, "messages_per_s", 1, 1e9)
        for name in (
            "sessions_per_token",
            "sessions_per_address",
            "session_s",
            "connections",
            "connections_per_address",
        ):
            if getattr(self, name) is not None:
                check_positive(self, name)
        if self.states_for not in list(StatesFor):
            raise ConfigError(f"states_for: expected {' or '.join(StatesFor)}, found {self.states_for!r}")
        check_positive(self, "states_days", "states_timeout_s", "request_log_days")
        check_range(self, "queue_s", 0, 3600)
        check_range(self, "queue_length", 0, 1_000_000)
        check_range(self, "drain_s", 0, 86400)
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError(
                f"certfile, keyfile: expected both or neither, found {self.certfile} and {self.keyfile}"
            )
        if self.self_signed and self.certfile is not None:
            raise ConfigError("self-signed, certfile: expected one of them, found both")
