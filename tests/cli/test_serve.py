"""`pykaldi-server serve` and `master`: processes with options from the command line and from files."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pykaldi_server.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DIGITS = "ps-tidigits-2934z"


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """Runs `serve` until it announces that it is ready, and yields its address."""
    command: list[str | Path] = [sys.executable, "-m", "pykaldi_server", "serve", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield next(line.split()[-1] for line in server.stdout if line.startswith("Serving on "))
        finally:
            server.send_signal(signal.SIGTERM)
            server.stdout.read()
        assert server.wait() == 0


def failing(*arguments: str) -> str:
    """What a command that cannot start says in its only line of error."""
    command = [sys.executable, "-m", "pykaldi_server", *arguments]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    assert "Errno" not in line
    return line


def recognize(url: str, recording: Path) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}client/dynamic/recognize", recording.read_bytes(), method="PUT")
    with urllib.request.urlopen(request) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def test_options_of_workers_come_from_the_file_and_its_paths_are_relative_to_it(
    models: Path, golden: Path, tmp_path: Path
) -> None:
    (tmp_path / "my-models").symlink_to(models)
    config = tmp_path / "server.yaml"
    config.write_text(
        "serve: {models: [digits=my-models/english:graph-digits], sessions: 1}\n"
        f"master: {{port: 0, references: {tmp_path}/corrections.jsonl}}\n"
        "worker: {model-options: [num-nbest=2]}\n"
    )
    with serving("--config", config) as url:
        address = f"ws{url.removeprefix('http')}client/ws/speech?model=digits"
        recording = str(golden / "wav" / f"{DIGITS}.wav")
        ran = CliRunner().invoke(main, ["client", "--json", "-r", "0", "-u", address, recording])
    results = [json.loads(line).get("result") for line in ran.stdout.splitlines()]
    (final,) = [result for result in results if result and result["final"]]
    assert len(final["hypotheses"]) == 2
    assert final["hypotheses"][0]["transcript"] == "two nine three four zero"


def test_ipv6(models: Path, golden: Path) -> None:
    if not has_ipv6():
        pytest.skip("needs IPv6")
    with serving("--host", "::1", "--port", "0", models / "english-gmm") as url:
        assert url.startswith("http://[::1]:")
        answer = recognize(url, golden / "wav" / f"{DIGITS}.wav")
        assert answer["hypotheses"][0]["utterance"] == "two nine three four zero"
        address = f"ws{url.removeprefix('http')}client/ws/speech"
        recording = str(golden / "wav" / f"{DIGITS}.wav")
        ran = CliRunner().invoke(main, ["client", "-r", "0", "-u", address, recording])
    assert ran.stdout == "two nine three four zero\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["master", "--open", "--certfile", "no.pem", "--keyfile", "no.key"], "no.pem"),
        (
            ["master", "--open", "--host", "192.0.2.1", "--port", "8123"],
            "cannot listen on 192.0.2.1, port 8123: ",
        ),
        (
            ["master", "--open", "--port", "0", "--references", "/no/such/file"],
            "/no/such/file cannot be written",
        ),
        (["serve", "--port", "0", "--references", "/no/such/file"], "/no/such/file cannot be written"),
        (["master", "--port", "0"], "--tokens FILE names who may use the server, --open lets anybody use it"),
        (["serve", "--port", "0", "--host", "0.0.0.0"], "host: other machines can reach 0.0.0.0, and there"),
    ],
)
def test_what_keeps_a_master_from_starting_is_named(arguments: list[str], text: str) -> None:
    assert text in failing(*arguments)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = failing("master", "--host", "127.0.0.1", "--port", port)
    assert line == f"Error: cannot listen on 127.0.0.1, port {port}: Address already in use"
