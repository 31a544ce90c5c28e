"""`pykaldi-server transcribe`."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from golden_data import lines
from two_speakers import channels_of_call, wav_of

from pykaldi_server.cli import main

DIGITS = "ps-tidigits-2934z"


def test_transcribe_prints_what_kaldi_recognises(golden: Path) -> None:
    one = str(golden / "wav" / f"{DIGITS}.wav")
    ran = CliRunner().invoke(main, ["transcribe", one])
    assert ran.exit_code == 0
    assert ran.stdout == "two nine three four zero\n"
    assert ran.stderr.count("... ") > 2


@pytest.mark.parametrize(
    ("model", "name"),
    [*(("et", name) for name in ("digits-1-8", "robot-1", "robot-2", "robot-3")), ("estonian", "robot-1")],
)
def test_a_model_by_its_language_or_name(golden: Path, model: str, name: str) -> None:
    said = {name: words for name, *words in lines(golden / "estonian" / "text")}
    ran = CliRunner().invoke(main, ["transcribe", "-m", model, str(golden / "estonian" / f"{name}.wav")])
    assert ran.stdout.split() == said[name]


def test_several_files_in_several_processes(golden: Path, tmp_path: Path) -> None:
    """In the order of the command line; what fails is named, and does not stop the others."""
    one, other = (str(golden / "wav" / f"{name}.wav") for name in (DIGITS, "ps-cards-004"))
    damaged, silent = tmp_path / "x.ogg", tmp_path / "silent.wav"
    damaged.write_bytes(b"OggS" + bytes(range(256)) * 40)
    silent.write_bytes(wav_of(np.zeros(16000, np.int16)))
    files = [one, str(damaged), str(tmp_path / "nothing.wav"), str(silent), other]
    ran = CliRunner().invoke(main, ["transcribe", "-j2", *files])
    assert ran.exit_code == 1
    assert ran.stdout == f"{one}: two nine three four zero\n{other}: five five\n"
    *lines, summary = ran.stderr.splitlines()
    assert sorted(line.split(": ")[1] for line in lines if line.startswith("Error: ")) == sorted(files[1:3])
    assert f"{silent}: no words were recognised" in lines
    assert len(lines) == 3
    assert summary.startswith("5 files: 3 recognised, 2 failed; ")


def test_transcripts_are_written_and_not_made_again(golden: Path, tmp_path: Path) -> None:
    recordings, output = tmp_path / "recordings", tmp_path / "transcripts"
    for name, words in ((f"a/{DIGITS}", 1), ("a/five", 0), ("b", 0)):
        path = recordings / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(golden / "wav" / f"{DIGITS if words else 'ps-cards-004'}.wav", path)
    (recordings / "notes.md").write_text("not audio")
    command = ["transcribe", str(recordings), "-o", str(output), "-j2", "-f", "srt", "-f", "ctm"]
    ran = CliRunner().invoke(main, command)
    assert (ran.exit_code, ran.stdout) == (0, "")
    names = sorted(str(path.relative_to(output)) for path in output.rglob("*.*"))
    assert names == ["a/five.ctm", "a/five.srt", f"a/{DIGITS}.ctm", f"a/{DIGITS}.srt", "b.ctm", "b.srt"]
    assert "\ntwo nine three four zero\n" in (output / f"a/{DIGITS}.srt").read_text()
    rows = [line.split() for line in (output / "b.ctm").read_text().splitlines()]
    assert [(row[0], row[1], row[4]) for row in rows] == [("b", "1", "five")] * 2
    (output / "b.ctm").write_text("as it was")
    (output / "a/five.srt").unlink()
    ran = CliRunner().invoke(main, command)
    assert ran.stderr.startswith("3 files: 1 recognised, 2 complete already; ")
    assert (output / "a/five.srt").exists()
    assert (output / "b.ctm").read_text() == "as it was"
    ran = CliRunner().invoke(main, [*command, "--overwrite"])
    assert ran.stderr.startswith("3 files: 3 recognised; ")
    assert (output / "b.ctm").read_text() != "as it was"


def test_a_file_that_a_list_names_again_and_again(golden: Path, tmp_path: Path) -> None:
    """Under one name it counts once; under several ones it has a transcript of each, and nothing is lost."""
    one, other = (golden / "wav" / f"{name}.wav" for name in (DIGITS, "ps-cards-004"))
    (tmp_path / "list.txt").write_text(f"{one}\n{one}\n{other}\n")
    (tmp_path / "list.scp").write_text(f"u1 {one}\nu2 {one}\nu3 {other}\nu1 {one}\n")
    ran = CliRunner().invoke(main, ["transcribe", "-j1", str(tmp_path / "list.txt")])
    assert (ran.exit_code, ran.stdout) == (0, f"{one}: two nine three four zero\n{other}: five five\n")
    ran = CliRunner().invoke(main, ["transcribe", "-j1", str(tmp_path / "list.scp")])
    assert ran.exit_code == 0
    assert ran.stdout == 2 * f"{one}: two nine three four zero\n" + f"{other}: five five\n"
    output = tmp_path / "out"
    ran = CliRunner().invoke(main, ["transcribe", "-j1", str(tmp_path / "list.scp"), "-o", str(output)])
    assert (ran.exit_code, ran.stderr.startswith("3 files: 3 recognised; ")) == (0, True)
    said = {path.name: path.read_text() for path in output.iterdir()}
    assert said == {
        "u1.txt": "two nine three four zero\n",
        "u2.txt": "two nine three four zero\n",
        "u3.txt": "five five\n",
    }


def test_no_transcript_takes_the_place_of_another(golden: Path, tmp_path: Path) -> None:
    """Not in the same run, and not in the next one either."""
    one, other = (golden / "wav" / f"{name}.wav" for name in (DIGITS, "ps-cards-004"))
    (tmp_path / "list.scp").write_text(f"u1 {one}\nu1 {other}\nu2 {other}\n")
    output = tmp_path / "out"
    for counts in ("2 recognised, 1 failed; ", "0 recognised, 1 failed, 2 complete already"):
        ran = CliRunner().invoke(main, ["transcribe", "-j1", str(tmp_path / "list.scp"), "-o", str(output)])
        assert ran.exit_code == 1
        error, summary = ran.stderr.splitlines()
        assert error == f"Error: {other}: expected transcripts of its own, found those of {one}: u1"
        assert summary.startswith(f"3 files: {counts}")
        said = {path.name: path.read_text() for path in output.iterdir()}
        assert said == {"u1.txt": "two nine three four zero\n", "u2.txt": "five five\n"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["x.wav", "-m", "nowhere"], "nowhere"),
        (["x.wav", "y.wav", "-m", "nowhere"], "nowhere"),
        (["."], ".: expected a directory with audio files, found none in it"),
        (["x.wav", "-"], "-: expected standard input alone"),
        (["x.wav", ""], "expected files, URLs and directories, found an empty name"),
        (["x.wav", "y.wav", "-f", "srt"], "--format srt: expected --output"),
        (["x.wav", "-f", "srt", "-f", "txt"], "expected one format"),
        (["x.wav", "--json", "-o", "there"], "--json prints events"),
        (["x.wav", "--nbest", "0"], "--nbest"),
        (["x.wav", "y.wav", "--beam=-1"], "beam"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, ["transcribe", *arguments])
    assert ran.exit_code in (1, 2)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert text in last


def test_transcribe_as_json(golden: Path) -> None:
    path = str(golden / "wav" / f"{DIGITS}.wav")
    ran = CliRunner().invoke(main, ["transcribe", "--json", path])
    *partials, final, state = [json.loads(line) for line in ran.stdout.splitlines()]
    assert all(not each["result"]["final"] for each in partials)
    assert final["result"]["hypotheses"][0]["transcript"] == "two nine three four zero"
    assert "adaptation_state" in state


def test_options_of_the_model_can_be_set(golden: Path) -> None:
    path = str(golden / "wav" / f"{DIGITS}.wav")
    options = ["--model-option", "num-nbest=3", "--model-option=do_phone_alignment=true"]
    ran = CliRunner().invoke(main, ["transcribe", "--json", *options, path])
    results = [json.loads(line).get("result") for line in ran.stdout.splitlines()]
    (final,) = [result for result in results if result and result["final"]]
    assert len(final["hypotheses"]) == 3
    assert "phone-alignment" in final["hypotheses"][0]


def test_ctrl_c_ends_it_without_a_traceback(golden: Path) -> None:
    command = [sys.executable, "-m", "pykaldi_server", "transcribe", "-"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write((golden / "wav" / f"{DIGITS}.wav").read_bytes())
        process.stdin.flush()  # and no end of the recording
        assert process.stderr.readline().startswith(b"... ")
        process.send_signal(signal.SIGINT)
        assert b"Traceback" not in process.stderr.read()
        assert process.wait() == 128 + signal.SIGINT


WAITS = {
    "standard input": "next(_chunks(Path('-')))",
    "live audio": "next(iter(LiveAudio('a microphone')))",
    "processes": "while True: list(pool._messages())",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_ctrl_c_that_does_not_interrupt_a_wait(wait: str) -> None:
    """One that comes just before the wait, or in another thread as here, ends it all the same."""
    program = f"""
