"""A web server on this machine with the archives of a folder, which fails on command as real ones do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from http_threads import serving

__all__ = ["Mirror", "running_mirror"]


@dataclass
class Mirror:
    """What the server has and does, and what it was asked.

    Attributes:
        folder: the files.
        url: its address.
        etag: sent with every file; "" for a server that sends none.
        ranges: whether parts of files can be had.
        cuts: after how many bytes each of the next answers breaks off.
        statuses: the statuses of the next answers, in place of files.
        asked: the ``Range`` of each request.
    """

    folder: Path
    url: str = ""
    etag: str = '"1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)


@contextmanager
def running_mirror(folder: Path) -> Iterator[Mirror]:
    """Runs the server while the context lasts."""
    mirror = Mirror(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.asked.append(self.headers["Range"])
            if mirror.statuses:
                self.send_error(mirror.statuses.pop(0))
                return
            path = mirror.folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            content = path.read_bytes()
            begin = self._begin(len(content))
            if begin >= len(content) > 0:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(HTTPStatus.PARTIAL_CONTENT if begin else HTTPStatus.OK)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - begin))
            if mirror.etag:
                self.send_header("ETag", mirror.etag)
            self.end_headers()
            cut = mirror.cuts.pop(0) if mirror.cuts else None
            self.wfile.write(content[begin:] if cut is None else content[begin : begin + cut])
            self.close_connection = True

        def _begin(self, length: int) -> int:
            wanted = self.headers["Range"]
            if not mirror.ranges or wanted is None or self.headers["If-Range"] not in (None, mirror.etag):
                return 0
            return int(wanted.removeprefix("bytes=").removesuffix("-"))

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the output of tests free of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield mirror
