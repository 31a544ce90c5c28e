"""Downloads an archive so that an interruption costs nothing: what has arrived is kept, and the rest follows.

``NAME.part`` grows as the archive arrives; next to it, ``NAME.part.json`` says which version of which file it
is part of (address, ETag or time). The rest is asked for by HTTP's ``Range`` on the condition of
``If-Range``: a server whose file has changed sends all of the new one. A file is complete when it has the
size that the server and the catalogue say, and good when it has the sum that the publisher says.
"""

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pykaldi_server.errors import DownloadError
from pykaldi_server.version import __version__

__all__ = ["Archive", "Progress", "download", "find_in_folder"]

Progress = Callable[[int, int], None]
"""Called with the number of bytes that are there, and that of all of them (0 where it is not known)."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 60.0
_MOST_FAILURES = 5  # in a row, without a byte in between
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_RESERVE_BYTES = 64 << 20  # of the disk, which are left to others
_SCHEMES = ("http", "https")
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Archive:
    """What is to be downloaded.

    Attributes:
        url: its address.
        file_name: what it is called on disk.
        size_bytes: its exact size; None where that is not known.
        md5: its checksum in hexadecimal; "" where none is published.
    """

    url: str
    file_name: str
    size_bytes: int | None = None
    md5: str = ""


@dataclass(slots=True)
class _Part:
    """What is there of a file: its place, and of which version of the file it is."""

    path: Path
    url: str
    version: str = ""  # ETag, or the time of the last change

    @property
    def _notes(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def resume(self) -> None:
        """Takes up what an earlier download has left; what is not part of this file is deleted."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            url, version = notes["url"], notes["version"]
        except (OSError, ValueError, TypeError, KeyError):
            url, version = "", ""
        if url == self.url:
            self.version = version
        else:
            self.restart("")

    def restart(self, version: str) -> None:
        """Begins with an empty file, of a version of the file."""
        self.version = version
        os.truncate(self.path, 0)
        self._notes.write_text(json.dumps({"url": self.url, "version": version}), encoding="utf-8")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


