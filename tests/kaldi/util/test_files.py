"""Files are mapped or unpacked; what is not the file itself is said."""

import gzip
from pathlib import Path

import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.util.files import load_bytes, load_text
from pykaldi_server.kaldi.util.io import KaldiReader

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.mat.gz"
    path.write_bytes(gzip.compress(b" [\n 1 2\n 3 4 ]\n"))
    assert KaldiReader.open(path).read_matrix().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("cut", [3, 15, -1])
def test_damaged_packed_files_are_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.mat.gz"
    path.write_bytes(gzip.compress(b" [\n 1 2\n 3 4 ]\n")[:cut])
    with pytest.raises(ModelFormatError, match=r"a\.mat\.gz: expected gzip data"):
        load_bytes(path)


def test_git_lfs_pointers_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "final.mdl"
    path.write_bytes(POINTER)
    for load in (load_bytes, load_text, KaldiReader.open):
        with pytest.raises(ModelFormatError, match=r"final\.mdl: .*Git LFS pointer.*git lfs pull"):
            load(path)


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("Gerät 1\n".encode("latin-1"))
    with pytest.raises(ModelFormatError, match=r"words\.txt: at byte 3: expected UTF-8 text, found .* 0xe4"):
        load_text(path)
