"""A bounded first-in, first-out store of messages: in memory while it is small, on disk beyond that.

A peer that sends faster than its audio is recognised is read on into a store: its keepalive pings are
answered, and its leaving is noticed, however far behind the recogniser is.
"""

import struct
import tempfile
from collections import deque
from typing import IO

__all__ = ["MessageStore"]

_MEMORY_BYTES = 256 * 1024
_RECORD = struct.Struct("=IB")


class MessageStore:
    """Messages, text or binary, in the order in which they came. It belongs to one event loop.

    Args:
        limit_bytes: the store is full when it holds this much; a message that exceeds it is still taken.
        memory_bytes: how much of it is kept in memory.
    """

    def __init__(self, limit_bytes: int, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._memory_bytes = memory_bytes
        self._first: deque[str | bytes] = deque()  # the oldest messages; what is on disk comes after them
        self._first_bytes = 0
        self._file: IO[bytes] | None = None
        self._read_offset = 0
        self._write_offset = 0

    def __len__(self) -> int:
        """Number of bytes that wait, a few per message on disk included."""
        return self._first_bytes + self._write_offset - self._read_offset

    def __bool__(self) -> bool:
        """Whether a message waits."""
        return bool(self._first) or self._write_offset > self._read_offset

    @property
    def is_full(self) -> bool:
        """Whether the sender should be held back."""
        return len(self) >= self._limit_bytes

    def put(self, message: str | bytes) -> None:
        """Appends a message.

        Raises:
            OSError: there is no room on disk.
        """
        if self._write_offset == self._read_offset and self._first_bytes < self._memory_bytes:
            self._first.append(message)
            self._first_bytes += len(message)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, prefix="pykaldi-server-")  # noqa: SIM115
        data = message.encode() if isinstance(message, str) else message
        record = memoryview(_RECORD.pack(len(data), isinstance(message, str)) + data)
        self._file.seek(self._write_offset)
        written = 0
        while written < len(record):
            written += self._file.write(record[written:])
        self._write_offset += written

    def get(self) -> str | bytes:
        """Removes and returns the oldest message.

        Raises:
            IndexError: no message waits.
        """
        if self._first:
            message = self._first.popleft()
            self._first_bytes -= len(message)
            return message
        if self._file is None or self._write_offset == self._read_offset:
            raise IndexError("no message waits")
        self._file.seek(self._read_offset)
        num_bytes, is_text = _RECORD.unpack(self._file.read(_RECORD.size))
        data = self._file.read(num_bytes)
        self._read_offset += _RECORD.size + num_bytes
        if self._read_offset == self._write_offset:
            self._read_offset = self._write_offset = 0
            self._file.truncate(0)
        return data.decode() if is_text else data

    def put_back(self, message: str | bytes) -> None:
        """Puts a message that was taken back in front."""
        self._first.appendleft(message)
        self._first_bytes += len(message)

    def close(self) -> None:
        """Drops everything."""
        self._first.clear()
        self._first_bytes = self._read_offset = self._write_offset = 0
        if self._file is not None:
            self._file.close()
            self._file = None
