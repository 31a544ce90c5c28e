"""`scripts/bench/load.py`, with few clients and for some seconds: what it prints, not how fast that was."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "load.py"
ROW = re.compile(
    r" +(?P<clients>\d+) +(?P<live>[\d.]+) +\d+  (?P<refused>.{16}) +(?P<errors>\d+) +(?P<other>\d+) "
)


def tables(output: str) -> dict[str, list[re.Match[str]]]:
    """The lines of each table by its title."""
    found = {}
    for part in output.split("\n\n")[1:]:
        title, *lines = part.splitlines()
        found[title] = [row for line in lines if (row := ROW.match(line))]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_clients_of_all_protocols_are_measured_and_the_surplus_is_refused() -> None:
    for package in ("psutil", "vosk", "websockets"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    command = [sys.executable, str(LOAD), "--quick", "--protocols", "all"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    ours, limited, theirs = list(tables(ran.stdout).values())[:3]
    assert [int(row["clients"]) for row in ours] == [int(row["clients"]) for row in theirs] == [1, 2]
    assert [int(row["clients"]) for row in limited] == [2, 4, 6]
    for row in (*ours, *limited):
        assert int(row["errors"]) == int(row["other"]) == 0, row[0]
        assert float(row["live"]) > 0, row[0]
    assert all(row["refused"].strip() == "-" for row in (*ours, *theirs))
    *_, most = limited
    assert re.fullmatch(r"9: [1-9]\d*", most["refused"].strip())
    assert "streams per core" in ran.stdout.splitlines()[-1]
