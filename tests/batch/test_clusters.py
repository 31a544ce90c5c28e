"""Which clusters there are; of batch systems, which are not at hand, the job that would be submitted."""

import pytest

from pykaldi_server.batch.clusters import BATCH_SYSTEMS, batch_system_cluster, connected
from pykaldi_server.errors import ConfigError

DIRECTIVES = {
    "slurm": ("#SBATCH -p speech", "#SBATCH -t 12:30:00", "#SBATCH --mem=8G"),
    "sge": ("#$ -q speech", "#$ -l h_rt=12:30:00"),
    "pbs": ("#PBS -q speech", "#PBS -l walltime=12:30:00"),
    "htcondor": ("RequestCpus = MY.DaskWorkerCores", "RequestMemory = floor(MY.DaskWorkerMemory / 1048576)"),
}


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_jobs_of_batch_systems(system: str) -> None:
    options = {"cores": "4", "processes": "4", "memory": "8GiB", "interface": "lo"}
    options["scheduler-options"] = '{"dashboard_address": "127.0.0.1:0"}'  # others may use the usual port
    if system == "htcondor":
        options["disk"] = "1GB"
    else:
        options |= {"queue": "speech", "walltime": "12:30:00"}
    with batch_system_cluster(system, options) as cluster:
        script = cluster.job_script()
    for directive in DIRECTIVES[system]:
        assert directive in script
    assert "distributed.cli.dask_worker tcp://127.0.0.1:" in script
    assert "--nworkers 4" in script
    assert "--nthreads 1" in script


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "slurm: .*cores and memory"),
        ({"cores": "1", "memory": "1GB", "colour": "red"}, "slurm: .*colour"),
    ],
)
def test_options_that_a_batch_system_lacks_or_does_not_know(options: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        batch_system_cluster("slurm", options)


@pytest.mark.parametrize(
    ("scheduler", "jobs", "options", "error"),
    [
        ("lokal", None, {}, "expected local, slurm, sge, pbs, htcondor, an address .* found 'lokal'"),
        ("local", None, {"cores": "1"}, "local: expected no options"),
        ("tcp://127.0.0.1:1", 2, {}, "tcp://127.0.0.1:1: expected no jobs, found 2"),
    ],
)
def test_what_is_no_cluster(scheduler: str, jobs: int | None, options: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigError, match=error), connected(scheduler, jobs, options):
        pass
