"""The master's certificate: from files, which are read again when they change, or made on the spot.

A certificate that the server makes for itself names all names and addresses of the machine, so that a browser
on another one, such as a telephone, has to be told once that it may be trusted, and then gives pages the
microphone. It is kept, and made anew when the machine's addresses change and before it expires.
"""

import datetime
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from platformdirs import user_data_path

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.files import FilesState, files_state
from pykaldi_server.whole_files import written_whole

__all__ = ["CERTIFICATE", "Certificate", "own_directory", "own_names", "self_signed_certificate"]

logger = logging.getLogger(__name__)

CERTIFICATE = "certificate.pem"
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, those that encrypt and authenticate in one; TLS 1.3 has no others."""
VALID_DAYS = 397
"""Browsers refuse certificates that are valid for much longer."""
RENEWED_DAYS_BEFORE = 30
WARNED_DAYS_BEFORE = 7
LONGEST_COMMON_NAME = 64

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Certificate:
    """A certificate and its private key, in files; new connections get what the files have at the time.

    Args:
        certfile, keyfile: both in PEM form; the certificate is followed by those of its issuers, if any.
        renew: called some time before the certificate expires, again and again; it may make a new one.
        now: the current time.

    Attributes:
        context: what a server needs.

    Raises:
        ConfigError: they cannot be used; the text names the files.
    """

    def __init__(
        self,
        certfile: Path,
        keyfile: Path,
        renew: Callable[[], object] = lambda: None,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._renew = renew
        self._now = now
        self._expires: datetime.datetime | None = None
        self._checked: datetime.datetime | None = None
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_ciphers(CIPHERS)
        self._state: FilesState = []
        self.use(certfile, keyfile)

    def reload(self) -> None:
        """Reads the files again if they have changed. If they cannot be used, the old certificate stays.

        Once a day it is looked whether the certificate expires soon.
        """
        if self._checked is None or abs(self._now() - self._checked) >= datetime.timedelta(days=1):
            self._check_expiry()
        state = files_state(self._certfile, self._keyfile)
        if state == self._state:
            return
        self._state = state
        try:
            self.use(self._certfile, self._keyfile)
        except ConfigError as error:
            logger.error("the certificate stays as it was: %s", error)
        else:
            logger.info("certfile %s, keyfile %s: read again", self._certfile, self._keyfile)

    def use(self, certfile: Path, keyfile: Path) -> None:
        """Reads the certificate and key, from the same files or from others.

        Raises:
            ConfigError: they cannot be used; the certificate stays as it was.
        """
        state = files_state(certfile, keyfile)
        # Half a pair must not be taken.
        _load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), certfile, keyfile)
        _load(self.context, certfile, keyfile)
        self._certfile, self._keyfile, self._state = certfile, keyfile, state
        self._expires = _expiry(certfile)
        self._warn_of_expiry()

    def _check_expiry(self) -> None:
        self._checked = self._now()
        if self._expires is not None and (self._expires - self._checked).days < RENEWED_DAYS_BEFORE:
            try:
                self._renew()
            except ConfigError as error:
                logger.error("the certificate is not renewed: %s", error)
        if files_state(self._certfile, self._keyfile) == self._state:
            self._warn_of_expiry()

    def _warn_of_expiry(self) -> None:
        if self._expires is None:
            return
        left = self._expires - self._now()
        if left <= datetime.timedelta():
            logger.error("certfile %s: has expired on %s: nobody accepts it", self._certfile, self._expires)
        elif left.days < WARNED_DAYS_BEFORE:
            logger.warning("certfile %s: expires on %s", self._certfile, self._expires)


def _expiry(certfile: Path) -> datetime.datetime | None:
    """When the first certificate in a file expires; None if only OpenSSL can read it."""
    try:
        return x509.load_pem_x509_certificates(certfile.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError):
        return None


def _load(context: ssl.SSLContext, certfile: Path, keyfile: Path) -> None:
    try:
        context.load_cert_chain(certfile, keyfile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"certfile {certfile}, keyfile {keyfile}: expected both in PEM form, "
            f"found {error.strerror or error}"
        ) from error


def own_directory() -> Path:
    """Where certificates are kept that the server makes for itself."""
    return user_data_path("pykaldi-server") / "tls"


def own_names() -> list[str | Address]:
    """The names and addresses by which others may reach this machine."""
    names: dict[str | Address, None] = dict.fromkeys(("localhost", socket.gethostname(), socket.getfqdn()))
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            text = each.ip if isinstance(each.ip, str) else each.ip[0]
            names[ipaddress.ip_address(text.partition("%")[0])] = None
    return [name for name in names if name]


def self_signed_certificate(directory: Path, names: list[str | Address]) -> tuple[Path, Path]:
    """Makes a certificate, or finds the one made before, if it still has these names and some time left.

    Args:
        directory: where certificate and key are kept; nobody but the user may read the key.
        names: what the certificate is for.

    Returns:
        The files of the certificate and of its private key, in PEM form.

    Raises:
        ConfigError: they cannot be written; the text names the file.
    """
    certfile, keyfile = directory / CERTIFICATE, directory / "key.pem"
    try:
        if not (keyfile.is_file() and _is_usable(certfile, names)):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(certfile, keyfile, names)
            logger.info("%s: made for %s", certfile, ", ".join(map(str, names)))
    except OSError as error:
        raise ConfigError(f"self-signed: {error.filename or directory}: {error.strerror}") from error
    return certfile, keyfile


def _is_usable(certfile: Path, names: list[str | Address]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certfile.read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left.days >= RENEWED_DAYS_BEFORE and set(map(_general_name, names)) <= set(found)


def _general_name(name: str | Address) -> x509.GeneralName:
    return x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name)


def _make(certfile: Path, keyfile: Path, names: list[str | Address]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()[:LONGEST_COMMON_NAME] or "pykaldi-server"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of others may be slow
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(keyfile, pem)
    _write(certfile, certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, data: bytes) -> None:
    """Replaces a file by one that nobody else may read."""
    with written_whole(path) as new, open(os.open(new, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(data)
