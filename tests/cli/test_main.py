"""The command line as a user meets it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from pykaldi_server.cli import main
from pykaldi_server.version import __version__

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def all_commands(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command, those of groups included."""
    result = []
    for name, command in group.commands.items():
        result.append((*words, name))
        if isinstance(command, click.Group):
            result += all_commands(command, (*words, name))
    return result


def imported_by(code: str) -> set[str]:
    """Names of the modules that a new interpreter has imported after running `code`."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True)
    return set(output.splitlines()[-1].split())


@pytest.mark.parametrize("words", all_commands(main), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(main, [*words, "--help"])
    assert ran.exit_code == 0
    assert "Usage:" in ran.output
    assert ran.output.isascii(), "a terminal may know nothing else"
    assert words[-1] in CliRunner().invoke(main, [*words[:-1], "-h"]).output


def test_all_commands_are_known() -> None:
    assert {words[0] for words in all_commands(main)} == {
        *(
            "client",
            "doctor",
            "listen",
            "master",
            "model",
            "ray",
            "requests",
            "serve",
            "states",
            "transcribe",
            "version",
        ),
        "worker",
    }


def test_help_imports_nothing_that_takes_long() -> None:
    modules = imported_by(
        "import pykaldi_server.cli as cli; cli.main(['serve', '-h'], standalone_mode=False)"
    )
    assert modules.isdisjoint({"numpy", "tornado", "av", "yaml", "rich", "pykaldi_server.session"})


def test_a_master_needs_no_recogniser() -> None:
    modules = imported_by("import pykaldi_server.serve.server")
    assert "tornado" in modules
    assert modules.isdisjoint({"numpy", "av", "pykaldi_server.kaldi", "pykaldi_server.session"})


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).output == f"{__version__}\n"


def test_module_runs() -> None:
    arguments = [sys.executable, "-m", "pykaldi_server", "version"]
    assert subprocess.check_output(arguments, cwd=REPOSITORY, text=True) == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["serve", "--port", "99999"], "port: expected 0 to 65535, found 99999"),
        (["serve", "--port", "http"], "expected a whole number, found 'http'"),
        (["serve", "--port", "8_888"], "expected a whole number, found '8_888'"),
        (["serve", "--sessions", "0"], "sessions: expected more than 0, found 0"),
        (["serve", "--drain-s", "nan"], "expected a number, found 'nan'"),
        (["serve", "a", "a"], "models: expected each model once, found a more than once"),
        (["serve", "--model-option", "beam"], "model option: expected NAME=VALUE, found 'beam'"),
        (["worker", "-u", "http://h:1"], "address: expected ws://h:1/worker/ws/speech, found 'http://h:1'"),
        (["worker", "-u", "h:1"], "address: expected ws://h:1/worker/ws/speech, found 'h:1'"),
        (["worker", "-u", "ws://h:1"], "address: expected ws://h:1/worker/ws/speech, found 'ws://h:1'"),
        (["client", "-u", "http://h:1", __file__], "address: expected ws://h:1/client/ws/speech, found"),
        (["client", "-u", "h:1", __file__], "address: expected ws://h:1/client/ws/speech, found 'h:1'"),
        (["client", "-u", "ws://h:1/", __file__], "address: expected ws://h:1/client/ws/speech, found"),
        (
            ["client", "-u", "ws://127.0.0.1:1/client/ws/speech", __file__],
            "ws://127.0.0.1:1/client/ws/speech: cannot connect: Connection refused",
        ),
        (["client", "--rate", "nan", __file__], "--rate: expected a finite number, found nan"),
        (["client", "--rate", "inf", __file__], "--rate: expected a finite number, found inf"),
        (["listen", "--device", "3", "-"], "--device: expected a microphone, found standard input"),
        (["states", "delete", "--days", "-1"], "--days: expected a finite number of at least 0, found -1"),
        (["states", "delete", "--days", "nan"], "--days: expected a finite number of at least 0, found nan"),
        (["client", "--save-adaptation-state", "/no/such/place", __file__], "/no/such/place"),
        (["client", "--send-adaptation-state", __file__, __file__], "expected an adaptation state as JSON"),
        (["master", "--certfile", "cert.pem"], "certfile, keyfile: expected both"),
        (["transcribe", "-m", "no-such-model", __file__], "no-such-model: there is no such model"),
        (["transcribe", "no-such-file.wav"], "no-such-file.wav: No such file or directory"),
        (["transcribe", "--model-option", "bean=1", __file__], "bean"),
        (["transcribe", "--model-option", "beam=wide", __file__], "expected a number, found 'wide'"),
        (["model", "info", "no-such-file"], "no-such-file"),
        (["model", "compile", "no-such-model"], "no-such-model: there is no such model"),
        (["model", "const-arpa", "no-such.arpa", "out"], "no-such.arpa: No such file or directory"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments: list[str], text: str) -> None:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code != 0
    assert isinstance(ran.exception, SystemExit)
    assert text in ran.output
    assert ran.output.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("before", [None, "{}"])
def test_a_client_that_fails_leaves_no_empty_state(tmp_path: Path, before: str | None) -> None:
    state = tmp_path / "state.json"
    if before is not None:
        state.write_text(before)
    arguments = ["client", "-u", "ws://127.0.0.1:1/client/ws/speech", "--save-adaptation-state", str(state)]
    assert CliRunner().invoke(main, [*arguments, __file__]).exit_code == 1
    assert (state.read_text() if state.exists() else None) == before


def test_a_broken_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "pykaldi_server", "model", "options"]
    try:
        ran = subprocess.run(command, cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert ran.stderr == b""
    assert ran.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("arguments", [["model", "options"], ["version"], ["--help"], ["serve", "--help"]])
def test_a_full_disk_is_an_error_of_one_line(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pykaldi_server", *arguments]
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"Error: output: No space left on device\n")


def ran_without(stream: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command one of whose streams is closed."""
    shell = ["sh", "-c", f'exec "$0" "$@" {stream}&-', sys.executable, "-m", "pykaldi_server"]
    return subprocess.run(
        [*shell, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )


def test_streams_that_are_closed(golden: Path, models: Path) -> None:
    """Input that is closed is empty, and output that is closed is no error."""
    one = str(golden / "wav" / "ps-tidigits-2934z.wav")
    command = ["transcribe", "-m", str(models / "english:graph-digits")]
    ran = ran_without("2>", *command, one)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "two nine three four zero\n", "")
    ran = ran_without("2>", *command, one, one + "-2")
    assert (ran.returncode, ran.stdout) == (1, f"{one}: two nine three four zero\n")
    ran = ran_without(">", *command, one)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "Traceback" not in ran.stderr
    for words in ([*command, "-"], ["listen", *command[1:], "-"]):
        ran = ran_without("<", *words)
        assert (ran.returncode, ran.stdout) == (0, "")
        assert "o words were recognised" in ran.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    script = subprocess.check_output(
        [sys.executable, "-c", "from pykaldi_server.cli import main; main(prog_name='pykaldi-server')"],
        cwd=REPOSITORY,
        env={**os.environ, "_PYKALDI_SERVER_COMPLETE": f"{shell}_source"},
        text=True,
    )
    assert f"{shell}_complete" in script


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("transcr", "transcribe"),
        ("transcribe --for", "--format"),
        ("transcribe --format c", "ctm csv"),
        ("model com", "compile"),
    ],
)
def test_completion_knows_what_comes_next(words: str, completed: str) -> None:
    *before, incomplete = words.split()
    completer = ShellComplete(main, {}, "pykaldi-server", "_PYKALDI_SERVER_COMPLETE")
    found = {item.value for item in completer.get_completions(before, incomplete)}
    assert set(completed.split()) <= found
