"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykaldi_server.cli import main
from pykaldi_server.version import __version__

REPOSITORY = Path(__file__).resolve().parent.parent.parent
COMMANDS = ("client", "doctor", "master", "serve", "transcribe", "version", "worker")


def imported_by(code: str) -> set[str]:
    """Names of the modules that a new interpreter has imported after running `code`."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True)
    return set(output.splitlines()[-1].split())


def test_help_is_there_at_once() -> None:
    modules = imported_by(
        "import pykaldi_server.cli as cli; cli.main(['serve', '-h'], standalone_mode=False)"
    )
    assert modules.isdisjoint({"numpy", "tornado", "av", "pykaldi_server.session"})


def test_a_master_needs_no_recogniser() -> None:
    modules = imported_by("import pykaldi_server.serve.server")
    assert "tornado" in modules
    assert modules.isdisjoint({"numpy", "av", "pykaldi_server.kaldi", "pykaldi_server.session"})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    ran = CliRunner().invoke(main, [command, "--help"])
    assert ran.exit_code == 0
    assert "Usage:" in ran.output
    assert command in CliRunner().invoke(main, ["--help"]).output


def test_defaults_and_help_come_from_the_options() -> None:
    output = CliRunner().invoke(main, ["serve", "--help"]).output
    assert "Requests that each worker process serves at once." in " ".join(output.split())
    assert "[default: 8888]" in output


def test_version() -> None:
    assert CliRunner().invoke(main, ["version"]).output == f"{__version__}\n"


def test_module_runs() -> None:
    arguments = [sys.executable, "-m", "pykaldi_server", "version"]
    assert subprocess.check_output(arguments, cwd=REPOSITORY, text=True) == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["serve", "--port", "99999"], "port: expected 0 to 65535, found 99999"),
        (["serve", "--sessions", "0"], "sessions: expected more than 0, found 0"),
        (["serve", "a", "a"], "models: expected each once"),
        (["worker", "-u", "http://localhost:1"], "url: expected ws://"),
        (["master", "--certfile", "cert.pem"], "certfile, keyfile: expected both"),
        (["client", "-u", "ws://127.0.0.1:1/client/ws/speech", __file__], "refused"),
        (["transcribe", "-m", "no-such-model", __file__], "no-such-model"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments: list[str], text: str) -> None:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code != 0
    assert isinstance(ran.exception, SystemExit)
    assert text in ran.output


def test_doctor_tells_what_is_wrong() -> None:
    ran = CliRunner().invoke(main, ["doctor", "no-such-model"])
    assert ran.exit_code == 1
    lines = ran.output.splitlines()
    assert any(line.startswith("ok    numpy") for line in lines)
    assert any(line.startswith("ok    C++ extension") for line in lines)
    assert any("PyKaldi" in line and "placeholder" in line for line in lines)
    assert any(line.startswith("ERROR model") and "no-such-model" in line for line in lines)


def test_transcribe_prints_what_kaldi_recognises(golden: Path) -> None:
    one, other = (str(golden / "wav" / f"{name}.wav") for name in ("ps-tidigits-2934z", "ps-cards-004"))
    ran = CliRunner().invoke(main, ["transcribe", one])
    assert ran.exit_code == 0
    assert ran.stdout == "two nine three four zero\n"
    assert ran.stderr.count("... ") > 2
    ran = CliRunner().invoke(main, ["transcribe", one, other])
    assert ran.stdout == f"{one}: two nine three four zero\n{other}: five five\n"


def test_transcribe_as_json(golden: Path) -> None:
    path = str(golden / "wav" / "ps-tidigits-2934z.wav")
    ran = CliRunner().invoke(main, ["transcribe", "--json", path])
    *partials, final, state = [json.loads(line) for line in ran.stdout.splitlines()]
    assert all(not each["result"]["final"] for each in partials)
    assert final["result"]["hypotheses"][0]["transcript"] == "two nine three four zero"
    assert "adaptation_state" in state


def test_model_info(models: Path) -> None:
    ran = CliRunner().invoke(main, ["model", "info", str(models / "english" / "ivector" / "final.mat")])
    assert ran.exit_code == 0
    assert ran.output.split() == [
        "kind",
        "matrix",
        "shape",
        "40",
        "x",
        "281",
        "values",
        "-0.023861",
        "to",
        "0.0453046",
    ]


ARPA = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99 <s> -0.3
-0.6 </s>
-0.5 one -0.2
-0.7 two -0.1

\\2-grams:
-0.2 <s> one
-0.4 one two

\\end\\
"""


def test_model_const_arpa(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(ARPA)
    (tmp_path / "words.txt").write_text("<eps> 0\none 1\ntwo 2\n<s> 3\n</s> 4\n")
    arguments = ["model", "const-arpa", str(tmp_path / "lm.arpa"), str(tmp_path / "G.carpa")]
    ran = CliRunner().invoke(main, [*arguments, "--words", str(tmp_path / "words.txt")])
    assert ran.exit_code == 0, ran.output
    assert "0 n-grams have words that the table does not have" in ran.output.replace("\n", "")
    assert (tmp_path / "G.carpa").stat().st_size > 100
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 1
    assert "expected an integer for <s>" in ran.output
