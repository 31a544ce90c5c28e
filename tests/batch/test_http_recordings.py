"""Recordings at http://...: a server of files that also moves, refuses and breaks off."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bulk_runs import DIGITS, SAID, digits
from click.testing import CliRunner
from http_threads import serving

from pykaldi_server.batch import Bulk, BulkOptions, Ledger, Outputs, State, connected, read_manifest
from pykaldi_server.batch.locations import opened
from pykaldi_server.cli import main

pytest.importorskip("aiohttp", reason="needs aiohttp")


class Files(ThreadingHTTPServer):
    """Serves one file, whose path begins with what is to happen.

    Attributes:
        num_cut: how many answers to a path below ``cut`` will still be cut.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.content = content
        self.num_cut = 1

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Request(BaseHTTPRequestHandler):
    """A request to `Files`."""

    protocol_version = "HTTP/1.1"
    server: Files

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *values: object) -> None:
        """Is quiet."""

    def _answer(self) -> None:
        match self.path.split("/")[1]:
            case "moved":
                self._send(302, Location="/there/a.wav")
            case "circle":
                self._send(302, Location=self.path)
            case "absent":
                self._send(404)
            case "busy":
                self._send(503)
            case "ranges" if asked := self.headers.get("Range"):
                first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
                part = self.server.content[first : last + 1]
                of = f"bytes {first}-{first + len(part) - 1}/{len(self.server.content)}"
                self._send(206, part, **{"Content-Range": of})
            case "ranges":
                self._send(200, self.server.content, **{"Accept-Ranges": "bytes"})
            case _:
                self._send(200, self.server.content)

    def _send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and content:
            if self.path.startswith("/cut/") and self.server.num_cut:
                self.server.num_cut -= 1
                content = content[: len(content) // 2]
                self.close_connection = True
            self.wfile.write(content)


@pytest.fixture
def server(golden: Path) -> Iterator[Files]:
    server = Files((golden / "wav" / f"{DIGITS}.wav").read_bytes())
    with serving(server):
        yield server


@pytest.mark.parametrize("path", ["there/a.wav", "there/a.wav?token=b/c", "moved/a.wav", "ranges/a.wav"])
def test_what_is_there_is_read(server: Files, path: str) -> None:
    with opened(server.url(path)) as file:
        assert file.read(1000) + file.read() == server.content


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("absent/a.wav", "404 Not Found"),
        ("busy/a.wav", "503 Service Unavailable"),
        ("circle/a.wav", "TooManyRedirects"),
        ("cut/a.wav", "Response payload is not completed"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(server: Files, path: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason) as raised, opened(server.url(path)) as file:
        file.read()
    assert raised.value.filename == server.url(path)


def test_a_server_that_is_not_there() -> None:
    url = "http://127.0.0.1:1/a.wav"  # a port that nothing may have without being asked for it
    with pytest.raises(OSError, match="Connect call failed") as raised, opened(url):
        pass
    assert raised.value.filename == url


def test_transcribe(server: Files, models: Path) -> None:
    urls = [server.url(each) for each in ("moved/a.wav", "absent/a.wav", "cut/a.wav")]
    model = f"{models}/english:graph-digits"
    ran = CliRunner().invoke(main, ["transcribe", "-m", model, "-j", "1", *urls])
    assert ran.exit_code == 1
    assert ran.stdout == f"{urls[0]}: {SAID}"
    assert f"Error: {urls[1]}: 404 Not Found\n" in ran.stderr
    assert f"Error: {urls[2]}: Response payload is not completed" in ran.stderr
    assert "3 files: 1 recognised, 2 failed" in ran.stderr


def test_in_bulk(server: Files, models: Path, tmp_path: Path) -> None:
    """A connection that is cut once costs an attempt; what is absent is set aside after its last."""
    cut, absent = server.url("cut/a%20b.wav"), server.url("absent/a.wav")
    manifest = tmp_path / "list.txt"
    manifest.write_text(f"{cut}\n{absent}\n")
    outputs = Outputs(tmp_path / "out", ("txt",))
    with connected("local", 1) as client, Ledger(outputs.directory) as ledger:
        bulk = Bulk(client, digits(models), outputs, ledger, BulkOptions(retries=1))
        entries = {each.entry.source: each.entry for each in bulk.run(read_manifest(manifest))}
    assert (entries[cut].state, entries[cut].attempts) == (State.RECOGNISED, 2)
    assert (tmp_path / "out" / f"127.0.0.1:{server.server_port}" / "cut" / "a b.wav.txt").read_text() == SAID
    assert (entries[absent].state, entries[absent].attempts) == (State.SET_ASIDE, 2)
    assert entries[absent].error == f"{absent}: 404 Not Found"
