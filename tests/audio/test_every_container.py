"""Every container that FFmpeg can write is recognised, and gives the same samples however it is cut."""

from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
import pytest
from audio_files import Encoding, encodings_of, muxers
from golden_data import read_wav
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.audio.ffmpeg import lenient_metadata
from pykaldi_server.errors import AudioError

Samples = NDArray[np.float32]

# Samples without a header, which only their type can describe.
_RAW_FORMATS = [
    *("S8", "U8", "S16LE", "S16BE", "U16LE", "U16BE", "S24LE", "S24BE", "S32LE", "S32BE"),
    *("F32LE", "F32BE", "F64LE", "F64BE"),
]
CONTENT_TYPES = {
    "alaw": "audio/x-alaw; rate=16000",
    "mulaw": "audio/x-mulaw; rate=16000",
    "g722": "audio/g722",
    **{name.lower(): f"audio/x-raw, format={name}" for name in _RAW_FORMATS},
}
# Formats without a signature for which no type is known either.
UNKNOWN = {"aptx", "aptx_hd", "dfpwm", "g726", "g726le", "rso", "u24be", "u24le", "u32be", "u32le", "vidc"}
# FFmpeg itself cannot decode what it has written here: the table of a codec's parameters has no place for it.
NOT_DECODABLE = {("wav", "aac"), ("w64", "aac"), ("wtv", "aac"), ("nut", "adpcm_ima_wav"), ("nut", "g726")}
# Containers whose last frames FFmpeg cuts off only if it knows the length of the file.
LONGER_BY_SAMPLES = 1200

SPEECH_SAMPLES = 5600
EDGE_BYTES = 600


@cache
def speech() -> NDArray[np.int16]:
    path = Path(__file__).resolve().parent.parent / "data" / "golden" / "wav" / "ps-librivox-0880.wav"
    return read_wav(path)[1][4000 : 4000 + SPEECH_SAMPLES].astype(np.int16)


@cache
def files_of(muxer: str, most: int = 1) -> list[tuple[Encoding, bytes]]:
    """Files of a muxer with the first `most` codecs that it takes; common codecs come first."""
    usable = (
        (encoding, data)
        for encoding, data in encodings_of(muxer, speech())
        if (muxer, encoding.codec) not in NOT_DECODABLE and _ffmpeg_finds_audio(muxer, data)
    )
    return [file for _, file in zip(range(most), usable, strict=False)]


def _ffmpeg_finds_audio(muxer: str, data: bytes) -> bool:
    """False where a muxer writes packets of a codec that it has no name for, as MPEG-TS does."""
    return muxer in CONTENT_TYPES or muxer in UNKNOWN or muxer == "sbc" or reference(data) is not None


def reference(data: bytes) -> Samples | None:
    """What FFmpeg makes of the whole file, mixed down, at its own rate; None without audio."""
    pieces: list[Samples] = []
    try:
        with av.open(BytesIO(data), "r", **lenient_metadata()) as container:
            for frame in container.decode(audio=0):
                resampler = av.AudioResampler("fltp", frame.layout, frame.sample_rate)
                pieces += [converted.to_ndarray().mean(axis=0) for converted in resampler.resample(frame)]
    except (av.FFmpegError, IndexError):
        pass
    return np.concatenate(pieces) * 32768 if pieces else None


def decode(data: bytes, muxer: str, bounds: list[int]) -> Samples:
    with AudioDecoder(CONTENT_TYPES.get(muxer), None) as decoder:
        parts = [decoder.push(data[begin:end]) for begin, end in pairwise([0, *bounds, len(data)])]
        return np.concatenate([*parts, decoder.finish()])


def skip_without_encoder(muxer: str) -> NoReturn:
    pytest.skip(f"this FFmpeg has no encoder whose audio {muxer} takes without a picture")


def pieces_of(num_bytes: int, total: int) -> list[int]:
    return list(range(num_bytes, total, num_bytes))


def bytes_at_the_edges(total: int) -> list[int]:
    """Single bytes where headers and indices are, larger pieces between."""
    edges = {*range(1, min(EDGE_BYTES, total)), *range(max(1, total - EDGE_BYTES // 3), total)}
    return sorted(edges | set(range(1, total, 509)))


MUXERS = [muxer for muxer in muxers() if muxer not in UNKNOWN]


def test_exceptions_exist() -> None:
    assert set(muxers()) >= UNKNOWN | set(CONTENT_TYPES)


@pytest.mark.parametrize("muxer", MUXERS)
def test_is_decoded_as_ffmpeg_does_and_in_any_pieces(muxer: str) -> None:
    for encoding, data in files_of(muxer) or skip_without_encoder(muxer):
        whole = decode(data, muxer, [])
        assert len(whole) > 0.8 * SPEECH_SAMPLES / 16000 * encoding.rate_hz, encoding
        if muxer not in CONTENT_TYPES and (expected := reference(data)) is not None:
            common = min(len(whole), len(expected))
            assert abs(len(whole) - len(expected)) <= LONGER_BY_SAMPLES, encoding
            np.testing.assert_allclose(whole[:common], expected[:common], atol=1.0, err_msg=str(encoding))
        for bounds in (bytes_at_the_edges(len(data)), pieces_of(997, len(data))):
            np.testing.assert_array_equal(decode(data, muxer, bounds), whole, err_msg=str(encoding))


@pytest.mark.parametrize("muxer", MUXERS)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_random_cuts_change_nothing(muxer: str, data: st.DataObject) -> None:
    for _, file in files_of(muxer) or skip_without_encoder(muxer):
        bounds = data.draw(st.lists(st.integers(0, len(file)), max_size=60).map(sorted))
        np.testing.assert_array_equal(decode(file, muxer, bounds), decode(file, muxer, []))


def decode_or_refuse(data: bytes, muxer: str, bounds: list[int]) -> Samples | str:
    """The samples, or the error where the beginning of a file is not enough."""
    try:
        return decode(data, muxer, bounds)
    except AudioError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("muxer", MUXERS)
def test_every_codec_in_pieces_of_every_length(muxer: str) -> None:
    for encoding, data in files_of(muxer, most=100):
        for some, lengths in ((data, (101, 1009, 4096, 65537)), (data[:6000], (1, 2, 3, 5, 8, 13, 16))):
            whole = decode_or_refuse(some, muxer, [])
            for num_bytes in lengths:
                found = decode_or_refuse(some, muxer, pieces_of(num_bytes, len(some)))
                np.testing.assert_array_equal(found, whole, err_msg=f"{encoding}, {num_bytes} bytes")
