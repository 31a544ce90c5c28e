"""Settings of a master."""

from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.options import check_positive, check_range, option

__all__ = ["MasterOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterOptions:
    """Settings of a master."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in")
    port: int = option(8888, "port to listen on; 0 picks a free one")
    vosk_port: int | None = option(
        None, "port of its own for clients of vosk-server, which use 2700; 0 picks a free one"
    )
    vosk_sample_rate_hz: int = option(
        8000, "sample rate of audio whose Vosk client states none, on that port and on upgrades of /"
    )
    wyoming_port: int | None = option(
        None,
        "port for clients of the Wyoming protocol (Home Assistant), which use 10300; 0 picks a free one; "
        "the protocol has no TLS",
    )
    audiosocket_port: int | None = option(
        None, "port for calls of Asterisk (AudioSocket); 0 picks a free one; the protocol has no TLS"
    )
    audiosocket_model: str | None = option(
        None, "name of the model for calls on that port; the default model unless set"
    )
    references: Path = option(Path("references.jsonl"), "file to which users' corrections are appended")
    certfile: Path | None = option(
        None, "certificate (PEM); with it, HTTP and WebSockets are served with TLS only"
    )
    keyfile: Path | None = option(None, "private key (PEM) of the certificate")
    ping_interval_s: float = option(10.0, "seconds between pings to clients and workers")
    silence_timeout_s: float = option(
        30.0, "seconds without any sign of life after which a peer counts as lost"
    )
    wait_s: float = option(2.0, "seconds that a request waits for a free worker before it is refused")
    idle_s: float = option(60.0, "seconds that a request may hold a worker without sending any audio")
    store_bytes: int = option(
        256 * 1024**2,
        "audio that a client may be ahead of its recogniser before it is held back, per request",
    )
    write_timeout_s: float = option(20.0, "seconds that a client may take to read one result")
    upload_idle_s: float = option(60.0, "seconds that an HTTP upload may stand still")
    max_message_bytes: int = option(
        200 * 1024**2, "largest WebSocket message; while it arrives it is in memory, then on disk"
    )
    max_upload_bytes: int = option(8 * 1024**3, "largest HTTP upload; it is streamed, never kept")
    drain_s: float = option(10.0, "seconds that running requests may take to end at shutdown")

    def validate(self) -> None:
        """Raises ConfigError for a value that makes no sense."""
        for name in ("port", "vosk_port", "wyoming_port", "audiosocket_port"):
            if getattr(self, name) is not None:
                check_range(self, name, 0, 65535)
        check_range(self, "vosk_sample_rate_hz", 1000, 768_000)
        check_positive(
            self, "ping_interval_s", "silence_timeout_s", "write_timeout_s", "upload_idle_s", "idle_s"
        )
        check_positive(self, "max_message_bytes", "max_upload_bytes", "store_bytes")
        check_range(self, "wait_s", 0, 3600)
        check_range(self, "drain_s", 0, 86400)
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("certfile, keyfile: expected both or none, found one")
