"""Archives of models are unpacked, and hostile ones put nothing anywhere."""

import stat
import tarfile
from pathlib import Path

import pytest
from archives import make_tar, make_zip

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.models.unpack import archive_stem, unpack

FILES = {"a-model/am/final.mdl": b"network" * 1000, "a-model/README": b"about\n", "a-model/empty": b""}


def unpacked(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "folder"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_of_every_kind(tmp_path: Path, folder: Path, suffix: str) -> None:
    make = make_zip if suffix == "zip" else make_tar
    archive = make(tmp_path / f"a-model.{suffix}", FILES)
    seen: list[tuple[int, int]] = []
    unpack(archive, folder, lambda done, total: seen.append((done, total)))
    assert unpacked(folder) == FILES
    assert seen
    assert all(0 <= done <= total == archive.stat().st_size for done, total in seen)
    assert archive_stem(archive) == "a-model"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "a\\..\\outside"])
def test_no_path_leads_out_of_the_folder(tmp_path: Path, folder: Path, kind: str, name: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"bad.{kind}", {**FILES, name: b"x"})
    with pytest.raises(ModelFormatError, match="has a path that leads out of the folder"):
        unpack(archive, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]
    assert not Path("/outside").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_tar_archives_have_no_links_and_devices(tmp_path: Path, folder: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("a-model/link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(ModelFormatError, match="'a-model/link' is neither a file nor a folder"):
        unpack(make_tar(tmp_path / "bad.tar", FILES, member), folder)


def test_zip_archives_have_no_links(tmp_path: Path, folder: Path) -> None:
    files = {**FILES, "a-model/link": b"/etc/passwd"}
    archive = make_zip(tmp_path / "bad.zip", files, {"a-model/link": stat.S_IFLNK | 0o777})
    with pytest.raises(ModelFormatError, match="'a-model/link' is neither a file nor a folder"):
        unpack(archive, folder)
    assert not unpacked(folder)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_not_set_off(
    tmp_path: Path, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pykaldi_server.models.unpack._SMALL_BYTES", 1_000_000)
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"bomb.{kind}", {"zeros": bytes(1_000_001)})
    with pytest.raises(ModelFormatError, match="'zeros' takes the archive beyond 1000000 bytes unpacked"):
        unpack(archive, folder)
    assert not unpacked(folder)


def test_a_zip_archive_that_lies_about_sizes(tmp_path: Path, folder: Path) -> None:
    archive = make_zip(tmp_path / "lie.zip", {"file": b"content" * 100})
    content = archive.read_bytes()
    archive.write_bytes(content.replace((700).to_bytes(4, "little"), (7).to_bytes(4, "little")))
    with pytest.raises(ModelFormatError):
        unpack(archive, folder)
    assert sum(map(len, unpacked(folder).values())) <= 7


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_truncated_archives(tmp_path: Path, folder: Path, kind: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"short.{kind}", FILES)
    content = archive.read_bytes()
    archive.write_bytes(content[: 1000 if kind == "tar" else len(content) // 2])
    with pytest.raises(ModelFormatError, match="expected a sound zip or tar archive"):
        unpack(archive, folder)


def test_a_damaged_member(tmp_path: Path, folder: Path) -> None:
    archive = make_zip(tmp_path / "damaged.zip", {"file": bytes(range(256)) * 40})
    content = bytearray(archive.read_bytes())
    content[60] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ModelFormatError, match="expected a sound zip or tar archive"):
        unpack(archive, folder)


def test_no_file_is_there_twice(tmp_path: Path, folder: Path) -> None:
    member = tarfile.TarInfo("a-model/README")
    with pytest.raises(ModelFormatError, match="'a-model/README' is there twice"):
        unpack(make_tar(tmp_path / "twice.tar", FILES, member), folder)


def test_a_file_in_place_of_a_folder(tmp_path: Path, folder: Path) -> None:
    archive = make_zip(tmp_path / "both.zip", {"a": b"file", "a/b": b"in a folder"})
    with pytest.raises(ModelFormatError, match="needs a folder where there is a file"):
        unpack(archive, folder)


def test_what_is_no_archive(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "page.zip"
    path.write_text("<html>This model has moved.</html>" * 100)
    with pytest.raises(ModelFormatError, match=r"page\.zip: expected a sound zip or tar archive, found: "):
        unpack(path, folder)
    with pytest.raises(ConfigError, match=r"model\.rar: expected a directory, or a name that ends"):
        archive_stem(Path("model.rar"))
