"""Jobs of batch systems, whose commands are replaced here: refused, queued, ended at once or in mid-run."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bulk_runs import SAID, descendants, has_open, make_recordings, texts
from dask_processes import environment, until_equal
from processes import PATIENCE_S

from pykaldi_server.batch import Ledger, State, connected, jobs
from pykaldi_server.batch.clusters import BATCH_SYSTEMS
from pykaldi_server.batch.jobs import ClientOfJobs
from pykaldi_server.errors import BatchError

COMMANDS = {
    "slurm": ("sbatch", "squeue", "scancel"),
    "sge": ("qsub", "qstat", "qdel"),
    "pbs": ("qsub", "qstat", "qdel"),
    "htcondor": ("condor_submit", "condor_q", "condor_rm"),
}
SUBMITTED = {
    "slurm": "Submitted batch job $number",
    "sge": 'Your job $number ("dask-worker") has been submitted',
    "pbs": "$number.host1",
    "htcondor": "Submitting job(s).\n1 job(s) submitted to cluster $number.",
}
LISTED = {
    "slurm": "$number",
    "sge": "      $number 0.5 dask-worker me r 11/28/2026 01:00:00 all.q@host1 1",
    "pbs": "$number.host1 me batch dask-worker 1 1 1 4gb 08:00 R 00:01",
    "htcondor": "$number",
}
HEADER = {"sge": "job-ID  prior   name\n-----------------------\n", "pbs": "host1:\n\nJob ID  Username\n"}
OPTIONS = {
    "cores": "1",
    "processes": "1",
    "memory": "2GB",
    "interface": "lo",
    "scheduler-options": '{"dashboard_address": "127.0.0.1:0"}',  # others may use the usual port
}

# A file in `listed` for each job that has not ended, with its process if it runs. Other files, if they are
# there: jobs run with `runs`, end at once with `deadly`, and are refused with what `refusal` says.
SUBMIT = r"""#!/bin/sh
cd "{folder}" || exit 2
if said=$(cat refusal 2>/dev/null); then echo "$said" >&2; exit 7; fi
number=$(($(cat count) + 1))
echo $number >count
if [ -e runs ]; then
    cp "$1" script-$number
    echo >listed/$number
    echo "echo \$\$ >listed/$number; sh script-$number; rm -f listed/$number" >run-$number
    setsid sh run-$number >output-$number 2>&1 </dev/null &
elif [ ! -e deadly ]; then
    echo >listed/$number
