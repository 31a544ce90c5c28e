"""How long a recording is, as far as its file says so: for progress, and to share work out."""

import os

from pykaldi_server.audio.caps import parse_content_type
from pykaldi_server.audio.containers import ENOUGH_BYTES, Container, Verdict, find_container
from pykaldi_server.audio.pcm import RawFormat
from pykaldi_server.audio.wav import parse_wav_header
from pykaldi_server.errors import AudioError

__all__ = ["estimated_duration_s"]


def estimated_duration_s(path: str | os.PathLike[str], content_type: str | None = None) -> float | None:
    """Estimates the length of a recording without decoding it.

    Args:
        path: the file.
        content_type: how it is encoded, see `AudioDecoder`.

    Returns:
        Seconds; headers may be wrong about it. None if the file does not say, or cannot be read as audio.
    """
    try:
        if not os.path.isfile(path):  # a pipe can be read only once
            return None
        with open(path, "rb") as file:
            head = file.read(ENOUGH_BYTES)
        num_bytes = os.path.getsize(path)
        raw = parse_content_type(content_type).raw
        if raw is not None:
            return _raw_duration_s(num_bytes, raw)
        found = find_container(head, len(head) == num_bytes)
        if found is Verdict.NO_CONTAINER:
            return _raw_duration_s(num_bytes, RawFormat())
        if not isinstance(found, Container):
            return None
        if (
            found.demuxer == "wav"
            and (header := parse_wav_header(head)) is not None
            and header.raw is not None
        ):
            return _raw_duration_s(min(header.data_bytes, num_bytes - header.data_offset), header.raw)
        return _container_duration_s(path, found)
    except (OSError, AudioError):  # whoever recognises the file says what is wrong with it
        return None


def _raw_duration_s(num_bytes: int, raw: RawFormat) -> float:
    return num_bytes / raw.bytes_per_frame / raw.rate_hz


def _container_duration_s(path: str | os.PathLike[str], container: Container) -> float | None:
    import av  # which most recordings do not need, and takes long to import

    from pykaldi_server.audio.ffmpeg import lenient_metadata

    try:
        with av.open(
            os.fspath(path),
            format=container.demuxer,
            options={"protocol_whitelist": "file"},
            **lenient_metadata(),
        ) as opened:
            stream = next(iter(opened.streams.audio), None)
            if stream is not None and stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return None if opened.duration is None else opened.duration / av.time_base
    except av.FFmpegError:
        return None
