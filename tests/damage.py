"""Damages files in the ways that files get damaged, for tests of readers."""

import contextlib
import resource
from collections.abc import Callable, Iterator

from hypothesis import strategies as st

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.util.io import KaldiReader

# What a reader may allocate beyond what the process has; the files of these tests are small.
MEMORY_BYTES = 512 * 2**20
_ABSURD = [
    *(value.to_bytes(4, "little", signed=True) for value in (2**31 - 1, 2**30, -1, -(2**31), 0)),
    b" 2147483647 ",
    b" 99999999999999999999999 ",
    b" -1 ",
    b" nan ",
    b" 1e300 ",
    b" [ ",
    b"\n",
]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Truncated, with flipped bits, with absurd numbers, with a part missing, doubled, or moved."""
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 20))
        kind = draw(st.sampled_from(["truncate", "flip", "absurd", "insert", "remove", "double"]))
        if kind == "truncate":
            data = data[:where]
        elif kind == "flip" and data:
            where %= len(data)
            data = data[:where] + bytes([data[where] ^ draw(st.integers(1, 255))]) + data[where + 1 :]
        elif kind in ("absurd", "insert"):
            absurd = draw(st.sampled_from(_ABSURD))
            data = data[:where] + absurd + data[where + (len(absurd) if kind == "absurd" else 0) :]
        elif kind == "remove":
            data = data[:where] + data[where + length :]
        elif kind == "double":
            data = data[: where + length] + data[where:]
    return data


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Makes allocations beyond `MEMORY_BYTES` fail with MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refuses_or_reads(read: Callable[[KaldiReader], object], data: bytes, binary: bool | None = None) -> None:
    """Reads; the only exception that may come out is ModelFormatError, and it names the file."""
    with limited_memory():
        try:
            read(KaldiReader(data, "damaged.mdl", binary=binary))
        except ModelFormatError as error:
            text = str(error)
        else:
            text = "damaged.mdl"
    assert text.startswith("damaged.mdl")
