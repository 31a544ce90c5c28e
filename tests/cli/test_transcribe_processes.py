"""`pykaldi-server transcribe` at a terminal, and when it is interrupted: processes of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import children

DIGITS = "ps-tidigits-2934z"
PATIENCE_S = 120.0


def command(models: Path, *arguments: str) -> list[str]:
    model = ["--model", f"{models}/english:graph-digits"]
    return [sys.executable, "-m", "pykaldi_server", "transcribe", *model, *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "120"}


@pytest.fixture
def recordings(golden: Path, tmp_path: Path) -> Path:
    """A folder with two recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in "ab":
        shutil.copy(golden / "wav" / f"{DIGITS}.wav", folder / f"{name}.wav")
    return folder


def test_a_terminal_shows_progress(recordings: Path, models: Path, tmp_path: Path) -> None:
    reader, terminal = os.openpty()
    arguments = command(models, str(recordings), "-o", str(tmp_path / "out"), "-j1")
    with subprocess.Popen(arguments, env=environment(), stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(reader, 4096):
                shown += piece
        except OSError:  # how Linux says that nobody has the terminal open any more
            pass
        finally:
            os.close(reader)
        assert process.wait() == 0
    assert b"0/2" in shown
    assert b"left" in shown
    assert b"2 files: 2 recognised" in shown


def test_ctrl_c_ends_all_processes(recordings: Path, models: Path, tmp_path: Path) -> None:
    """What is complete by then stays; nothing else is left behind."""
    os.mkfifo(recordings / "endless.wav")
    arguments = command(models, str(recordings), "-o", str(tmp_path / "out"), "-j2")
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE) as process:
        deadline_s = time.monotonic() + PATIENCE_S
        while not all((tmp_path / "out" / f"{name}.txt").exists() for name in "ab"):
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]  # returns only when the last process is gone
        assert process.returncode == 128 + signal.SIGINT
    assert said.strip() == b""
    assert sorted(os.listdir(tmp_path / "out")) == ["a.txt", "b.txt"]


def test_ctrl_c_while_models_are_loaded(recordings: Path, models: Path) -> None:
    """A terminal sends it to all processes, also to those that have only just begun."""
    arguments = command(models, str(recordings), "-j2")
    with subprocess.Popen(
        arguments, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        deadline_s = time.monotonic() + PATIENCE_S
        while len(children(process.pid)) < 2:
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate()[1].strip() == b""
        assert process.returncode == 128 + signal.SIGINT
