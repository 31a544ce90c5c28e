"""Free memory goes back to the system."""

import ctypes
import os
from pathlib import Path

import pytest

from pykaldi_server.worker.memory import return_free_memory

BLOCK_BYTES = 32 * 1024
NUM_BLOCKS = 4096


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_is_free_between_blocks_in_use_goes_back() -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        assert not return_free_memory()
        pytest.skip("needs a C library that can give memory back")
    library.malloc.argtypes, library.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
    library.free.argtypes, library.free.restype = (ctypes.c_void_p,), None
    return_free_memory()
    blocks = [library.malloc(BLOCK_BYTES) for _ in range(NUM_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    for number, block in enumerate(blocks):
        if number % 16:
            library.free(block)
    before = resident_bytes()
    assert return_free_memory()
    freed = before - resident_bytes()
    for block in blocks[::16]:
        library.free(block)
    assert freed > 0.5 * NUM_BLOCKS * BLOCK_BYTES
