"""Audio that was compressed as a whole by gzip, undone while it arrives.

Source: RFC 1952 (a file may be several members, one after the other).
"""

import logging
import zlib
from collections.abc import Iterator

from pykaldi_server.errors import AudioError

__all__ = ["Gunzip"]

logger = logging.getLogger(__name__)

_GZIP_WINDOW_BITS = 31
_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 16


class Gunzip:
    """Undoes gzip piece by piece, so that a small file of a long silence needs little memory."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._num_bytes = 0
        self._is_damaged = False
        self._between_members = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields what `data` holds, in pieces of 64 KB at most.

        Raises:
            AudioError: the file is damaged, and nothing of it was readable.
        """
        is_full = False
        while (data or is_full) and not self._is_damaged:
            if self._inflate.eof and not self._starts_member(data):
                return
            if self._inflate.eof:
                data, self._between_members = self._between_members + data, b""
                self._inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
            try:
                piece = self._inflate.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                self._is_damaged = True
                if self._num_bytes == 0:
                    raise AudioError(f"expected intact gzip data, found: {error}") from error
                logger.warning(
                    "gzip: damaged after %d bytes, the rest is left out: %s", self._num_bytes, error
                )
                return
            self._num_bytes += len(piece)
            if piece:
                yield piece
            # Output may be left inside although all input has been taken.
            is_full = len(piece) == _PIECE_BYTES and not self._inflate.eof
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail

    def _starts_member(self, data: bytes) -> bool:
        """Whether another member follows the last one, and not padding or a signature."""
        head = (self._between_members + data)[: len(_MAGIC)]
        if len(head) < len(_MAGIC):
            self._between_members = head
        return head == _MAGIC

    def finish(self) -> None:
        """Logs that the file was cut, if it was."""
        if not self._inflate.eof and not self._is_damaged:
            logger.warning("gzip: the file ends in the middle, after %d bytes of content", self._num_bytes)