class _Interrupted(Exception):
    """The connection has ended before the file has; what has arrived is kept."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not from https to an address that others can read and change."""

    def redirect_request(
        self, req: urllib.request.Request, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"{req.full_url}: expected a redirection to https, found one to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def find_in_folder(archive: Archive, folder: Path) -> Path:
    """Finds an archive in a folder that mirrors the publisher's, and checks it.

    Raises:
        FileNotFoundError: the folder has no such file.
        DownloadError: it is not the file that the catalogue describes.
    """
    path = folder / archive.file_name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such archive in the mirror")
    _check(path, archive, path)
    return path


def download(
    archive: Archive,
    folder: Path,
    progress: Progress = lambda done, total: None,
    *,
    first_pause_s: float = _FIRST_PAUSE_S,
) -> Path:
    """Downloads an archive, or the rest of it.

    Args:
        archive: what is to be downloaded.
        folder: where it is kept.
        progress: called again and again.
        first_pause_s: time before another attempt after the connection was lost; it doubles each time.

    Returns:
        Its path. Whoever unpacks it should delete it; one that is still there and has the right sum is not
        downloaded again.

    Raises:
        DownloadError: the server refuses or cannot be reached, or what it has is not the file that is
            expected; the next call goes on where this one has ended.
        OSError: the disk is full, or the folder cannot be written to.
    """
    if urlsplit(archive.url).scheme not in _SCHEMES:
        raise DownloadError(f"{archive.url}: expected an address of http or https")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.file_name
    if archive.md5 and path.is_file():  # it has arrived before, and what came next did not succeed
        try:
            _check(path, archive, path)
            return path
        except DownloadError:
            path.unlink()
    with _locked(path.with_name(f"{path.name}.part"), archive) as part:
        part.resume()
        was_resumed = os.path.getsize(part.path) > 0
        _fetch(part, archive, progress, first_pause_s)
        try:
            _check(part.path, archive, archive.url)
        except DownloadError:
            part.restart("")
            if not was_resumed:
                part.remove()
                raise
            # The beginning may have been that of another file: once more, from there on.
            _fetch(part, archive, progress, first_pause_s)
            _check(part.path, archive, archive.url)
        os.replace(part.path, path)
        part.remove()
    return path


@contextmanager
def _locked(path: Path, archive: Archive) -> Iterator[_Part]:
    """Opens the part of a file, for this process alone."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"{path}: another process is downloading this archive") from None
        yield _Part(path, archive.url)


def _fetch(part: _Part, archive: Archive, progress: Progress, pause_s: float) -> None:
    """Brings the rest of a file, in as many attempts as bring something."""
    failures, next_pause_s = 0, pause_s
    while True:
        before = os.path.getsize(part.path)
        try:
            _attempt(part, archive, progress)
            return
        except _Interrupted as error:
            if os.path.getsize(part.path) > before:
                failures, next_pause_s = 0, pause_s
            failures += 1
            if failures >= _MOST_FAILURES:
                kept = f"{os.path.getsize(part.path)} bytes are kept for the next attempt"
                raise DownloadError(f"{archive.url}: {error}; {kept}") from error
        time.sleep(next_pause_s)
        next_pause_s = min(2 * next_pause_s, _LONGEST_PAUSE_S)


def _attempt(part: _Part, archive: Archive, progress: Progress) -> None:
    """Asks once for what is missing, and writes it down as it arrives."""
    offset = os.path.getsize(part.path)
    if offset and offset == archive.size_bytes:
        return
    request = urllib.request.Request(archive.url, headers={"User-Agent": f"pykaldi-server/{__version__}"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if part.version:
            request.add_header("If-Range", part.version)
    try:
        # The scheme has been checked.
        with urllib.request.build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT_S) as answer:
            begin, total = _extent(answer, archive.url)
            _check_total(total, archive)
            if begin != offset or (answer.status == http.client.OK):
                if begin:
                    raise DownloadError(f"{archive.url}: expected bytes from {offset}, found from {begin}")
                part.restart(_version(answer))
            _receive(answer, part, begin, total, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            if error.headers.get("Content-Range") == f"bytes */{offset}" and archive.size_bytes is None:
                return  # it was complete
            part.restart("")
            raise _Interrupted("the server has less than has arrived before") from error
        if error.code in _TEMPORARY:
            raise _Interrupted(f"the server says {error.code} {error.reason}") from error
        raise DownloadError(f"{archive.url}: the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Interrupted(f"the server cannot be reached: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Interrupted(f"the connection was lost: {error or type(error).__name__}") from error


def _extent(answer: http.client.HTTPResponse, url: str) -> tuple[int, int]:
    """Where the bytes of an answer begin in the file, and how long the file is (0 if that is not said)."""
    length = answer.headers.get("Content-Length", "")
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length.isdecimal() else 0
    text = answer.headers.get("Content-Range", "")
    unit, _, extent = text.partition(" ")
    begin, _, total = extent.replace("/", "-").partition("-")
    total = total.rpartition("-")[2]
    if unit != "bytes" or not begin.isdecimal() or not (total.isdecimal() or total == "*"):
        raise DownloadError(f"{url}: expected a Content-Range in bytes, found {text!r}")
    return int(begin), int(total) if total.isdecimal() else 0


def _check_total(total: int, archive: Archive) -> None:
    if total and archive.size_bytes is not None and total != archive.size_bytes:
        raise DownloadError(f"{archive.url}: expected {archive.size_bytes} bytes, found {total}")


def _version(answer: http.client.HTTPResponse) -> str:
    """What tells this version of a file from others: a strong ETag, or the time of its last change."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def _receive(
    answer: http.client.HTTPResponse, part: _Part, begin: int, total: int, progress: Progress
) -> None:
    """Appends what arrives to the part of a file."""
    free_bytes = shutil.disk_usage(part.path.parent).free
    if total - begin + _RESERVE_BYTES > free_bytes:
        raise DownloadError(
            f"{part.path}: expected room for {total - begin} more bytes on the disk, found {free_bytes}"
        )
    done = begin
    with part.path.open("ab") as file:
        progress(done, total)
        while chunk := answer.read(_CHUNK_BYTES):
            done += len(chunk)
            if total and done > total:
                raise DownloadError(f"{part.url}: expected {total} bytes, found more")
            file.write(chunk)
            progress(done, total)
    if done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


def _check(path: Path, archive: Archive, place: Path | str) -> None:
    """Raises `DownloadError`, with the place, where a file is not the one that the catalogue describes."""
    size_bytes = path.stat().st_size
    if archive.size_bytes is not None and size_bytes != archive.size_bytes:
        raise DownloadError(f"{place}: expected {archive.size_bytes} bytes, found {size_bytes}")
    if archive.md5:
        # The sum that the publisher gives: it finds damage, and is not meant to keep forgers out.
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != archive.md5:
            raise DownloadError(f"{place}: expected the MD5 sum {archive.md5}, found {md5}")
