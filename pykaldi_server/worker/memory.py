"""Memory that is free inside the process goes back to the system.

A session needs most memory for a moment: tokens and links of the search before they are pruned, a few MiB.
The C library keeps what is freed, in pieces between what others still use, so that a process would hold
the sum of all those moments: 3 MiB per live session, where half of one is in use.
"""

import ctypes
import functools
from collections.abc import Callable

__all__ = ["return_free_memory"]


def return_free_memory() -> bool:
    """Gives free memory back, which takes some milliseconds; the interpreter's lock is released meanwhile.

    Returns:
        Whether the C library can do that; only glibc can.
    """
    trim = _trim()
    if trim is None:
        return False
    trim(0)
    return True


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return None
    function.argtypes, function.restype = (ctypes.c_size_t,), ctypes.c_int
    trim: Callable[[int], int] = function
    return trim
