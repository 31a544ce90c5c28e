"""Two simulated machines of a Ray cluster, of which one can be lost; tests start this program.

It prints the address of the cluster. A line ``lose`` on its standard input takes the second machine away,
with all that runs there, and is answered with ``lost``; the end of the input ends the cluster.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

NUM_CPUS = 2
STORE_BYTES = 80 * 1024**2  # the least that Ray takes
LOOPBACK = "127.0.0.1"


def processes_with(variable: str, value: str) -> list[int]:
    """The processes of this machine that have a variable in their environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with suppress(OSError):  # it has ended, or is somebody else's
                if wanted in (directory / "environ").read_bytes().split(b"\0"):
                    found.append(int(directory.name))
    return found


def kill_all(variable: str, value: str) -> None:
    """Kills processes until there are none with this variable in their environment but this one."""
    while pids := [each for each in processes_with(variable, value) if each != os.getpid()]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def lose(cluster: Any, machine: Any) -> None:
    """Takes a machine away at once: what Ray runs there, and what that has started."""
    raylet = machine.all_processes["raylet"][0].process
    raylet.kill()
    kill_all("RAY_RAYLET_PID", str(raylet.pid))
    cluster.remove_node(machine, allow_graceful=False)


def main() -> None:
    """Runs the cluster."""
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": NUM_CPUS, "object_store_memory": STORE_BYTES, "node_ip_address": LOOPBACK}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    try:
        second = cluster.add_node(**machine)
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "lose":
                lose(cluster, second)
                print("lost", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
