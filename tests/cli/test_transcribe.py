"""`pykaldi-server transcribe`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from two_speakers import channels_of_call, wav_of

from pykaldi_server.cli import main

DIGITS = "ps-tidigits-2934z"


def test_transcribe_prints_what_kaldi_recognises(golden: Path) -> None:
    one, other = (str(golden / "wav" / f"{name}.wav") for name in (DIGITS, "ps-cards-004"))
    ran = CliRunner().invoke(main, ["transcribe", one])
    assert ran.exit_code == 0
    assert ran.stdout == "two nine three four zero\n"
    assert ran.stderr.count("... ") > 2
    ran = CliRunner().invoke(main, ["transcribe", one, other])
    assert ran.stdout == f"{one}: two nine three four zero\n{other}: five five\n"


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
    assert ran.stderr.splitlines()[-1].endswith(b": No such file or directory")


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
