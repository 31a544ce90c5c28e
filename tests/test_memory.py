"""Free memory goes back to the system, and threads share it."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import thread_arenas

from pykaldi_server.memory import limit_arenas, return_free_memory

BLOCK_BYTES = 32 * 1024
NUM_BLOCKS = 4096
NUM_THREADS = 4

THREADS = """
import ctypes, sys, threading
from pykaldi_server.memory import limit_arenas

was_limited = limit_arenas(int(sys.argv[2])) if sys.argv[2:] else False
malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
all_have_memory = threading.Barrier(int(sys.argv[1]) + 1)

def take() -> None:
    assert malloc(10_000)
    all_have_memory.wait()
    all_have_memory.wait()

threads = [threading.Thread(target=take) for _ in range(int(sys.argv[1]))]
for thread in threads:
    thread.start()
all_have_memory.wait()
print(int(was_limited), flush=True)
sys.stdin.read()
all_have_memory.wait()
"""
"""Has threads that have memory until its standard input ends."""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def arenas_of_threads(*limit: str, **variables: str) -> tuple[bool, int]:
    """Whether a process says that it has limited its arenas, and how many its threads have."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = (sys.executable, "-c", THREADS, str(NUM_THREADS), *limit)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
    ) as process:
        assert process.stdout is not None
        was_limited = process.stdout.readline() == b"1\n"
        found = thread_arenas(process.pid)
        process.communicate()
    assert process.returncode == 0
    return was_limited, found


def test_threads_share_arenas() -> None:
    was_limited, unlimited = arenas_of_threads()
    assert not was_limited
    if unlimited < NUM_THREADS:
        pytest.skip("needs a C library whose threads have arenas of memory")
    assert arenas_of_threads("1") == (True, 0)
    assert arenas_of_threads("3") == (True, 2)


def test_the_environment_decides_about_arenas() -> None:
    assert arenas_of_threads("1", MALLOC_ARENA_MAX="2")[0] is False


def test_another_c_library_has_no_arenas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr("pykaldi_server.memory._function_of_libc", lambda *_: None)
    assert not limit_arenas(1)
    assert not return_free_memory()


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