fi
cat <<END
{submitted}
END
"""
LIST = """\
#!/bin/sh
cd "{folder}" || exit 2
printf '{header}'
for number in $(ls listed); do
    cat <<END
{listed}
END
done
"""
CANCEL = """\
#!/bin/sh
cd "{folder}" || exit 2
pid=$(cat listed/$1) || exit 1
rm listed/$1
if [ "$pid" ]; then kill -9 -$pid; fi
"""


class BatchSystem:
    """Commands of a batch system.

    Args:
        folder: for them and what they keep.
        system: which one.
    """

    def __init__(self, folder: Path, system: str) -> None:
        self.system = system
        self.folder = folder
        self.programs = folder / "bin"
        (folder / "listed").mkdir(parents=True)
        (folder / "count").write_text("0")
        self.programs.mkdir()
        values = {
            "folder": str(folder),
            "submitted": SUBMITTED[system],
            "listed": LISTED[system],
            "header": HEADER.get(system, "").replace("\n", "\\n"),
        }
        for name, text in zip(COMMANDS[system], (SUBMIT, LIST, CANCEL), strict=True):
            for key, value in values.items():
                text = text.replace("{" + key + "}", value)
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    @property
    def path(self) -> str:
        """The search path for programs, with these first."""
        return f"{self.programs}{os.pathsep}{os.environ['PATH']}"

    @property
    def num_submitted(self) -> int:
        """How many jobs have been taken."""
        return int((self.folder / "count").read_text())

    @property
    def listed(self) -> list[str]:
        """The jobs that have not ended."""
        return sorted(os.listdir(self.folder / "listed"))

    def set(self, name: str, text: str = "") -> None:
        """Makes a file that changes what happens, see `SUBMIT`."""
        (self.folder / name).write_text(text)

    def num_readers(self, number: str, path: Path) -> int:
        """How many processes of a job, which runs, have opened a file."""
        job = self.folder / "listed" / number
        pid = job.read_text().strip() if job.exists() else ""
        return sum(has_open(each, path) for each in descendants(int(pid))) if pid else 0

    def cancel(self, number: str) -> None:
        """Ends a job from outside."""
        subprocess.run([self.programs / COMMANDS[self.system][2], number], check=True)


@pytest.fixture(params=BATCH_SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchSystem:
    """A batch system in which jobs wait for ever; nothing takes long."""
    system = BatchSystem(tmp_path / "system", request.param)
    monkeypatch.setenv("PATH", system.path)
    monkeypatch.setattr(jobs, "_LOOKS_EVERY_S", 0.01)
    monkeypatch.setattr(jobs, "_QUEUED_S", 0.01)
    monkeypatch.setattr(jobs, "_SUBMITTED_AGAIN_S", 0.01)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return system


def remains(scratch: Path) -> list[str]:
    """What is left in the directory for temporary files, other than what Dask keeps there for its workers."""
    return [each.name for each in scratch.iterdir() if each.name != "dask-scratch-space"]


def options(system: BatchSystem) -> dict[str, str]:
    return OPTIONS | ({"disk": "1GB"} if system.system == "htcondor" else {})


def until(client: object, is_over: Callable[[list[str]], bool]) -> list[str]:
    """Looks after jobs until lines are what is expected; returns them."""
    assert isinstance(client, ClientOfJobs)
    lines: list[str] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_over(lines):
        assert time.monotonic() < deadline_s, lines
        client.jobs.check(lines.append)
        time.sleep(0.01)
    return lines


def test_jobs_that_are_refused(system: BatchSystem, tmp_path: Path) -> None:
    """The command, its status, and all it says, in one line; nothing stays."""
    system.set("refusal", "error: no such queue\nerror: job not submitted\n")
    submit = COMMANDS[system.system][0]
    expected = f"^{submit}: exit status 7: error: no such queue error: job not submitted$"
    with pytest.raises(BatchError, match=expected), connected(system.system, 2, options(system)):
        pass
    assert remains(tmp_path / "scratch") == []


def test_a_batch_system_that_is_not_there(system: BatchSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(system.folder))
    expected = f"^{COMMANDS[system.system][0]}: No such file or directory$"
    with pytest.raises(BatchError, match=expected), connected(system.system, 1, options(system)):
        pass


def test_jobs_that_end_at_once(system: BatchSystem) -> None:
    """Each is replaced some times; then the run ends, with a line that says so."""
    system.set("deadly")
    lines: list[str] = []

    def collect(found: list[str]) -> bool:
        lines[:] = found
        return False

    expected = "job [56] has ended before it had a worker, as those before it; its output may say why"
    with (
        pytest.raises(BatchError, match=f"{system.system}: {expected}"),
        connected(system.system, 2, options(system)) as client,
    ):
        until(client, collect)
    assert system.num_submitted == 6
    for number in range(1, 5):
        text = f"{system.system}: job {number} has ended before it had a worker; its output may say why"
        assert lines.count(text) == 1


def test_jobs_that_do_not_start(system: BatchSystem, tmp_path: Path) -> None:
    """Lines say so while they are waited for; they are cancelled at the end."""
    expected = f"{system.system}: waiting for jobs 1, 2 to start"
    with connected(system.system, 2, options(system)) as client:
        lines = until(client, lambda lines: lines.count(expected) == 2)
        assert system.listed == ["1", "2"]
    assert lines[:2] == [f"{system.system}: job {number} is submitted" for number in (1, 2)]
    assert set(lines[2:]) == {expected}
    assert (system.listed, system.num_submitted) == ([], 2)
    assert remains(tmp_path / "scratch") == []


@pytest.mark.parametrize("system", ["slurm"], indirect=True)
def test_jobs_that_are_refused_later(system: BatchSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a job ends while the batch system is away: that is said once, and the job submitted later."""
    monkeypatch.setattr(jobs, "_QUEUED_S", PATIENCE_S)
    with connected(system.system, 1, options(system)) as client:
        until(client, lambda lines: bool(lines))
        system.set("refusal", "error: away")
        system.cancel("1")
        ended = "slurm: job 1 has ended before it had a worker; its output may say why"
        refused = "sbatch: exit status 7: error: away; trying again every 0 s"
        assert until(client, lambda lines: refused in lines) == [ended, refused]
        (system.folder / "refusal").unlink()
        assert until(client, lambda lines: bool(lines)) == ["slurm: job 2 is submitted"]


@pytest.mark.parametrize("system", ["slurm"], indirect=True)
def test_what_cannot_be_listed_is_not_taken_for_ended(system: BatchSystem) -> None:
    (system.programs / "squeue").write_text("#!/bin/sh\necho busy >&2; exit 1\n")
    waiting = "slurm: waiting for job 1 to start"
    with connected(system.system, 1, options(system)) as client:
        lines = until(client, lambda lines: lines.count(waiting) == 3)
    lines = [each for each in lines if each != waiting]
    command = f"squeue --noheader --format=%A --user={os.environ.get('USER', 'root')}"
    assert lines[0] == "slurm: job 1 is submitted"
    assert lines[1].startswith(command.rpartition("=")[0])
    assert lines[1].endswith(": exit status 1: busy; it is not known which jobs have ended")
    assert (len(lines), system.num_submitted) == (2, 1)


