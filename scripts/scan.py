"""A scan as an attacker would make it, of a server as it is by default and of one that is public.

Starts `serve` twice on this machine, as `serve MODEL` and as
`serve --host 0.0.0.0 --self-signed --tokens FILE MODEL`, tries what attackers try without a token, with a
wrong one, and with a client's where more is needed, and prints a line for each attempt with what came back
from either server. Ends with 1 if anything came back that should not have. Sends nothing to other machines.
Usage: scan.py [MODEL]
"""

import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import ifaddr

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 30.0
MAX_ANSWER_BYTES = 2**24
REFUSED = ("400", "401", "403", "404", "405", "closed")
REFUSALS = ("TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE")
"""The alerts with which a server refuses a version of TLS."""
CLIENT_TOKEN = secrets.token_urlsafe(24)
HEAD = b"\r\n\r\n"
"""How the head of an answer ends, which is all that is read of an answer to a handshake."""
UPGRADE = (
    *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@dataclass(frozen=True)
class Server:
    """A server that is scanned."""

    port: int
    is_public: bool

    def connect(self, least: ssl.TLSVersion | None = None) -> socket.socket:
        """Connects, with TLS where the server speaks it; `least` is the only version then."""
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        if not self.is_public:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its certificate is its own
        if least is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")  # it is the server that shall refuse
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = least
        return context.wrap_socket(plain)

    def ask(self, attempt: "Attempt") -> tuple[str, str]:
        """The code of an answer, "closed" or "no end", and the answer."""
        lines = [f"{attempt.method} {attempt.path} HTTP/1.1", f"Host: {attempt.host}", *attempt.headers]
        is_upgrade = UPGRADE[0] in attempt.headers
        if not attempt.body and not is_upgrade:
            lines.append("Connection: close")
        request = "\r\n".join((*lines, "", attempt.body)).encode("latin-1")
        with self.connect() as connection:
            return read_answer(connection, request, HEAD if is_upgrade else None)


def read_answer(connection: socket.socket, request: bytes, until: bytes | None = None) -> tuple[str, str]:
    """Sends a request and reads all that comes back, or until some bytes have."""
    answer = b""
    try:
        connection.sendall(request)
        while data := connection.recv(65536):
            answer += data
            if until is not None and until in answer:
                break
            if len(answer) > MAX_ANSWER_BYTES:
                return "no end", answer.decode("latin-1")
    except TimeoutError:
        return "no end", answer.decode("latin-1")
    except (ConnectionError, ssl.SSLEOFError):
        if not answer:
            return "closed", ""
    text = answer.decode("latin-1")
    return (text.split()[1] if text else "closed"), text


@dataclass(frozen=True)
class Attempt:
    """One line of the scan.

    Attributes:
        what: what is tried.
        path, headers, method, host, body: the request; one with a body does not ask for the connection's end.
        default, public: the codes that may come back from either server.
    """

    what: str
    path: str
    headers: tuple[str, ...] = ()
    method: str = "GET"
    host: str = "localhost"
    body: str = ""
    default: tuple[str, ...] = REFUSED
    public: tuple[str, ...] = REFUSED


AS_CLIENT = (f"Authorization: Bearer {CLIENT_TOKEN}",)
EVIL = "Origin: https://evil.example"
SMUGGLED = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""A body, and a request of which a proxy in front would know nothing, however long the body is held to be."""
ATTEMPTS = (
    Attempt("the page", "/", default=("200",), public=("200",)),
    Attempt("whether it is alive", "/healthz", default=("200",), public=("200",)),
    Attempt("recognition by WebSocket", "/client/ws/speech", UPGRADE, default=("101",), public=("401",)),
    Attempt(
        "the same, a wrong token",
        "/client/ws/speech?token=" + "x" * 32,
        UPGRADE,
        default=("101", "401"),
        public=("401",),
    ),
    Attempt(
        "the same, a client's token",
        "/client/ws/speech",
        (*UPGRADE, *AS_CLIENT),
        default=("101", "401"),
        public=("101",),
    ),
    Attempt(
        "recognition by upload",
        "/client/dynamic/recognize",
        ("Content-Length: 0",),
        "POST",
        default=("200",),
        public=("401",),
    ),
    Attempt("models", "/v1/models", default=("200",), public=("401",)),
    Attempt("status", "/client/ws/status", UPGRADE, default=("101",), public=("401",)),
    Attempt("metrics", "/metrics", default=("200",), public=("401",)),
    Attempt("metrics, a client's token", "/metrics", AS_CLIENT, default=("200", "401"), public=("403",)),
    Attempt("states of users", "/states", default=("404",), public=("401",)),
    Attempt(
        "the same, as if from this machine",
        "/states",
        ("X-Forwarded-For: 127.0.0.1",),
        default=("403",),
        public=("401",),
    ),
    Attempt("becoming a worker", "/worker/ws/speech", UPGRADE, public=("401",)),
    Attempt("the same, a client's token", "/worker/ws/speech", (*UPGRADE, *AS_CLIENT), public=("403",)),
    Attempt("a page of another site", "/client/ws/speech", (*UPGRADE, EVIL), public=("401", "403")),
    Attempt(
        "the same, with a client's token", "/client/ws/speech", (*UPGRADE, EVIL, *AS_CLIENT), public=("403",)
    ),
    Attempt(
        "a site that calls this machine its own (DNS rebinding)",
        "/client/ws/speech",
        (*UPGRADE, "Origin: http://evil.example"),
        host="evil.example",
        public=("401", "403"),
    ),
    Attempt("files outside the page", "/client/static/../../../../../../etc/passwd"),
    Attempt("the same, encoded", "/client/static/%2e%2e%2f%2e%2e%2fpyproject.toml"),
    Attempt("a NUL in a name", "/client/static/index.html%00.png"),
    Attempt("a header by way of the address", "/no%0d%0aSet-Cookie:%20a=b"),
    Attempt(
        "two lengths of a body",
        "/client/dynamic/recognize",
        ("Content-Length: 1", "Content-Length: 2", *AS_CLIENT),
        "POST",
        body=SMUGGLED,
    ),
    Attempt(
        "a length and chunks",
        "/client/dynamic/recognize",
        ("Content-Length: 1", "Transfer-Encoding: chunked", *AS_CLIENT),
        "POST",
        body=SMUGGLED,
    ),
    Attempt("TRACE", "/", method="TRACE"),
    Attempt("a header of a megabyte", "/", ("X: " + "x" * 2**20,)),
)


def judge(answer: str, code: str, allowed: tuple[str, ...]) -> list[str]:
    """What is wrong with an answer."""
    wrong = [] if code in allowed else [f"expected {' or '.join(allowed)}"]
    wrong += [
        f"it has {text!r}"
        for text in ("Traceback", "root:x", "Set-Cookie", "Tornado", str(ROOT))
        if text in answer
    ]
    if len(re.findall(r"^HTTP/1\.1 ", answer, re.MULTILINE)) > 1:
        wrong.append("a smuggled request is answered")
    return wrong


def scan_tls(server: Server) -> Iterator[tuple[str, str, bool]]:
    """What is tried at a public server only: an attempt, what came back, and whether that is right."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        code, _ = read_answer(connection, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield "HTTP without TLS", code, code in ("closed", "400")
    for version in (
        ssl.TLSVersion.TLSv1,
        ssl.TLSVersion.TLSv1_1,
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    ):
        try:
            with server.connect(version) as connection:
                found = str(connection.version())  # type: ignore[attr-defined]
        except (ConnectionError, ssl.SSLEOFError):
            found = "closed"
        except ssl.SSLError as error:  # the server's alert, or what the client itself cannot do
            found = "refused" if error.reason in REFUSALS else f"not tried: {error.reason}"
        is_old = version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
        name = version.name.removeprefix("TLSv").replace("_", ".")
        yield (
            f"TLS {name} only",
            found,
            found in (("refused", "closed") if is_old else (version.name.replace("_", "."),)),
        )


def reaches_from_outside(port: int) -> str:
    """Whether any other address of this machine, as other machines see it, answers."""
    addresses = [ip_address(each) for each in own_addresses()]
    others = [str(each) for each in addresses if not each.is_loopback]
    for address in others:
        with suppress(OSError):
            socket.create_connection((address, port), PATIENCE_S).close()
            return "accepted"
    return "refused" if others else "no other address"


def own_addresses() -> Iterator[str]:
    """This machine's addresses."""
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            if isinstance(each.ip, str):
                yield each.ip
            else:
                address, _, scope = each.ip
                yield f"{address}%{scope}" if scope else address


@contextmanager
def running(folder: Path, model: str, *options: str) -> Iterator[int]:
    """Runs `serve`; yields its port."""
    command = [sys.executable, "-m", "pykaldi_server", "serve", "--port", "0", *options, model]
    command += ["--references", str(folder / "references.jsonl")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    try:
        assert process.stdout is not None
        address = next((line.split()[2] for line in process.stdout if line.startswith("Serving on ")), "")
        if not address:
            raise SystemExit(f"the server did not start:\n{(folder / 'log').read_text()}")
        yield urlsplit(address).port or 0
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> int:
    model = sys.argv[1] if len(sys.argv) > 1 else "models/english:graph-digits"
    failures = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tokens = folder / "tokens.yaml"
        tokens.write_text(f"clients:\n  scan: {CLIENT_TOKEN}\n")
        tokens.chmod(0o600)
        public = ("--host", "0.0.0.0", "--self-signed", "--tokens", str(tokens))
        servers = (
            Server(stack.enter_context(running(folder, model)), is_public=False),
            Server(stack.enter_context(running(folder, model, *public)), is_public=True),
        )
        print("| tried | by default | public |\n| --- | --- | --- |")
        reached = [reaches_from_outside(server.port) for server in servers]
        failures += (reached[0] == "accepted") + (reached[1] == "refused")
        print(f"| from another address of the machine | {' | '.join(reached)} |")
        for attempt in ATTEMPTS:
            cells = []
            for server, allowed in zip(servers, (attempt.default, attempt.public), strict=True):
                code, answer = server.ask(attempt)
                wrong = judge(answer, code, allowed)
                failures += len(wrong)
                cells.append(", ".join((code, *wrong)))
            print(f"| {attempt.what} | {' | '.join(cells)} |", flush=True)
        for what, found, is_right in scan_tls(servers[1]):
            failures += not is_right
            print(f"| {what} | | {found} |")
        log = (folder / "log").read_text()
        for text in ("Traceback", CLIENT_TOKEN):
            if text in log:
                failures += 1
                print(f"FAILED: the servers' log has {text!r}")
    print(f"\n{failures} answers that should not be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
