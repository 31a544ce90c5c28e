"""`pykaldi-server transcribe --scheduler`: killed and taken up again, and what it refuses."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from bulk_runs import DIGITS, SAID, descendants, make_recordings
from click.testing import CliRunner
from processes import Watched

from pykaldi_server.batch import Ledger, State
from pykaldi_server.cli import main

PATIENCE_S = 200.0


def command(models: Path, *arguments: str | Path) -> list[str]:
    model = ["--model", f"{models}/english:graph-digits"]
    program = [sys.executable, "-m", "pykaldi_server", "transcribe", *model, "--scheduler", "local", "-j2"]
    return [*program, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run_until(arguments: list[str], directory: Path, num: int, seed: int | None = None) -> None:
    """Runs the command until there are so many transcripts, and kills it; waits for all its processes.

    Args:
        arguments: the command.
        directory: where transcripts appear.
        num: how many.
        seed: until then, processes of the cluster are chosen by this and killed, one for ten transcripts.
    """
    chosen = random.Random(seed)
    next_kill = 5
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL) as process:
        deadline_s = time.monotonic() + PATIENCE_S
        while (found := len(list(directory.glob("*.txt")))) < num:
            assert time.monotonic() < deadline_s
            if process.poll() is not None:
                break
            if seed is not None and found >= next_kill and (victims := descendants(process.pid)):
                next_kill = found + 10
                with suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(chosen.choice(victims), signal.SIGKILL)
            time.sleep(0.02)
        watched = [Watched(pid) for pid in descendants(process.pid)]
        process.kill()
    for each in watched:
        each.wait()


def check_all_done(out: Path, num: int) -> None:
    assert {path.read_text() for path in out.glob("*.txt")} == {SAID}
    assert len(list(out.glob("*.txt"))) == num
    assert len(list(out.iterdir())) == num + 2, "nothing else but the ledger and its lock"
    with Ledger(out) as ledger:
        assert ledger.count() == {State.RECOGNISED: num}


def test_a_client_that_is_killed(golden: Path, models: Path, tmp_path: Path) -> None:
    """Its workers end as well; the next run does what is left."""
    make_recordings(tmp_path / "in", golden, 4)
    endless = tmp_path / "in" / "003.wav"
    endless.unlink()
    os.mkfifo(endless)
    out = tmp_path / "out"
    arguments = command(models, tmp_path / "in", "-o", out)
    run_until(arguments, out, 3)
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.txt")}
    endless.unlink()
    endless.symlink_to(golden / "wav" / f"{DIGITS}.wav")
    ran = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True)
    assert "dashboard: http://127.0.0.1:" in ran.stderr
    assert "4 files: 1 recognised, 3 complete already" in ran.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == written
    check_all_done(out, 4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_500_recordings_while_everybody_is_killed(golden: Path, models: Path, tmp_path: Path) -> None:
    """Workers, recognisers and three times the client; each transcript is written once, and the right one."""
    paths = make_recordings(tmp_path / "in", golden, 500)
    manifest = tmp_path / "list.scp"
    manifest.write_text("".join(f"{path.stem} {path}\n" for path in paths))
    out = tmp_path / "out"
    arguments = command(models, manifest, "-o", out, "--retries", "5")
    written: dict[Path, int] = {}
    for seed, num in enumerate((120, 250, 380, 501)):
        run_until(arguments, out, num, seed)
        now = {path: path.stat().st_mtime_ns for path in out.glob("*.txt")}
        assert {path: now[path] for path in written} == written
        written = now
    ran = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    check_all_done(out, 500)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--scheduler", "local"], "--scheduler: expected --output"),
        (["--retry-failed"], "expected --scheduler as well"),
        (["--scheduler", "local", "-o", "out", "-"], "found standard input"),
        (["--scheduler", "nowhere", "-o", "out"], "found 'nowhere'"),
        (["--scheduler", "slurm", "-o", "out", "--cluster-option", "cores"], "expected NAME=VALUE"),
    ],
)
def test_what_is_refused(
    arguments: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, ["transcribe", "a.wav", *arguments])
    assert ran.exit_code in (1, 2)
    assert error in ran.stderr.splitlines()[-1]


def test_without_dask_a_line_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['distributed'] = None; from pykaldi_server.cli import main; main()"
    arguments = ["transcribe", "a.wav", "--scheduler", "local", "-o", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr == "Error: --scheduler needs Dask: pip install 'pykaldi-server[batch]'\n"
