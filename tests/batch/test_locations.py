"""Paths and URLs of recordings: read alike, and what cannot be read is named."""

import sys
from pathlib import Path

import pytest

from pykaldi_server.batch.locations import absolute, file_name, location, opened
from pykaldi_server.errors import ConfigError


def test_files_and_their_urls_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a b.wav"
    path.write_bytes(b"audio")
    for place in (path, location(f"file://{path}")):
        assert file_name(place) == "a b.wav"
        assert absolute(place) == place
        with opened(place) as file:
            assert file.read(3) + file.read() == b"audio"


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    for place in (tmp_path / "a.wav", f"file://{tmp_path}/a.wav"):
        with pytest.raises(FileNotFoundError) as raised, opened(place) as file:
            file.read()
        assert str(raised.value.filename).endswith(f"{tmp_path}/a.wav")


@pytest.mark.parametrize(
    ("url", "text"),
    [("s3://bucket/a.wav", r"pykaldi-server\[s3\]"), ("nowhere://a.wav", "nowhere://a.wav: .*nowhere")],
)
def test_urls_that_nothing_here_opens(url: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=text), opened(url):
        pass
