"""WAV files of uncompressed audio, read as a stream.

By far the most common format has a reader of its own, because a live stream often carries a length in its
header that was made up before the audio existed (0, 0xFFFFFFFF, the length of the first block), and because
FFmpeg looks at some seconds of 16-bit audio before it returns any (it may be a disguised digital surround
stream).

Sources: the RIFF/WAVE format as Microsoft and IBM published it (1991), which has RIFX for big-endian numbers
and samples; WAVEFORMATEXTENSIBLE; EBU Tech 3306 and ITU-R BS.2088 (RF64 and BW64: files over 4 GB).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pykaldi_server.audio.pcm import Audio, RawFormat, RawSource
from pykaldi_server.errors import AudioError

__all__ = ["WavHeader", "WavSource", "parse_wav_header"]

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SAMPLE_FORMATS = {
    (_PCM, 8): "U8",
    (_PCM, 16): "S16",
    (_PCM, 24): "S24",
    (_PCM, 32): "S32",
    (_FLOAT, 32): "F32",
    (_FLOAT, 64): "F64",
    (_A_LAW, 8): "ALAW",
    (_MU_LAW, 8): "MULAW",
}
_SIZE_ELSEWHERE = 0xFFFFFFFF
_LARGE_CHUNKS = (b"LIST", b"id3 ", b"ID3 ")  # they may hold pictures
_LARGEST_OTHER_CHUNK_BYTES = 1 << 20
_CHUNK_ID = re.compile(rb"[A-Za-z0-9_ ]{4}")


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What comes before the samples.

    Attributes:
        raw: layout of the samples; None where they are compressed.
        data_offset: where the samples start.
        data_bytes: how many bytes of samples the header promises; it may be wrong.
        byte_order: of numbers, as `struct` writes it.
    """

    raw: RawFormat | None
    data_offset: int
    data_bytes: int
    byte_order: str = "<"


def parse_wav_header(head: bytes) -> WavHeader | None:
    """Reads the chunks up to the samples.

    Args:
        head: the first bytes of the file, which start with ``RIFF....WAVE`` (or RIFX, RF64, BW64).

    Returns:
        The header, or None when more bytes are needed.

    Raises:
        AudioError: the header is damaged.
    """
    order = ">" if head.startswith(b"RIFX") else "<"
    raw: RawFormat | None = None
    has_format = False
    large_data_bytes = _SIZE_ELSEWHERE
    offset = 12
    while len(head) >= offset + 8:
        chunk_id, size = struct.unpack_from(f"{order}4sI", head, offset)
        body = offset + 8
        if chunk_id == b"data":
            if not has_format:
                raise AudioError("WAV header: expected a 'fmt ' chunk before the 'data' chunk, found none")
            return WavHeader(raw, body, large_data_bytes if size == _SIZE_ELSEWHERE else size, order)
        if len(head) < body + min(size, 40):
            return None
        if chunk_id == b"fmt ":
            if size < 16:
                raise AudioError(f"WAV header: expected a 'fmt ' chunk of at least 16 bytes, found {size}")
            raw, has_format = _parse_format(head[body : body + size], order), True
        elif chunk_id == b"ds64" and size >= 16:
            (large_data_bytes,) = struct.unpack_from(f"{order}Q", head, body + 8)
        offset = body + size + size % 2
    return None


def _parse_format(chunk: bytes, order: str) -> RawFormat | None:
    codec, channels, rate_hz, _, block_bytes, bits = struct.unpack_from(f"{order}HHIIHH", chunk)
    if codec == _EXTENSIBLE and len(chunk) >= 26:
        (codec,) = struct.unpack_from(f"{order}H", chunk, 24)
    sample_format = _SAMPLE_FORMATS.get((codec, bits))
    if sample_format is None:
        return None
    if sample_format[0] in "SF":
        sample_format += "BE" if order == ">" else "LE"
    try:
        raw = RawFormat(sample_format, rate_hz, channels)
    except AudioError as error:
        raise AudioError(f"WAV header: {error}") from None
    return raw if block_bytes == raw.bytes_per_frame else None


class WavSource:
    """Turns the bytes of an uncompressed WAV file into samples.

    Where the audio should end according to the header, another chunk or the end of the file must follow. If
    something else does, the header was wrong, and all the rest is audio.

    Args:
        raw: layout of the samples.
        header: what `parse_wav_header` found.
    """

    def __init__(self, raw: RawFormat, header: WavHeader) -> None:
        self._samples = RawSource(raw)
        self._chunk = struct.Struct(f"{header.byte_order}4sI")
        self._header_bytes_left = header.data_offset
        self._data_bytes_left: int | None = header.data_bytes
        self._padding_bytes = header.data_bytes % 2
        self._after_data = b""
        self._ended = False
        self.description = f"WAV, {raw}"

    def feed(self, data: bytes) -> Iterator[Audio]:
        """Yields the samples that `data`, the next bytes of the file, completes."""
        skipped = min(self._header_bytes_left, len(data))
        self._header_bytes_left -= skipped
        view = memoryview(data)[skipped:]
        if self._data_bytes_left is None:
            yield from self._samples.feed(view)
            return
        yield from self._samples.feed(view[: self._data_bytes_left])
        if not self._ended:
            self._after_data += view[self._data_bytes_left :]
        self._data_bytes_left = max(0, self._data_bytes_left - len(view))
        next_chunk = self._after_data[self._padding_bytes :]
        if not self._ended and len(next_chunk) >= self._chunk.size:
            if _is_chunk(*self._chunk.unpack_from(next_chunk)):
                self._ended = True
            else:
                self._data_bytes_left = None
                yield from self._samples.feed(self._after_data)
            self._after_data = b""

    def finish(self) -> Iterator[Audio]:
        """Yields what is too short to be a chunk; a sample that is cut in the middle is dropped."""
        rest, self._after_data = self._after_data, b""
        is_audio = len(rest) > self._padding_bytes and not _CHUNK_ID.match(rest, self._padding_bytes)
        return self._samples.feed(rest if is_audio else b"")

    def close(self) -> None:
        """Does nothing; there are no resources."""


def _is_chunk(chunk_id: bytes, size: int) -> bool:
    """Whether these look like the first bytes of a chunk; samples do once in a million files."""
    may_be_large = chunk_id in _LARGE_CHUNKS
    return may_be_large or (size < _LARGEST_OTHER_CHUNK_BYTES and bool(_CHUNK_ID.fullmatch(chunk_id)))
