"""A bounded first-in, first-out store of messages: in memory while it is small, on disk beyond that.

A peer that sends faster than its audio is recognised is read on into a store: its keepalive pings are
answered, and its leaving is noticed, however far behind the recogniser is.

    put --> memory, up to memory_bytes, while nothing is on disk
        --> segment, segment, ... on disk; each is given back when it has been read

All stores of a process may share a budget. When it is used up, those that hold more than their share are
full; a store that holds less always takes more, so that nobody is held back because of others. When the
memory of the budget is used up, further messages go to disk at once.
"""

import struct
import tempfile
from collections import deque
from typing import IO

from pykaldi_server.protocols.arrivals import Arrivals

__all__ = ["Holding", "MessageStore", "StoreBudget"]

_MEMORY_BYTES = 256 * 1024
_OWN_MEMORY_BYTES = 16 * 1024
"""What a store may keep in memory whatever the others do: half a second of audio."""
_SEGMENT_BYTES = 16 * 1024**2
_LEAST_SHARE_BYTES = 64 * 1024
_OBJECT_BYTES = 64
"""Memory that a message takes in addition to its content."""
_RECORD = struct.Struct("=IB")


class StoreBudget:
    """What all stores of a process, or other holders, hold together. It belongs to one event loop.

    Args:
        limit_bytes: how much they should hold at most.
        memory_bytes: how much of it in memory, the objects around the messages included.

    Attributes:
        limit_bytes: as above; it may be changed at any time.
        held_bytes: how much they hold.
        held_memory_bytes: how much of it in memory.
        num_holding: number of stores that hold anything.
    """

    def __init__(self, limit_bytes: int, memory_bytes: int = 64 * 1024**2) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.held_memory_bytes = 0
        self.num_holding = 0
        self._memory_bytes = memory_bytes

    @property
    def has_memory(self) -> bool:
        """Whether messages may be kept in memory."""
        return self.held_memory_bytes < self._memory_bytes

    def has_room_for(self, held_bytes: int) -> bool:
        """Whether a store that holds this much may hold more."""
        if self.held_bytes < self.limit_bytes:
            return True
        return held_bytes < max(_LEAST_SHARE_BYTES, self.limit_bytes // max(1, self.num_holding))


class Holding:
    """What one holder has of a budget.

    Args:
        budget: that of all holders.

    Attributes:
        num_bytes: how much it is.
        memory_bytes: how much of it in memory.
    """

    def __init__(self, budget: StoreBudget) -> None:
        self.num_bytes = 0
        self.memory_bytes = 0
        self._budget = budget

    @property
    def is_full(self) -> bool:
        """Whether it may not become more."""
        return not self._budget.has_room_for(self.num_bytes)

    @property
    def has_memory(self) -> bool:
        """Whether all together have memory left."""
        return self._budget.has_memory

    def set(self, num_bytes: int, memory_bytes: int = 0) -> None:
        """Changes it."""
        budget = self._budget
        budget.held_bytes += num_bytes - self.num_bytes
        budget.held_memory_bytes += memory_bytes - self.memory_bytes
        budget.num_holding += (num_bytes > 0) - (self.num_bytes > 0)
        self.num_bytes, self.memory_bytes = num_bytes, memory_bytes


class _Segment:
    """A file with messages, which is gone when it is closed."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0, prefix="pykaldi-server-")  # noqa: SIM115
        self._read_offset = 0
        self._write_offset = 0

    @property
    def is_full(self) -> bool:
        return self._write_offset >= _SEGMENT_BYTES

    @property
    def is_empty(self) -> bool:
        return self._read_offset == self._write_offset

    def put(self, message: str | bytes) -> int:
        """Appends a message, and returns how many bytes that takes."""
        data = message.encode() if isinstance(message, str) else message
        record = memoryview(_RECORD.pack(len(data), isinstance(message, str)) + data)
        self._file.seek(self._write_offset)
        written = 0
        while written < len(record):
            written += self._file.write(record[written:])
        self._write_offset += written
        return written

    def get(self) -> tuple[str | bytes, int]:
        """Removes and returns the oldest message, and how many bytes it took."""
        self._file.seek(self._read_offset)
        num_bytes, is_text = _RECORD.unpack(self._file.read(_RECORD.size))
        data = self._file.read(num_bytes)
        taken = _RECORD.size + num_bytes
        self._read_offset += taken
        return (data.decode() if is_text else data), taken

    def clear(self) -> None:
        self._read_offset = self._write_offset = 0
        self._file.truncate(0)

    def close(self) -> None:
        self._file.close()


class MessageStore:
    """Messages, text or binary, in the order in which they came. It belongs to one event loop.

    Args:
        limit_bytes: the store is full when it holds this much; a message that exceeds it is still taken.
        memory_bytes: how much of it is kept in memory, the objects around the messages included.
        budget: what it shares with other stores; None shares nothing.

    Attributes:
        came_s: when the message that was taken last had been put in, on the monotonic clock.
    """

    def __init__(
        self, limit_bytes: int, memory_bytes: int = _MEMORY_BYTES, budget: StoreBudget | None = None
    ) -> None:
        self.came_s = 0.0
        self._arrivals = Arrivals()
        self._limit_bytes = limit_bytes
        self._memory_bytes = memory_bytes
        self._held = Holding(budget or StoreBudget(limit_bytes))
        self._first: deque[str | bytes] = deque()  # the oldest messages; what is on disk comes after them
        self._segments: deque[_Segment] = deque()

    def __len__(self) -> int:
        """Number of bytes that wait, a few per message on disk included."""
        return self._held.num_bytes

    def __bool__(self) -> bool:
        """Whether a message waits."""
        return bool(self._first) or self._is_on_disk

    @property
    def is_full(self) -> bool:
        """Whether the sender should be held back."""
        return self._held.num_bytes >= self._limit_bytes or self._held.is_full

    def put(self, message: str | bytes) -> None:
        """Appends a message.

        Raises:
            OSError: there is no room on disk.
        """
        if not self._is_on_disk and self._has_memory:
            self._first.append(message)
            self._count(len(message), _OBJECT_BYTES + len(message))
        else:
            if not self._segments or self._segments[-1].is_full:
                self._segments.append(_Segment())
            self._count(self._segments[-1].put(message), 0)
        self._arrivals.come()

    def get(self) -> str | bytes:
        """Removes and returns the oldest message.

        Raises:
            IndexError: no message waits.
        """
        if not self:
            raise IndexError("no message waits")
        self.came_s = self._arrivals.take()
        if self._first:
            message = self._first.popleft()
            self._count(-len(message), -_OBJECT_BYTES - len(message))
            return message
        segment = self._segments[0]
        message, taken = segment.get()
        self._count(-taken, 0)
        if segment.is_empty:
            if len(self._segments) > 1:
                self._segments.popleft().close()
            else:
                segment.clear()
        return message

    def put_back(self, message: str | bytes) -> None:
        """Puts a message back in front; the one that was taken last, or one of those before it."""
        self._first.appendleft(message)
        self._arrivals.put_back(self.came_s)
        self._count(len(message), _OBJECT_BYTES + len(message))

    def close(self) -> None:
        """Drops everything. May be called again."""
        self._first.clear()
        self._arrivals = Arrivals()
        while self._segments:
            self._segments.pop().close()
        self._held.set(0)

    @property
    def _is_on_disk(self) -> bool:
        return bool(self._segments) and not self._segments[0].is_empty

    @property
    def _has_memory(self) -> bool:
        if self._held.memory_bytes >= self._memory_bytes:
            return False
        return self._held.has_memory or self._held.memory_bytes < _OWN_MEMORY_BYTES

    def _count(self, num_bytes: int, memory_bytes: int) -> None:
        """Notes what has been added or taken away."""
        self._held.set(self._held.num_bytes + num_bytes, self._held.memory_bytes + memory_bytes)
