"""A stream of bytes of any kind, to audio at its own rates: one file after the other, or raw samples."""

import logging
from collections.abc import Iterator
from typing import Protocol

from pykaldi_server.audio.caps import ContentType
from pykaldi_server.audio.compression import Gunzip
from pykaldi_server.audio.containers import (
    ENOUGH_BYTES,
    MPEG_AUDIO,
    Access,
    Container,
    Gzip,
    Id3Tag,
    NotAudio,
    Verdict,
    find_container,
)
from pykaldi_server.audio.next_file import NextFileFinder
from pykaldi_server.audio.pcm import Audio, RawFormat, RawSource
from pykaldi_server.audio.signatures import matches_signature
from pykaldi_server.audio.streaming import SpooledContainer, StreamingContainer
from pykaldi_server.audio.wav import WavSource, parse_wav_header
from pykaldi_server.errors import AudioError

__all__ = ["FileSequence", "Source"]

logger = logging.getLogger(__name__)

# Types of raw audio that files with a header have, too, and how these start: AU files go by the type of the
# mu-law that the first of them had.
_WITH_HEADER = {"audio/basic": [(0, b".snd")]}


class Source(Protocol):
    """Something that turns bytes into audio at its own rate."""

    @property
    def description(self) -> str:
        """What is being decoded, for people."""

    def feed(self, data: bytes) -> Iterator[Audio]:
        """Takes the next bytes and yields the audio that they complete."""

    def finish(self) -> Iterator[Audio]:
        """Takes the end of the bytes and yields the rest."""

    def close(self) -> None:
        """Frees everything, at any time."""


