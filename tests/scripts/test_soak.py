"""`scripts/bench/soak.py`, for half a minute with a few faults."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "soak.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_clients_get_their_words_or_are_told_while_things_go_wrong() -> None:
    pytest.importorskip("psutil", reason="needs the package psutil")
    command = [sys.executable, str(SOAK), "--minutes", "0.5", "--fault-s", "8", "--clients", "3"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[-1] == "0 failures"
    name, streams, words, _, _ = next(line.split() for line in lines if line.startswith("all "))
    assert name == "all"
    assert int(streams) >= int(words) > 0
    assert any(line.startswith("kill -9 of a worker") for line in lines)