import signal, threading
from pathlib import Path
from pykaldi_server.batch.pool import RecognizerPool
from pykaldi_server.batch.recognizer import _chunks
from pykaldi_server.batch.tasks import RecognizerOptions
from pykaldi_server.client.live_audio import LiveAudio

threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})
pool = RecognizerPool(RecognizerOptions(model="none"), 1)
try:
    print("waits", flush=True)
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"interrupted\n"


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_that_is_not_utf8_shows_escapes(
    golden: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """File names in other scripts, and names that are not even valid UTF-8."""
    names = ["음성.wav", os.fsdecode(b"caf\xe9.wav")]
    for name in names:
        shutil.copy(golden / "wav" / f"{DIGITS}.wav", tmp_path / name)
    command = [sys.executable, "-m", "pykaldi_server", "transcribe", *names, "음성-2.wav"]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.split(b": ")[1] for line in lines] == [b"two nine three four zero"] * 2
    assert ran.returncode == 1
    (error,) = [line for line in ran.stderr.splitlines() if line.startswith(b"Error: ")]
    assert error.endswith(b": No such file or directory")


def test_each_channel_by_itself(golden: Path, models: Path, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(wav_of(*channels_of_call(golden)))
    model = ["--model", str(models / "english")]
    ran = CliRunner().invoke(main, ["transcribe", *model, "--channels", "split", str(path)])
    assert ran.stdout.splitlines() == [
        "Channel 2: go forward ten meters",
        "Channel 1: he was not an ill disposed young man",
    ]
    assert "... Channel 1: " in ran.stderr
    ran = CliRunner().invoke(main, ["transcribe", *model, "--channels=split", "--json", str(path)])
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {message["channel"] for message in messages} == {0, 1}
    ran = CliRunner().invoke(main, ["transcribe", *model, "--channels=right", str(path)])
    assert ran.stdout == "go forward ten meters\n"
