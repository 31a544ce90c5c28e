"""Archives arrive whole however often the connection breaks, and no other file is taken for them."""

import fcntl
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirror import Mirror, running_mirror

from pykaldi_server.errors import DownloadError
from pykaldi_server.models.download import Archive, download, find_in_folder

CONTENT = random.Random(1).randbytes(1_000_000)
NAME = "a-model.zip"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    with running_mirror(folder) as mirror:
        yield mirror


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def archive(mirror: Mirror, size_bytes: int | None = len(CONTENT), content: bytes = CONTENT) -> Archive:
    return Archive(f"{mirror.url}/{NAME}", NAME, size_bytes, hashlib.md5(content).hexdigest())


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_whole_archive(mirror: Mirror, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = download(archive(mirror), folder, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert files(folder) == {NAME}
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("size_bytes", [len(CONTENT), None])
def test_what_has_arrived_is_not_sent_again(mirror: Mirror, folder: Path, size_bytes: int | None) -> None:
    mirror.cuts = [300_000, 300_000]
    path = download(archive(mirror, size_bytes), folder, first_pause_s=0)
    assert path.read_bytes() == CONTENT
    assert mirror.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_another_process_goes_on_where_one_was_interrupted(mirror: Mirror, folder: Path) -> None:
    mirror.cuts = [400_000]

    def interrupt(done: int, total: int) -> None:
        if done == 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(archive(mirror), folder, interrupt)
    assert (folder / f"{NAME}.part").stat().st_size == 400_000
    assert download(archive(mirror), folder).read_bytes() == CONTENT
    assert mirror.asked == [None, "bytes=400000-"]


def test_an_archive_that_has_changed_meanwhile_is_sent_anew(mirror: Mirror, folder: Path) -> None:
    mirror.cuts = [400_000]
    mirror.statuses = []
    other = bytes(reversed(CONTENT))

    def change(done: int, total: int) -> None:
        if done == 400_000 and mirror.etag == '"1"':
            mirror.etag = '"2"'
            (mirror.folder / NAME).write_bytes(other)

    path = download(archive(mirror, content=other), folder, change, first_pause_s=0)
    assert path.read_bytes() == other
    assert mirror.asked == [None, "bytes=400000-"]


def test_a_beginning_of_another_file_is_found_by_the_sum(mirror: Mirror, folder: Path) -> None:
    """A server without ETags cannot say that its file has changed."""
    mirror.etag = ""
    mirror.cuts = [400_000]
    mirror.statuses = []

    def interrupt(done: int, total: int) -> None:
        if done == 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(archive(mirror), folder, interrupt)
    other = bytes(reversed(CONTENT))
    (mirror.folder / NAME).write_bytes(other)
    assert download(archive(mirror, content=other), folder).read_bytes() == other
    assert mirror.asked == [None, "bytes=400000-", None]


def test_a_server_that_sends_no_parts(mirror: Mirror, folder: Path) -> None:
    mirror.ranges = False
    mirror.cuts = [300_000]
    assert download(archive(mirror), folder, first_pause_s=0).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(mirror: Mirror, folder: Path) -> None:
    mirror.statuses = [503, 429]
    assert download(archive(mirror), folder, first_pause_s=0).read_bytes() == CONTENT


def test_a_tampered_archive_is_refused_and_forgotten(mirror: Mirror, folder: Path) -> None:
    tampered = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    (mirror.folder / NAME).write_bytes(tampered)
    with pytest.raises(DownloadError, match=r"expected the MD5 sum [0-9a-f]{32}, found [0-9a-f]{32}"):
        download(archive(mirror), folder)
    assert files(folder) == set()
    (mirror.folder / NAME).write_bytes(CONTENT)
    assert download(archive(mirror), folder).read_bytes() == CONTENT


def test_a_truncated_archive_is_refused(mirror: Mirror, folder: Path) -> None:
    (mirror.folder / NAME).write_bytes(CONTENT[:999])
    with pytest.raises(DownloadError, match=f"{NAME}: expected 1000000 bytes, found 999"):
        download(archive(mirror), folder)


def test_a_connection_that_never_brings_anything_ends(mirror: Mirror, folder: Path) -> None:
    mirror.cuts = [100, 0, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="ended after 100 of 1000000 bytes; 100 bytes are kept"):
        download(archive(mirror), folder, first_pause_s=0)
    mirror.cuts = []
    assert download(archive(mirror), folder).read_bytes() == CONTENT
    assert mirror.asked[-1] == "bytes=100-"


def test_an_archive_that_is_not_there(mirror: Mirror, folder: Path) -> None:
    missing = Archive(f"{mirror.url}/other.zip", "other.zip")
    with pytest.raises(DownloadError, match=r"other\.zip: the server says 404 Not Found"):
        download(missing, folder)


def test_a_server_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with running_mirror(tmp_path) as mirror:
        url = mirror.url
    with pytest.raises(DownloadError, match=r"a\.zip: the server cannot be reached: .*refused"):
        download(Archive(f"{url}/a.zip", "a.zip"), folder, first_pause_s=0)


def test_only_the_web_is_asked(folder: Path) -> None:
    with pytest.raises(DownloadError, match="expected an address of http or https"):
        download(Archive("file:///etc/passwd", "passwd"), folder)


def test_two_processes_do_not_write_the_same_file(mirror: Mirror, folder: Path) -> None:
    folder.mkdir()
    with (folder / f"{NAME}.part").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process is downloading this archive"):
            download(archive(mirror), folder)
    assert mirror.asked == []


def test_a_folder_as_the_mirror(mirror: Mirror) -> None:
    assert find_in_folder(archive(mirror), mirror.folder) == mirror.folder / NAME
    with pytest.raises(DownloadError, match="expected the MD5 sum"):
        find_in_folder(archive(mirror, content=b""), mirror.folder)
    with pytest.raises(FileNotFoundError, match=r"other\.zip: there is no such archive in the mirror"):
        find_in_folder(Archive("https://a.example/other.zip", "other.zip"), mirror.folder)
