"""When a worker process has done enough, and a fresh one should take its place.

Memory that was needed once may stay with a process, in pieces that nothing fits into; a fresh process starts
without. Pages of mapped files, such as graphs, do not count: the kernel takes them back when it needs them,
and they are shared with other processes.
"""

from pykaldi_server.errors import ConfigError
from pykaldi_server.worker.options import STATUS, WorkerOptions

__all__ = ["Recycling", "own_memory_mib"]

OWN_PAGES = ("RssAnon:", "RssShmem:")


def own_memory_mib() -> float:
    """Resident memory of this process without mapped files, in MiB."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0] in OWN_PAGES) / 1024


class Recycling:
    """Counts what a process does.

    Args:
        options: how many requests and how much memory are enough.

    Attributes:
        num_requests: number of requests that have ended.
        is_out_of_memory: memory has run out at least once.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self.num_requests = 0
        self.is_out_of_memory = False
        self.take_over(options)

    def take_over(self, options: WorkerOptions) -> None:
        """Takes new limits; what has been counted stays."""
        self._most_requests = options.recycle_requests
        self._most_mib = options.recycle_memory_mib

    def check_start(self) -> None:
        """Checks that the process is not over its limit before the first request.

        Raises:
            ConfigError: it is, so that every process would be replaced for ever.
        """
        if self._most_mib is not None and (found := own_memory_mib()) >= self._most_mib:
            raise ConfigError(
                f"recycle_memory_mib: expected more than the {found:.0f} MiB that the process has once its "
                f"model is loaded, found {self._most_mib:g}"
            )

    def reason(self) -> str:
        """Why the process has done enough; empty if it has not."""
        if self.is_out_of_memory:
            return "it has run out of memory"
        if self._most_requests is not None and self.num_requests >= self._most_requests:
            return f"it has served {self.num_requests} requests"
        if self._most_mib is not None and (found := own_memory_mib()) >= self._most_mib:
            return f"it has {found:.0f} MiB of memory of its own"
        return ""
