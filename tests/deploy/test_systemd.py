"""The units for systemd: valid, hardened, and of commands and options that there are."""

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pykaldi_server.cli import main
from pykaldi_server.protocols.supervision import EXIT_MODEL, EXIT_RECYCLE

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
NAMES = ("pykaldi-server.service", "pykaldi-server-master.service", "pykaldi-server-worker@.service")
PROGRAM = "/opt/pykaldi-server/bin/pykaldi-server"
SETTINGS = "/etc/pykaldi-server/server.yaml"
LAST_WORDS_S = 10
"""How long at least a process may take for its end after its requests have had the time of ``--drain-s``."""
MOST_EXPOSED = 20
"""systemd's measure of exposure, times ten: 0 is safe, 100 is a service that may do all."""


def service_of(name: str) -> dict[str, str]:
    """The section of a unit that says how it runs."""
    unit = configparser.ConfigParser(strict=True, interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNITS / name)
    return dict(unit["Service"])


def parameters_of(service: dict[str, str], config: Path) -> dict[str, Any]:
    """What the command makes of the command line of a unit."""
    program, name, *arguments = shlex.split(service["ExecStart"])
    assert program == PROGRAM
    command = main.commands[name]
    given = [str(config) if each == SETTINGS else each for each in arguments if each != "$OPTIONS"]
    with command.make_context(name, given, parent=click.Context(main, **main.context_settings)) as context:
        return context.params


@pytest.fixture(scope="module")
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze (Debian: apt-get install systemd)")
    return program


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are where the program is installed at the place that they name."""
    program = Path(sys.executable).with_name("pykaldi-server")
    for name in NAMES:
        (tmp_path / name).write_text((UNITS / name).read_text().replace(PROGRAM, str(program)))
    return tmp_path


def test_all_units_are_tested() -> None:
    assert sorted(NAMES) == sorted(path.name for path in UNITS.iterdir())


def test_systemd_finds_no_fault(analyze: str, installed: Path) -> None:
    command = [
        analyze,
        "verify",
        "--man=no",
        "--recursive-errors=no",
        *(str(installed / name) for name in NAMES),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_service_could_do_little(analyze: str, installed: Path, name: str) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}"]
    ran = subprocess.run([*command, str(installed / name)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", NAMES)
def test_there_is_time_for_the_requests_to_end(name: str, tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text("serve: {sessions: 2}\n")
    service = service_of(name)
    parameters = parameters_of(service, config)
    assert float(service["TimeoutStopSec"]) >= parameters["drain_s"] + LAST_WORDS_S
    assert service["KillMode"] == "mixed"
    assert service["Type"] == "notify"


@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_are_those_that_systemd_hands_over(name: str, tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text("")
    service = service_of(name)
    parameters = parameters_of(service, config)
    credential = service["LoadCredential"].partition(":")[0]
    option = "token_file" if "worker" in name else "tokens"
    assert str(parameters[option]) == f"${{CREDENTIALS_DIRECTORY}}/{credential}"


def test_exit_codes_mean_what_the_worker_means() -> None:
    service = service_of("pykaldi-server-worker@.service")
    assert service["Restart"] == "always"
    assert service["SuccessExitStatus"] == str(EXIT_RECYCLE)
    usage = click.UsageError.exit_code
    assert service["RestartPreventExitStatus"] == f"{usage} {EXIT_MODEL}"


def test_a_worker_that_the_kernel_kills_does_not_end_the_others() -> None:
    assert service_of("pykaldi-server.service")["OOMPolicy"] == "continue"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_has_a_place(name: str) -> None:
    """The units name the folders that the program looks for: nothing is kept in a home that there is not."""
    service = service_of(name)
    variables = dict(each.split("=", 1) for each in service["Environment"].split())
    assert variables["XDG_DATA_HOME"] == f"%S/{service['StateDirectory']}"
    assert variables["XDG_CACHE_HOME"] == f"%C/{service['CacheDirectory']}"
    assert service["WorkingDirectory"] == f"%S/{service['StateDirectory']}"
