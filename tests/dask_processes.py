"""A Dask cluster as somebody else would have started it: a process for the scheduler, and one per worker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from bulk_runs import descendants
from distributed import Client
from processes import PATIENCE_S, Watched

LACKING = "import sys\nsys.modules['pykaldi_server'] = None\n"


def environment(**more: str) -> dict[str, str]:
    """Variables for a process that imports what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


class DaskProcesses:
    """The processes; a context manager, which ends them.

    Args:
        folder: for files.
        lacks_package: the scheduler's Python has no pykaldi-server.
    """

    def __init__(self, folder: Path, *, lacks_package: bool = False) -> None:
        self._folder = folder
        self._lacks_package = lacks_package
        self._stack = ExitStack()
        self._num_workers = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # of workers, by their addresses
        self.file = folder / "scheduler.json"

    def __enter__(self) -> Self:
        folder = self._folder / "lacking"
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(LACKING)
        arguments = ["--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(self.file)]
        self.scheduler = self._start("dask_scheduler", arguments, self._lacks_package)
        self.client = Client(scheduler_file=str(self.file), timeout=PATIENCE_S)
        self._stack.callback(self.client.close)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        return str(self.client.scheduler_info()["address"])

    @property
    def workers(self) -> set[str]:
        """The addresses of the workers."""
        return set(self.client.nthreads())

    def add_worker(
        self, *, nanny: bool = False, lacks_package: bool = False, directory: Path | None = None
    ) -> str:
        """Starts a worker of one thread, and waits until it is there.

        Args:
            nanny: it has a nanny, which is its parent.
            lacks_package: its Python has no pykaldi-server.
            directory: its working directory.

        Returns:
            Its address.
        """
        before = self.workers
        self._num_workers += 1
        scratch = self._folder / f"worker-{self._num_workers}"
        arguments = [self.address, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
        arguments += ["--nanny" if nanny else "--no-nanny", "--local-directory", str(scratch)]
        process = self._start("dask_worker", arguments, lacks_package, directory)
        self.client.wait_for_workers(len(before) + 1, timeout=PATIENCE_S)
        (address,) = self.workers - before
        self._processes[address] = process
        return address

    def kill_worker(self, address: str) -> None:
        """Kills a worker, or its nanny, which ends it."""
        self._processes[address].kill()

    def remains(self) -> Mapping[str, list[str]]:
        """What is left of bulk runs in the scheduler (tasks and plugins) and in each worker (plugins)."""

        def ours(names: Iterable[str]) -> list[str]:
            return [each for each in names if each.startswith("pykaldi-server")]

        def of_scheduler(dask_scheduler: Any) -> list[str]:
            return [*dask_scheduler.tasks, *ours(dask_scheduler.worker_plugins)]

        def of_worker(dask_worker: Any) -> list[str]:
            return ours(dask_worker.plugins)

        return {"scheduler": self.client.run_on_scheduler(of_scheduler), **self.client.run(of_worker)}

    def _start(
        self, program: str, arguments: list[str], lacks_package: bool, directory: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        lacking = {"PYTHONPATH": str(self._folder / "lacking")} if lacks_package else {}
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", "--host", "127.0.0.1", *arguments],
            env=environment(**lacking),
            cwd=directory,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(_end, process)
        return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    watched = []
    for pid in descendants(process.pid):
        with suppress(ProcessLookupError):  # a recogniser that has just ended
            watched.append(Watched(pid))
    process.terminate()
    process.wait(PATIENCE_S)
    for each in watched:
        each.wait()


def until_equal(found: Any, expected: Any) -> None:
    """Waits until a function returns what is expected."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (now := found()) != expected:
        assert time.monotonic() < deadline_s, now
        time.sleep(0.05)
