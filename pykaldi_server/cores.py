"""The processor cores that there are for this process."""

import os

__all__ = ["num_cores"]


def num_cores() -> int:
    """The number of cores that this process may use: all of the machine, unless it is bound to some."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS, where processes are not bound to cores
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
