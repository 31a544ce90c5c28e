"""`transcribe --scheduler ADDRESS`: a cluster that somebody else has started, and that lives on."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dask.config
import pytest
from bulk_runs import DIGITS, SAID, make_recordings, readers, texts
from dask_processes import DaskProcesses, environment, until_equal
from processes import Watched

from pykaldi_server.batch import Ledger, connected
from pykaldi_server.errors import ConfigError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler with two workers, one of which has a nanny."""
    with DaskProcesses(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.add_worker(nanny=True)
        cluster.add_worker()
        yield cluster


def command(model: str | Path, scheduler: str | Path, *arguments: str | Path) -> list[str]:
    program = [sys.executable, "-m", "pykaldi_server", "transcribe"]
    return [*program, "-m", f"{model}:graph-digits", "--scheduler", str(scheduler), *map(str, arguments)]


def run(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False)


def wait_for_reader(pipe: Path) -> int:
    """Waits until a process reads a named pipe; returns its number."""
    found: list[int] = []

    def num() -> int:
        found[:] = readers(pipe)
        return len(found)

    until_equal(num, 1)
    return found[0]


@pytest.mark.parametrize("by_file", [False, True])
def test_a_cluster_of_others(
    cluster: DaskProcesses, by_file: bool, models: Path, golden: Path, tmp_path: Path
) -> None:
    """By its address or its file; nothing of the run stays there."""
    make_recordings(tmp_path / "in", golden, 5)
    workers, out = cluster.workers, tmp_path / "out"
    where = cluster.file if by_file else cluster.address
    ran = run(command(models / "english", where, tmp_path / "in", "-o", out))
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.startswith(f"connecting to {where}\ndashboard: http")
    assert texts(out) == [SAID] * 5
    assert cluster.workers == workers
    nothing: dict[str, list[str]] = {"scheduler": [], **{worker: [] for worker in workers}}
    until_equal(cluster.remains, nothing)


def test_a_killed_client_leaves_a_clean_cluster(
    cluster: DaskProcesses, models: Path, golden: Path, tmp_path: Path
) -> None:
    """What was being recognised ends, the scheduler knows of nothing any more, and the next run goes on."""
    endless, out = tmp_path / "in" / "000.wav", tmp_path / "out"
    endless.parent.mkdir()
    os.mkfifo(endless)
    arguments = command(models / "english", cluster.address, endless.parent, "-o", out)
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL) as client:
        writer = os.open(endless, os.O_RDWR)  # so that the pipe has no end
        recogniser = Watched(wait_for_reader(endless))
        client.kill()
    recogniser.wait()
    os.close(writer)
    until_equal(lambda: cluster.remains()["scheduler"], [])
    endless.unlink()
    endless.symlink_to(golden / "wav" / f"{DIGITS}.wav")
    ran = run(arguments)
    assert ran.returncode == 0, ran.stderr
    assert texts(out) == [SAID]


def test_workers_that_lack_what_a_run_needs(models: Path, golden: Path, tmp_path: Path) -> None:
    """Without the package, which the scheduler lacks as well, or without the model: left out, with a line."""
    make_recordings(tmp_path / "in", golden, 6)
    folders = tmp_path / "has-model", tmp_path / "has-none"
    for folder in folders:
        folder.mkdir()
    (folders[0] / "model").symlink_to(models / "english")
    model = "/proc/self/cwd/model"  # which each process finds where it works, or not
    arguments: list[str | Path] = [tmp_path / "in", "-o", tmp_path / "out"]
    with DaskProcesses(tmp_path / "cluster", lacks_package=True) as cluster:
        without_package = cluster.add_worker(lacks_package=True)
        ran = run(command(model, cluster.address, *arguments))
        assert ran.returncode == 1
        *_, line = ran.stderr.splitlines()
        assert line.startswith("Error: expected pykaldi-server in its Python, found none: ")
        assert line.endswith(f"(at all workers of Dask, such as {without_package})")

        without_model = cluster.add_worker(directory=folders[1])
        ran = run(command(model, cluster.address, *arguments))
        assert ran.returncode == 1
        *_, line = ran.stderr.splitlines()
        assert line.startswith("Error: ")
        assert "(at all workers of Dask, such as " in line
        with Ledger(tmp_path / "out") as ledger:
            assert ledger.count() == {}, "no recording is at fault"

        cluster.add_worker(directory=folders[0])
        ran = run(command(model, cluster.address, *arguments))
        assert ran.returncode == 0, ran.stderr
        expected = "this worker of Dask is left out: expected pykaldi-server in its Python, found none: "
        assert f"\n{without_package}: {expected}" in ran.stderr
        if f"\n{without_model}: " in ran.stderr:  # else it was never given a task
            assert f"\n{without_model}: this worker of Dask is left out: {model}" in ran.stderr
        assert texts(tmp_path / "out") == [SAID] * 6
        assert {without_package, without_model} < cluster.workers, "they live on"