@pytest.mark.parametrize("system", ["slurm"], indirect=True)
def test_others_ask_the_batch_system_too(system: BatchSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longer jobs wait, the more rarely it is asked for them."""
    for name in ("_LISTED_AFTER", "_LISTED_EVERY_S"):
        monkeypatch.setattr(jobs, name, 1e9)
    asked = system.folder / "asked"
    (system.programs / "squeue").write_text(f"#!/bin/sh\necho >>{asked}\necho 1\n")
    waiting = "slurm: waiting for job 1 to start"
    with connected(system.system, 1, options(system)) as client:
        until(client, lambda lines: lines.count(waiting) == 3)
    assert asked.read_text() == "\n"


def command(models: Path, *arguments: str | Path) -> list[str]:
    program = [sys.executable, "-m", "pykaldi_server", "transcribe", "-m", f"{models}/english:graph-digits"]
    given = [each for name, value in OPTIONS.items() for each in ("--cluster-option", f"{name}={value}")]
    return [*program, "--scheduler", "slurm", *given, *map(str, arguments)]


def test_a_command_whose_job_is_refused(models: Path, golden: Path, tmp_path: Path) -> None:
    """One line and status 1; the next run finds a directory that it can use."""
    system = BatchSystem(tmp_path / "system", "slurm")
    system.set("refusal", "sbatch: error: invalid partition specified: nosuch\n")
    make_recordings(tmp_path / "in", golden, 1)
    arguments = command(models, tmp_path / "in", "-o", tmp_path / "out")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    variables = environment(PATH=system.path, TMPDIR=str(scratch))
    ran = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False)
    expected = "sbatch: exit status 7: sbatch: error: invalid partition specified: nosuch"
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (1, f"Error: {expected}")
    assert "Traceback" not in ran.stderr
    assert remains(scratch) == []
    with Ledger(tmp_path / "out") as ledger:
        assert ledger.count() == {}


def test_ctrl_c(models: Path, golden: Path, tmp_path: Path) -> None:
    """The command ends as any that is interrupted, and cancels its jobs."""
    system = BatchSystem(tmp_path / "system", "slurm")
    make_recordings(tmp_path / "in", golden, 1)
    arguments = command(models, tmp_path / "in", "-o", tmp_path / "out", "-j", "2")
    variables = environment(PATH=system.path)
    with subprocess.Popen(arguments, env=variables, stderr=subprocess.PIPE, text=True) as client:
        assert client.stderr is not None
        while client.stderr.readline() != "waiting for workers: the cluster has none yet\n":
            assert client.poll() is None
        assert system.listed == ["1", "2"]
        client.send_signal(signal.SIGINT)
        assert client.wait() == 130, client.stderr.read()
    assert system.listed == []


def test_a_job_that_ends_in_mid_run(models: Path, golden: Path, tmp_path: Path) -> None:
    """Also one of several processes is replaced, and what it was at is done by its successor."""
    system = BatchSystem(tmp_path / "system", "slurm")
    system.set("runs")
    paths = make_recordings(tmp_path / "in", golden, 4)
    said = paths[1].readlink()
    paths[1].unlink()
    os.mkfifo(paths[1])
    arguments = command(models, tmp_path / "in", "-o", tmp_path / "out")
    arguments += ["--cluster-option", "cores=2", "--cluster-option", "processes=2"]
    variables = environment(PATH=system.path)
    with subprocess.Popen(arguments, env=variables, stderr=subprocess.PIPE, text=True) as client:
        assert client.stderr is not None
        writer = os.open(paths[1], os.O_RDWR)  # so that the pipe has no end
        until_equal(lambda: system.num_readers("1", paths[1]), 1)
        paths[1].unlink()
        paths[1].symlink_to(said)
        system.cancel("1")
        os.close(writer)
        lines = client.stderr.read().splitlines()
    assert client.returncode == 0, lines
    assert [each for each in lines if each.startswith("slurm: ")] == [
        "slurm: job 1 is submitted",
        "slurm: job 1 has ended before the work",
        "slurm: job 2 is submitted",
    ]
    assert texts(tmp_path / "out") == [SAID] * 4
    with Ledger(tmp_path / "out") as ledger:
        assert ledger.count() == {State.RECOGNISED: 4}
    assert system.listed == []
