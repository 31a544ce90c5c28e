"""`serve` with and without tokens, as a user runs it: who may register as a worker, and who may speak."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from serve_process import ENGLISH, running_serve
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pykaldi_server.cli.main import main
from pykaldi_server.protocols.credentials import TOKEN_VARIABLE

TOKEN = "client-token-0123456789"
WORKERS = "worker-token-0123456789"


@pytest.mark.parametrize("has_tokens", [False, True])
def test_nobody_becomes_a_worker_of_serve(tmp_path: Path, golden: Path, has_tokens: bool) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"clients: {{anna: {TOKEN}}}\nworkers: {{w: {WORKERS}}}\n")
    tokens.chmod(0o600)
    arguments = ("--tokens", str(tokens)) if has_tokens else ()
    with running_serve(tmp_path, ENGLISH, *arguments) as server:
        assert ("Authorization: Bearer TOKEN" in server.line()) == has_tokens
        (worker,) = server.children()
        environment = Path(f"/proc/{worker}/environ").read_bytes().decode().split("\0")
        (own,) = (each.partition("=")[2] for each in environment if each.startswith(TOKEN_VARIABLE))
        assert len(own) > 40
        assert own.encode() not in Path(f"/proc/{worker}/cmdline").read_bytes()

        address = server.url.replace("http", "ws")
        for token, is_right in ((None, False), (TOKEN, False), (WORKERS, has_tokens), (own, True)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            url = f"{address}/worker/ws/speech?model=other"
            if is_right:
                with connect(url, additional_headers=headers):
                    continue
            with (
                pytest.raises(InvalidStatus, match=r"HTTP 40[13]"),
                connect(url, additional_headers=headers),
            ):
                pass

        recording = str(golden / "wav" / "ps-tidigits-2934z.wav")
        command = ["client", "-r", "0", "-u", f"{address}/client/ws/speech", recording]
        ran = CliRunner().invoke(main, [*command, "--token", TOKEN])
        assert ran.stdout == "two nine three four zero\n"
        ran = CliRunner().invoke(main, command, env={TOKEN_VARIABLE: "wrong-token-0123456789"})
        if has_tokens:
            assert ran.exit_code == 1
            text = "refused with code 401: expected the token of a client, found an unknown token"
            assert f"{address}/client/ws/speech: {text}; see --token and --token-file" in ran.output
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{server.url}/metrics")
        else:
            assert ran.stdout == "two nine three four zero\n"
        with urllib.request.urlopen(f"{server.url}/readyz") as answer:
            assert (json.load(answer) == {"ready": True}) == has_tokens
