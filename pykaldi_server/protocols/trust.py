"""Which servers a client or a worker trusts, where it connects with TLS."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pykaldi_server.errors import ConfigError

__all__ = ["CAFILE_HELP", "INSECURE_HELP", "TlsArguments", "Trust"]

CAFILE_HELP = (
    "certificates (PEM) of the authorities to trust at a wss:// address, or of a server that has signed its "
    "own; without it those of the system"
)
INSECURE_HELP = "trust whatever server answers at a wss:// address; for tests only"


class TlsArguments(TypedDict):
    """Arguments of `tornado.httpclient.HTTPRequest`."""

    ca_certs: str | None
    validate_cert: bool


@dataclass(frozen=True, slots=True)
class Trust:
    """Which servers are trusted.

    Attributes:
        cafile: certificates in PEM form; None for those of the system.
        insecure: trust any server.

    Raises:
        ConfigError: the certificates cannot be read, or would have no effect.
    """

    cafile: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.cafile is None:
            return
        if self.insecure:
            raise ConfigError("cafile, insecure: expected one of them, found both")
        try:
            ssl.create_default_context(cafile=str(self.cafile))
        except OSError as error:
            reason = error.strerror or error
            text = f"cafile {self.cafile}: expected certificates in PEM form, found {reason}"
            raise ConfigError(text) from None

    def tls_arguments(self) -> TlsArguments:
        """How to open a connection with TLS."""
        return TlsArguments(
            ca_certs=None if self.cafile is None else str(self.cafile), validate_cert=not self.insecure
        )
