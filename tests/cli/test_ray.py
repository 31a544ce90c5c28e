"""`pykaldi-server ray`, as far as no cluster is needed."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykaldi_server.cli import main
from pykaldi_server.cli.ray import for_other_machines
from pykaldi_server.protocols.credentials import TOKEN_VARIABLE
from pykaldi_server.worker.options import WorkerOptions

MODEL = "models/english:graph-digits"


def failure_of(*arguments: str) -> str:
    """What the command says, which must be one error."""
    result = CliRunner().invoke(main, ["ray", "--conf", MODEL, *arguments])
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    return result.output.splitlines()[-1]


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert failure_of() == "Error: ray: this command needs Ray: pip install 'pykaldi-server[ray]'"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--max-workers", "0"), "max_workers: expected at least min_workers, 1, found 0"),
        (("--sessions", "0"), "sessions: expected more than 0, found 0"),
        (("--health-port", "9000"), "expected --health-port 0, which picks a port for each of several"),
        (("--uri", "ws://host/somewhere"), "url: expected an address that ends with /worker/ws/speech"),
        (("--status-token-file", "/nowhere"), "token-file /nowhere: No such file or directory"),
    ],
)
def test_options_are_checked_before_ray_is_started(
    arguments: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert text in failure_of(*arguments)


def test_options_reach_other_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN_VARIABLE, "token-of-the-environment")
    options = for_other_machines(WorkerOptions(cafile=Path("ca.pem"), out_dir=Path("/out")))
    assert options.cafile == tmp_path / "ca.pem"
    assert options.out_dir == Path("/out")
    assert options.token == "token-of-the-environment"
    options = for_other_machines(WorkerOptions(token_file=Path("token")))
    assert (options.token, options.token_file) == ("", tmp_path / "token")
