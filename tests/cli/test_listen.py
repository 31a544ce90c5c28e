"""`pykaldi-server listen`: a pipe and a microphone, until they end or Ctrl-C comes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from pykaldi_server.cli import main

DIGITS = "ps-tidigits-2934z"
COMMAND = [sys.executable, "-m", "pykaldi_server", "listen", "-"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_ctrl_c_ends_the_stream_and_prints_the_last_words(golden: Path, models: Path) -> None:
    command = [*COMMAND, "-m", f"{models}/english:graph-digits"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write((golden / "wav" / f"{DIGITS}.wav").read_bytes())
        process.stdin.flush()  # and no end of the recording
        assert process.stderr.readline() == b"Listening to standard input; Ctrl-C ends it.\n"
        while b"zero" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"two nine three four zero\n"
        assert process.wait() == 0
        assert b"Traceback" not in process.stderr.read()


def test_a_pipe_that_ends(models: Path) -> None:
    command = [*COMMAND, "-m", f"{models}/english:graph-digits"]
    ran = subprocess.run(command, env=ENVIRONMENT, input=bytes(64000), capture_output=True, check=True)
    assert ran.stdout == b""
    assert ran.stderr.splitlines()[-1] == b"No words were recognised."


def test_a_pipe_that_cannot_be_read(models: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "-m", f"{models}/english:graph-digits"]
    with open(tmp_path / "file", "wb") as unreadable:
        ran = subprocess.run(command, env=ENVIRONMENT, stdin=unreadable, capture_output=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == b"Error: standard input: Bad file descriptor"


def test_what_is_missing_is_said_in_a_line(models: Path) -> None:
    ran = CliRunner().invoke(main, ["listen", "-m", "nowhere"])
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1)
    assert "nowhere" in ran.stderr
