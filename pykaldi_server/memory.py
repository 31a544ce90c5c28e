"""Memory that is free inside the process goes back to the system.

A session needs most memory for a moment: tokens and links of the search before they are pruned, a few MiB.
The C library keeps what is freed, in pieces between what others still use, so that a process would hold
the sum of all those moments: 3 MiB per live session, where half of one is in use.

`return_free_memory` gives it back, except for the free end of an arena of a thread. glibc has up to eight
arenas per core, and what is free at the end of each stays for good: the more threads have ever had a busy
moment, the more that is. `limit_arenas` therefore has a process share few arenas, which also needs less
memory at the busiest moment, since what one thread frees is there for the others.
``scripts/bench/arenas.py`` measures both, and what it costs.
"""

import ctypes
import functools
import os
from collections.abc import Callable

__all__ = ["limit_arenas", "return_free_memory"]

_M_ARENA_MAX = -8
"""The parameter of glibc's `mallopt`, from its ``malloc.h``."""


def limit_arenas(number: int) -> bool:
    """Lets all threads of this process share this many arenas of memory.

    To be called before there are threads: one that has an arena keeps it. Where the environment variable
    ``MALLOC_ARENA_MAX`` is set, that counts.

    Args:
        number: of arenas, at least 1.

    Returns:
        Whether it has been done; only glibc can.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    limit = _function_of_libc("mallopt", ctypes.c_int, ctypes.c_int)
    return limit is not None and limit(_M_ARENA_MAX, number) == 1


def return_free_memory() -> bool:
    """Gives free memory back, which takes some milliseconds; the interpreter's lock is released meanwhile.

    Returns:
        Whether the C library can do that; only glibc can.
    """
    trim = _function_of_libc("malloc_trim", ctypes.c_size_t)
    if trim is None:
        return False
    trim(0)
    return True


@functools.cache
def _function_of_libc(name: str, *argument_types: type) -> Callable[..., int] | None:
    """A function of the C library that returns an int; None in another C library, or another system."""
    try:
        function = ctypes.CDLL(None)[name]
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes, function.restype = argument_types, ctypes.c_int
    found: Callable[..., int] = function
    return found