def test_a_cluster_without_workers(models: Path, golden: Path, tmp_path: Path) -> None:
    """The command says that it waits, and begins with the first worker."""
    out = tmp_path / "out"
    (recording,) = make_recordings(tmp_path / "in", golden, 1)
    with DaskProcesses(tmp_path / "cluster") as cluster:
        arguments = command(models / "english", cluster.address, recording, "-o", out)
        with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True) as client:
            assert client.stderr is not None
            lines = [client.stderr.readline() for _ in range(3)]
            assert lines[2] == "waiting for workers: the cluster has none yet\n"
            cluster.add_worker()
            assert client.wait() == 0, client.stderr.read()
        assert texts(out) == [SAID]


def test_a_cluster_whose_workers_are_all_gone(models: Path, golden: Path, tmp_path: Path) -> None:
    """The command says so, and goes on with the first worker that comes."""
    recording, out = tmp_path / "in" / "000.wav", tmp_path / "out"
    recording.parent.mkdir()
    os.mkfifo(recording)
    with DaskProcesses(tmp_path / "cluster") as cluster:
        worker = cluster.add_worker()
        arguments = command(models / "english", cluster.address, recording, "-o", out)
        with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True) as client:
            assert client.stderr is not None
            writer = os.open(recording, os.O_RDWR)  # so that the pipe has no end
            recogniser = Watched(wait_for_reader(recording))
            cluster.kill_worker(worker)
            recogniser.wait()
            said = iter(client.stderr.readline, "")
            assert any(line == "waiting for workers: all of them are gone\n" for line in said)
            cluster.add_worker()
            assert any(line == "there are workers again\n" for line in said)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write((golden / "wav" / f"{DIGITS}.wav").read_bytes())
            assert client.wait() == 0, client.stderr.read()
        assert texts(out) == [SAID]


@pytest.mark.slow
def test_a_scheduler_that_dies(models: Path, golden: Path, tmp_path: Path) -> None:
    """Dask looks for it for half a minute; then the command ends, and the recording is not at fault."""
    out, endless = tmp_path / "out", tmp_path / "endless.wav"
    os.mkfifo(endless)
    with DaskProcesses(tmp_path / "cluster") as cluster:
        cluster.add_worker()
        arguments = command(models / "english", cluster.address, endless, "-o", out)
        with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True) as client:
            assert client.stderr is not None
            writer = os.open(endless, os.O_RDWR)
            wait_for_reader(endless)
            cluster.scheduler.kill()
            *_, line = client.stderr.read().splitlines()
        os.close(writer)
    assert line == "Error: the scheduler is gone; what is done stays done, and another run goes on"
    with Ledger(out) as ledger:
        assert ledger.count() == {}


def test_addresses_where_no_scheduler_is(cluster: DaskProcesses) -> None:
    (worker, *_) = cluster.workers
    with pytest.raises(ConfigError, match=f"{worker}: expected a scheduler of Dask, found a worker of it"):
        connect(worker, "200s")
    with pytest.raises(ConfigError, match="nonsense://a: unknown address scheme"):
        connect("nonsense://a")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and never answers
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(OSError, match="no scheduler of Dask has answered within 500ms") as raised:
            connect(address)
    assert raised.value.filename == address
    with pytest.raises(OSError, match="no scheduler of Dask has answered within 500ms"):
        connect(address)  # where nothing listens any more


def test_files_that_no_scheduler_has_written(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    with pytest.raises(FileNotFoundError):
        connect(str(file))
    for text in ("", "[]", "{}", '{"address": 1}'):
        file.write_text(text)
        with pytest.raises(ConfigError, match="expected a file that a scheduler of Dask has written"):
            connect(str(file))


def connect(scheduler: str, patience: str = "500ms") -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": patience}), connected(scheduler):
        raise AssertionError("connected")