class FileSequence:
    """Decodes a stream of one or several files, as their bytes arrive.

    The first file must be audio. If one that follows cannot be decoded, that is logged, and what was decoded
    before stays valid.

    Args:
        content_type: what the client says.
        is_in_gzip: the bytes come out of a gzip file, in which no other may be.
    """

    def __init__(self, content_type: ContentType, is_in_gzip: bool = False) -> None:
        self._content_type = content_type
        self._is_in_gzip = is_in_gzip
        self._head = b""
        self._tag_bytes_left = 0
        self._after_tag = False
        self._is_first = True
        self._finder: NextFileFinder | None = None
        self._source: Source | None = None
        if content_type.raw is not None and content_type.media_type not in _WITH_HEADER:
            self._source = RawSource(content_type.raw)

    @property
    def description(self) -> str:
        """What is being decoded, for people: ``Ogg, opus, 48000 Hz, mono``."""
        return self._source.description if self._source else "unknown audio"

    def feed(self, data: bytes) -> Iterator[Audio]:
        """Takes the next bytes and yields the audio that they complete.

        Raises:
            AudioError: nothing of the first file can be decoded.
        """
        yield from self._feed(data, is_all=False)

    def finish(self) -> Iterator[Audio]:
        """Takes the end of the bytes and yields the rest.

        Raises:
            AudioError: nothing of the first file can be decoded.
        """
        yield from self._feed(b"", is_all=True)
        if self._source is None:
            if self._after_tag:
                raise AudioError("expected audio after the ID3 tag, found none")
            return
        if self._finder is not None:
            yield from self._decode(self._source.feed(self._finder.finish()))
        yield from self._decode(self._source.finish())
        self._source.close()

    def close(self) -> None:
        """Frees everything, at any time."""
        if self._source is not None:
            self._source.close()

    def _feed(self, data: bytes, is_all: bool) -> Iterator[Audio]:
        while True:
            if self._source is None:
                self._head += data
                self._open_source(is_all)
                if self._source is None:
                    return
                data, self._head = self._head, b""
            mine, rest = (data, None) if self._finder is None else self._finder.split(data)
            yield from self._decode(self._source.feed(mine))
            if rest is None:
                return
            yield from self._decode(self._source.finish())
            self._source.close()
            self._source, self._finder, self._is_first, self._after_tag = None, None, False, False
            data = rest

    def _decode(self, audio: Iterator[Audio]) -> Iterator[Audio]:
        """Passes audio on; errors only in the first file."""
        try:
            yield from audio
        except AudioError as error:
            if self._is_first:
                raise
            self._ignore_file(error)

    def _ignore_file(self, error: AudioError) -> None:
        logger.warning("a file that follows another one in the stream is left out: %s", error)
        self.close()
        self._source = _Ignored()

    def _open_source(self, is_all: bool) -> None:
        """Chooses what decodes the bytes in `_head`, unless they are too few to tell."""
        try:
            self._source = self._choose_source(is_all)
        except AudioError as error:
            if self._is_first:
                raise
            self._ignore_file(error)

    def _choose_source(self, is_all: bool) -> Source | None:
        if self._content_type.raw is not None:
            has_header = matches_signature(self._head, _WITH_HEADER[self._content_type.media_type])
            if has_header is None and not is_all:
                return None
            if not has_header:
                return RawSource(self._content_type.raw)
        self._skip_tags(is_all)
        if not self._head:
            return None
        found = find_container(self._head, is_all)
        if isinstance(found, NotAudio):
            raise AudioError(f"expected audio, found {found.description}")
        if isinstance(found, Gzip):
            if self._is_in_gzip:
                raise AudioError("expected audio inside the gzip file, found another gzip file")
            return _GzipSource(self._content_type)
        if found is Verdict.NO_CONTAINER:
            return self._source_without_signature()
        if not isinstance(found, Container):
            return None
        return self._open_container(found, is_all)

    def _skip_tags(self, is_all: bool) -> None:
        """Takes titles, pictures and the like off the front of `_head`."""
        while True:
            skipped = min(self._tag_bytes_left, len(self._head))
            self._head = self._head[skipped:]
            self._tag_bytes_left -= skipped
            if not self._head or not isinstance(tag := find_container(self._head, is_all), Id3Tag):
                return
            self._after_tag = True
            self._tag_bytes_left = tag.num_bytes

    def _source_without_signature(self) -> Source:
        """What decodes bytes that could be anything."""
        if self._after_tag:
            return StreamingContainer(MPEG_AUDIO)
        if self._content_type.container is not None:
            return StreamingContainer(self._content_type.container)
        if self._content_type.media_type:
            return StreamingContainer(Container(self._content_type.media_type, None, Access.FORWARD))
        return RawSource(RawFormat())

    def _open_container(self, container: Container, is_all: bool) -> Source | None:
        self._finder = NextFileFinder(container)
        if container.demuxer == "wav":
            header = parse_wav_header(self._head[:ENOUGH_BYTES])
            if header is None and not is_all and len(self._head) < ENOUGH_BYTES:
                return None
            if header is not None and header.raw is not None:
                return WavSource(header.raw, header)
        return (
            SpooledContainer(container) if container.access is Access.WHOLE else StreamingContainer(container)
        )


class _GzipSource:
    """Audio that was compressed as a whole."""

    def __init__(self, content_type: ContentType) -> None:
        self._gunzip = Gunzip()
        self._files = FileSequence(content_type, is_in_gzip=True)

    @property
    def description(self) -> str:
        return f"gzip, {self._files.description}"

    def feed(self, data: bytes) -> Iterator[Audio]:
        for piece in self._gunzip.feed(data):
            yield from self._files.feed(piece)

    def finish(self) -> Iterator[Audio]:
        self._gunzip.finish()
        return self._files.finish()

    def close(self) -> None:
        self._files.close()


class _Ignored:
    """Takes the place of a source that has failed after another one."""

    description = "left out"

    def feed(self, data: bytes) -> Iterator[Audio]:
        return iter(())

    def finish(self) -> Iterator[Audio]:
        return iter(())

    def close(self) -> None:
        pass
