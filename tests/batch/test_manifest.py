"""Lists of recordings: each form, the names of transcripts, and what is no list."""

from pathlib import Path

import pytest

from pykaldi_server.batch.manifest import is_manifest, read_manifest
from pykaldi_server.batch.sources import Recording
from pykaldi_server.errors import ConfigError

URL = "s3://bucket/calls/a%20b.wav"
CASES = {
    "list.txt": "# calls\n\nsub/one.wav\r\n/data/two.wav\n" + URL + "\n",
    "list.csv": "name,path\n,sub/one.wav\n,/data/two.wav\n," + URL + "\n",
    "list.jsonl": '"sub/one.wav"\n\n{"path": "/data/two.wav"}\n{"url": "' + URL + '"}\n',
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", CASES)
def test_paths_and_urls(name: str, tmp_path: Path) -> None:
    """Relative paths begin at the manifest; the names of transcripts do not depend on where that is."""
    assert list(read_manifest(write(tmp_path, name, CASES[name]))) == [
        Recording(tmp_path / "sub/one.wav", Path("sub/one.wav")),
        Recording(Path("/data/two.wav"), Path("data/two.wav")),
        Recording(URL, Path("bucket/calls/a b.wav")),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.scp", "speaker-1 one.wav\n"),
        ("tabs.scp", "speaker-1\t one.wav\n"),
        ("list.csv", "url,name\none.wav,speaker-1\n"),
        ("list.JSONL", '{"path": "one.wav", "name": "speaker-1"}\n'),
    ],
)
def test_names_that_are_given(name: str, text: str, tmp_path: Path) -> None:
    recordings = list(read_manifest(write(tmp_path, name, text)))
    assert recordings == [Recording(tmp_path / "one.wav", Path("speaker-1"))]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("list.scp", "a one.wav\nb sox two.wav - |\n", "line 2: expected a path or URL, found a command"),
        ("list.scp", "a\n", "line 1: expected a path or URL, found none"),
        ("list.csv", "file,name\n", "line 1: expected a column path or url, found file, name"),
        ("list.csv", 'name,path\n"a,a.wav\n"b,b.wav\n', "line 3: expected a row of a table: "),
        ("list.csv", 'path\n"a.wav\nb.wav\n', "line 3: expected a row of a table: "),
        ("list.csv", f"path\na.wav\n{'b' * 200_000}\n", "line 3: expected a row of a table: "),
        ("list.txt", "a.wav\nb\0.wav\n", r"line 2: expected the name of a file, found 'b\\x00.wav'"),
        (
            "list.jsonl",
            '"a.wav"\n"b\\ud800.wav"\n',
            r"line 2: expected the name of a file, found 'b\\ud8",
        ),
        ("list.jsonl", '"a.wav"\n{"path"\n', "line 2: expected JSON"),
        ("list.jsonl", '{"path": 1}\n', "line 1: expected a path, or an object"),
        ("list.jsonl", '{"path": "a.wav", "name": "../"}\n', "line 1: expected the name of a file"),
    ],
)
def test_what_is_not_a_list(name: str, text: str, error: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(ConfigError, match=f"^{path}: {error}"):
        list(read_manifest(path))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"caf\xe9.wav\n")
    with pytest.raises(ConfigError, match="expected text in UTF-8"):
        list(read_manifest(path))


def test_which_files_are_lists() -> None:
    assert is_manifest(Path("a.txt"))
    assert is_manifest("https://host/a.jsonl")
    assert not is_manifest(Path("a.wav"))
