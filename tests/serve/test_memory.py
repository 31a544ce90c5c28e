"""How the processes of a server use memory."""

from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from processes import thread_arenas
from serve_process import ENGLISH, PATIENCE_S, running_serve

from pykaldi_server.cli.worker import CORES_PER_ARENA
from pykaldi_server.cores import num_cores


def test_threads_share_arenas(tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that recognise, load models or call the database would otherwise have one each, and keep it."""
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    wav = (golden / "wav" / "ps-tidigits-2934z.wav").read_bytes()
    with running_serve(tmp_path, ENGLISH, "--states", f"sqlite:///{tmp_path}/states.db") as serve:
        request = Request(f"{serve.url}/client/dynamic/recognize", wav, method="PUT")
        with urlopen(request, timeout=PATIENCE_S) as answer:
            assert b"two nine three four zero" in answer.read()
        (worker,) = serve.children()
        assert thread_arenas(serve.process.pid) == 0
        assert thread_arenas(worker) <= max(1, num_cores() // CORES_PER_ARENA) - 1
