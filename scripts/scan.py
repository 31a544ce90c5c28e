"""A scan as an attacker would make it, of a server as it is by default and of one that is public.

Starts `serve` twice on this machine, as `serve MODEL` and as
`serve --host 0.0.0.0 --self-signed --tokens FILE MODEL`, tries what attackers try without a token, with a
wrong one, and with a client's where more is needed, and prints a line for each attempt with what came back
from either server. Ends with 1 if anything came back that should not have. Sends nothing to other machines.
Usage: scan.py [MODEL]
"""

import os
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import ifaddr

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 30.0
REFUSED = ("400", "401", "403", "404", "405", "closed")
CLIENT_TOKEN = secrets.token_urlsafe(24)
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

    def ask(self, path: str, *headers: str, method: str = "GET", host: str = "localhost") -> tuple[str, str]:
        """The code of an answer, or "closed", and the answer."""
        lines = (f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")
        with self.connect() as connection:
            return read_answer(connection, "\r\n".join(lines).encode("latin-1"))


def read_answer(connection: socket.socket, request: bytes) -> tuple[str, str]:
    """Sends a request and reads the head of the answer."""
    answer = b""
    try:
        connection.sendall(request)
        while b"\r\n\r\n" not in answer and (data := connection.recv(65536)):
            answer += data
    except ConnectionError:
        return "closed", ""
    text = answer.decode("latin-1")
    return (text.split()[1] if text else "closed"), text


@dataclass(frozen=True)
class Attempt:
    """One line of the scan.

    Attributes:
        what: what is tried.
        path, headers, method, host: the request.
        default, public: the codes that may come back from either server.
    """

    what: str
    path: str
    headers: tuple[str, ...] = ()
    method: str = "GET"
    host: str = "localhost"
    default: tuple[str, ...] = REFUSED
    public: tuple[str, ...] = REFUSED


AS_CLIENT = (f"Authorization: Bearer {CLIENT_TOKEN}",)
EVIL = "Origin: https://evil.example"
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
        ("Content-Length: 1", "Content-Length: 2"),
        "POST",
    ),
    Attempt(
        "a length and chunks",
        "/client/dynamic/recognize",
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        "POST",
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
        except (ssl.SSLError, ConnectionError):
            found = "refused"
        is_old = version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
        name = version.name.removeprefix("TLSv").replace("_", ".")
        yield f"TLS {name} only", found, (found == "refused") == is_old


def reaches_from_outside(port: int) -> str:
    """Whether other addresses of this machine, as other machines see it, answer."""
    found = [each.ip for adapter in ifaddr.get_adapters() for each in adapter.ips if each.is_IPv4]
    for address in map(str, found):
        if not address.startswith("127."):
            try:
                socket.create_connection((address, port), PATIENCE_S).close()
            except OSError:
                return "refused"
            return "accepted"
    return "no other address"


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
        failures += reached[0] == "accepted"
        print(f"| from another address of the machine | {' | '.join(reached)} |")
        for attempt in ATTEMPTS:
            cells = []
            for server, allowed in zip(servers, (attempt.default, attempt.public), strict=True):
                code, answer = server.ask(
                    attempt.path, *attempt.headers, method=attempt.method, host=attempt.host
                )
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
