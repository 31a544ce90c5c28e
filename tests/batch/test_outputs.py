"""Transcripts in a directory: whole or not at all."""

import errno
import json
import os
from pathlib import Path

import pytest

from pykaldi_server.batch.outputs import Outputs
from pykaldi_server.batch.sources import Recording
from pykaldi_server.protocols.transcript import Segment

SEGMENTS = [Segment("yes", 0.0, 1.0)]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    path = tmp_path / "a.wav"
    path.touch()
    return Recording(path, Path("sub/a"))


def test_all_formats_are_written(tmp_path: Path, recording: Recording) -> None:
    outputs = Outputs(tmp_path / "out", ("txt", "json"))
    assert not outputs.is_complete(recording)
    outputs.write(recording, SEGMENTS)
    assert outputs.is_complete(recording)
    assert sorted(os.listdir(tmp_path / "out" / "sub")) == ["a.json", "a.txt"]
    assert (tmp_path / "out/sub/a.txt").read_text() == "yes\n"
    mode = (tmp_path / "out/sub/a.txt").stat().st_mode & 0o777
    assert mode == (tmp_path / "a.wav").stat().st_mode & 0o777, "as any other new file"


def test_a_name_that_is_not_in_utf8(tmp_path: Path) -> None:
    """What names the recording in a transcript is then escaped, as at a terminal."""
    recording = Recording(tmp_path / os.fsdecode(b"caf\xe9.wav"), Path(os.fsdecode(b"caf\xe9")))
    outputs = Outputs(tmp_path, ("csv", "ctm", "stm", "json"))
    outputs.write(recording, SEGMENTS)
    written = {each: path.read_text(encoding="utf-8") for each, path in outputs.paths(recording).items()}
    assert written["csv"].splitlines()[1].startswith("caf\\udce9.wav,")
    assert written["ctm"].startswith("caf\\udce9 1 ")
    assert written["stm"].startswith("caf\\udce9 1 ")
    assert json.loads(written["json"])["file"] == os.fsdecode(b"caf\xe9.wav")


def test_what_is_missing_or_old_is_not_complete(tmp_path: Path, recording: Recording) -> None:
    outputs = Outputs(tmp_path, ("txt", "srt"))
    outputs.write(recording, SEGMENTS)
    os.utime(tmp_path / "sub/a.srt", (0, 0))
    assert not outputs.is_complete(recording)
    (tmp_path / "sub/a.srt").unlink()
    assert not outputs.is_complete(recording)
    assert not outputs.is_complete(Recording(Path("-"), Path("stdin")))


def test_a_full_disk_leaves_no_half_of_a_file(
    tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(tmp_path, ("txt",))
    outputs.write(recording, [])

    def no_space(old: str, new: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space") as raised:
        outputs.write(recording, SEGMENTS)
    assert raised.value.filename == str(tmp_path / "sub/a.txt")
    assert os.listdir(tmp_path / "sub") == ["a.txt"]
    assert (tmp_path / "sub/a.txt").read_text() == ""
