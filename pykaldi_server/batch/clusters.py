"""Where a bulk run finds its workers: on this machine, in a running cluster, or in jobs of a batch system."""

import asyncio
import importlib
import json
import logging
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed import Client, LocalCluster, Security, Status
from distributed.core import rpc
from distributed.deploy.cluster import Cluster
from distributed.utils import LoopRunner

from pykaldi_server.batch.jobs import BatchJobs, ClientOfJobs
from pykaldi_server.cores import num_cores
from pykaldi_server.errors import ConfigError

__all__ = ["BATCH_SYSTEMS", "LOCAL", "batch_system_cluster", "connected"]

LOCAL = "local"
BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "sge": "SGECluster",
    "pbs": "PBSCluster",
    "htcondor": "HTCondorCluster",
}
"""Batch systems, with the class of dask-jobqueue for each."""

_ADDRESS = re.compile(r"([a-z]+://.+|[^/]+:[0-9]+)")
# A worker that dies costs its tasks this attempt; `Bulk` decides how many others they get.
_SETTINGS = {"distributed.scheduler.allowed-failures": 0}


@contextmanager
def connected(
    scheduler: str, jobs: int | None = None, options: Mapping[str, str] | None = None
) -> Iterator[Client]:
    """Connects to the scheduler of a cluster, which is made before and ended after, unless it has an address.

    Args:
        scheduler: ``local``, a key of `BATCH_SYSTEMS`, or the address of a scheduler that runs
            (``tcp://host:8786``), or the file that it has written its address to (``scheduler.json``).
        jobs: number of workers on this machine, one per core if not set; or of jobs of the batch system, 1 if
            not set.
        options: for the class of the batch system; values are JSON, or else text.

    Raises:
        ConfigError: the scheduler or an option is invalid.
        BatchError: the batch system refuses the job, or its command is not there.
        OSError: there is no scheduler at the address, or no such file. Dask's configuration says how long it
            is waited for (``distributed.comm.timeouts.connect``).
    """
    if scheduler == LOCAL:
        _refuse(scheduler, options=options)
        with (
            dask.config.set(_SETTINGS),
            _local_cluster(jobs or num_cores()) as cluster,
            Client(cluster) as client,
        ):
            yield client
    elif scheduler in BATCH_SYSTEMS:
        with (
            dask.config.set(_SETTINGS),
            batch_system_cluster(scheduler, options or {}) as cluster,
            BatchJobs(scheduler, cluster, jobs or 1) as kept,
            ClientOfJobs(cluster) as client,
        ):
            client.jobs = kept
            yield client
    elif scheduler.endswith(".json") or _ADDRESS.fullmatch(scheduler):
        _refuse(scheduler, jobs=jobs, options=options)
        address = _address_in(Path(scheduler)) if scheduler.endswith(".json") else scheduler
        LoopRunner().run_sync(_check_scheduler, address)
        with Client(address) as client:
            yield client
    else:
        raise ConfigError(
            f"scheduler: expected {LOCAL}, {', '.join(BATCH_SYSTEMS)}, an address such as tcp://host:8786, "
            f"or a file such as scheduler.json, found {scheduler!r}"
        )


def _address_in(file: Path) -> str:
    """The address that a scheduler has written to a file; Dask would wait for ever for one that is absent."""
    try:
        address = json.loads(file.read_bytes())["address"]
    except (ValueError, LookupError, TypeError):
        address = None
    if not isinstance(address, str):
        raise ConfigError(f"{file}: expected a file that a scheduler of Dask has written, found another")
    return address


async def _check_scheduler(address: str) -> None:
    """Makes sure that a scheduler answers: of Dask itself something else there gets no end of time."""
    timeout = dask.config.get("distributed.comm.timeouts.connect")
    try:
        security = Security().get_connection_args("client")
        async with asyncio.timeout(parse_timedelta(timeout)), rpc(address, connection_args=security) as peer:
            kind = (await peer.identity())["type"]
    except ValueError as error:
        raise ConfigError(f"scheduler: {address}: {error}") from error
    except OSError as error:  # also that of the time, see above
        text = f"no scheduler of Dask has answered within {timeout}"
        raise type(error)(error.errno or 0, text, address) from error
    if kind != "Scheduler":
        raise ConfigError(f"scheduler: {address}: expected a scheduler of Dask, found a {kind.lower()} of it")


def batch_system_cluster(system: str, options: Mapping[str, str]) -> Any:
    """Makes a cluster whose workers are jobs of a batch system; none is submitted yet.

    Args:
        system: a key of `BATCH_SYSTEMS`.
        options: of the class of dask-jobqueue, such as ``cores``, ``memory`` and ``walltime``; values are
            JSON, or else text. What is not given comes from Dask's configuration
            (``~/.config/dask/jobqueue.yaml``).

    Returns:
        A `dask_jobqueue.JobQueueCluster`, whose ``job_script()`` is what will be submitted.

    Raises:
        ConfigError: an option is invalid, or one that the system needs is missing.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        module = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        raise ConfigError(
            f"scheduler: {system} needs dask-jobqueue: pip install 'pykaldi-server[batch]'"
        ) from error
    if signal.getsignal(signal.SIGINT) != before:  # when it is loaded, it lets Ctrl-C end programs with 0
        signal.signal(signal.SIGINT, before)
    values = {name.replace("-", "_"): _value(text) for name, text in options.items()}
    kind = getattr(module, BATCH_SYSTEMS[system])
    cluster = kind.__new__(kind)
    try:
        cluster.__init__(**values)
        return cluster
    except (TypeError, ValueError) as error:
        cluster.status = Status.closed  # half made, it would warn that nobody has closed it
        raise ConfigError(f"scheduler: {system}: {error}") from error


def _value(text: str) -> Any:
    """The value of an option; not YAML, to which a time such as 12:30:00 is a number."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _local_cluster(num_workers: int) -> Cluster:
    """Workers on this machine, one thread each; only this machine can reach them and the dashboard."""
    # Ctrl-C reaches all processes of a terminal; this one decides what becomes of the others.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return LocalCluster(
            n_workers=num_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # it is the recognisers that need memory, not the workers
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refuse(scheduler: str, **values: Any) -> None:
    for name, value in values.items():
        if value:
            raise ConfigError(f"scheduler: {scheduler}: expected no {name}, found {value!r}")
