"""Several files in one stream, tags, gzip, and what is not audio, through the whole decoder."""

import gzip
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AudioError

Encoder = Callable[..., bytes]
Samples = NDArray[np.float32]


def decode(data: bytes, piece_bytes: int | None = None, content_type: str | None = None) -> Samples:
    with AudioDecoder(content_type, 16000) as decoder:
        step = piece_bytes or len(data) or 1
        parts = [decoder.push(data[i : i + step]) for i in range(0, len(data), step)]
        return np.concatenate([*parts, decoder.finish()])


@pytest.fixture
def short(speech: NDArray[np.int16]) -> NDArray[np.int16]:
    return speech[:8000]


def wav(
    samples: NDArray[np.int16], rate_hz: int = 16000, channels: int = 1, data_bytes: int | None = None
) -> bytes:
    """A WAV file; `data_bytes` is the length that its header claims."""
    data = np.repeat(samples, channels).astype("<i2").tobytes()
    size = len(data) if data_bytes is None else data_bytes
    fmt = struct.pack("<HHIIHH", 1, channels, rate_hz, 2 * channels * rate_hz, 2 * channels, 16)
    head = b"RIFF" + struct.pack("<I", (36 + size) & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
    return head + b"data" + struct.pack("<I", size) + data


def test_cases_from_the_field(cases: Path, golden: Path) -> None:
    _, speech = read_wav(golden / "wav" / "ps-librivox-0880.wav")
    for name, times in (("two-wavs.wav", 2), ("rifx.wav", 1), ("speech.wv", 1), ("speech.wav.gz", 1)):
        for piece_bytes in (None, 997):
            result = decode((cases / name).read_bytes(), piece_bytes)
            np.testing.assert_array_equal(result, np.tile(speech, times), err_msg=name)


@pytest.mark.parametrize("name", ["video.ts", "fragmented.mp4"])
def test_lossy_cases_from_the_field(cases: Path, golden: Path, name: str) -> None:
    _, speech = read_wav(golden / "wav" / "ps-librivox-0880.wav")
    data = (cases / name).read_bytes()
    result = decode(data)
    num_samples = 46 * 1024
    signals = speech[:num_samples].astype(np.float64), result[1024:][:num_samples]
    levels = [np.abs(signal).reshape(-1, 1024).mean(axis=1) for signal in signals]
    assert np.corrcoef(levels)[0, 1] > 0.99
    for piece_bytes in (1 if name == "fragmented.mp4" else 5, 7, 16, 188):
        np.testing.assert_array_equal(decode(data, piece_bytes), result)


@pytest.mark.parametrize("piece_bytes", [None, 1, 10, 997])
@pytest.mark.parametrize("claimed", [None, 0, 100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wavs_follow_each_other(
    short: NDArray[np.int16], piece_bytes: int | None, claimed: int | None
) -> None:
    """Whatever length each header claims, also where it is that of all blocks or unknown."""
    stream = b"".join(wav(block, data_bytes=claimed) for block in np.array_split(short[:3000], 3))
    np.testing.assert_array_equal(decode(stream, piece_bytes), short[:3000])


def test_wavs_of_other_rates_and_channels_follow_each_other(short: NDArray[np.int16]) -> None:
    chunk = b"LIST" + struct.pack("<I", 4) + b"INFO"
    stream = wav(short) + chunk + wav(short[::2], 8000) + wav(short, channels=2) + b"RIFX" + bytes(3)
    result = decode(stream, 1009)
    np.testing.assert_array_equal(result[: len(short)], short)
    # The 8 kHz part is longer by what the filters of the rate converter hold.
    np.testing.assert_array_equal(result[-len(short) :], short)
    assert abs(len(result) - 3 * len(short)) <= 2
    assert np.corrcoef(result[len(short) : -len(short)][: len(short)], short)[0, 1] > 0.95


@pytest.mark.parametrize("piece_bytes", [None, 509])
@pytest.mark.parametrize(
    ("container", "codec", "rate_hz", "options"),
    [
        ("wav", "adpcm_ima_wav", 16000, {}),
        ("w64", "pcm_s16le", 16000, {}),
        ("aiff", "pcm_s16be", 16000, {}),
        ("caf", "pcm_s16le", 16000, {}),
        ("caf", "alac", 16000, {}),
        ("au", "pcm_mulaw", 8000, {}),
        ("avi", "pcm_s16le", 16000, {}),
        ("ogg", "libopus", 48000, {}),
        ("ogg", "flac", 8000, {}),
        ("webm", "libopus", 48000, {"live": "1"}),
        ("matroska", "pcm_s16le", 16000, {}),
        ("mp4", "aac", 16000, {}),
        ("mp4", "aac", 16000, {"movflags": "faststart"}),
        ("mp4", "aac", 16000, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("flac", "flac", 16000, {}),
        ("tta", "tta", 16000, {}),
        ("wv", "wavpack", 16000, {}),
        ("mp3", "libmp3lame", 16000, {}),
        ("mp2", "mp2", 16000, {}),
        ("adts", "aac", 16000, {}),
        ("ac3", "ac3", 48000, {}),
        ("amr", "libopencore_amrnb", 8000, {}),
        ("flv", "pcm_s16le", 44100, {}),
        ("asf", "adpcm_ms", 16000, {}),
        ("mpegts", "aac", 16000, {}),
        ("mpeg", "mp2", 48000, {}),
        ("voc", "pcm_u8", 16000, {}),
    ],
)
def test_files_of_all_kinds_follow_each_other(
    encode: Encoder,
    short: NDArray[np.int16],
    container: str,
    codec: str,
    rate_hz: int,
    options: dict[str, str],
    piece_bytes: int | None,
) -> None:
    file = encode(short, container, codec, rate_hz, "mono", options, 12200 if container == "amr" else None)
    once = decode(file)
    twice = decode(file + file, piece_bytes)
    # Runs of frames are one stream: filters go on, and what makes gapless playback possible counts once.
    tolerance = 1500 if codec in ("libmp3lame", "mp2", "ac3") or container in ("mpeg", "mpegts") else 2
    assert abs(len(twice) - 2 * len(once)) <= tolerance
    second_half = twice[-len(once) :]
    assert np.abs(second_half).mean() == pytest.approx(np.abs(once).mean(), rel=0.1)


def id3_tag(content: bytes) -> bytes:
    size = len(content)
    return b"ID3\4\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + content


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("flac", "flac")])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tag_bytes=st.sampled_from([0, 20, 1000, 200_000]), piece_bytes=st.integers(50, 5000))
def test_a_tag_with_a_picture_changes_nothing(
    encode: Encoder, short: NDArray[np.int16], container: str, codec: str, tag_bytes: int, piece_bytes: int
) -> None:
    picture = np.random.default_rng(tag_bytes).integers(0, 256, tag_bytes, np.uint8).tobytes()
    file = encode(short, container, codec, options={"id3v2_version": "0"} if container == "mp3" else None)
    expected = decode(file)
    np.testing.assert_array_equal(decode(id3_tag(picture) + id3_tag(b"") + file, piece_bytes), expected)


def test_a_tag_alone_is_not_audio() -> None:
    for data in (id3_tag(bytes(300)), id3_tag(bytes(300))[:100]):
        with pytest.raises(AudioError, match="expected audio after the ID3 tag, found none"):
            decode(data)


def test_mp3_with_tags_in_the_middle(encode: Encoder, short: NDArray[np.int16]) -> None:
    file = encode(short, "mp3", "libmp3lame")
    assert file.startswith(b"ID3")
    np.testing.assert_array_equal(decode(file + file, 777), np.tile(decode(file), 2))


def test_a_second_file_that_is_damaged_is_left_out(
    short: NDArray[np.int16], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = bytearray(wav(short))
    damaged[22:24] = b"\xff\xff"  # the number of channels
    for piece_bytes in (None, 700):
        with caplog.at_level(logging.WARNING):
            result = decode(wav(short) + bytes(damaged) + wav(short[:100]), piece_bytes)
        np.testing.assert_array_equal(result, np.concatenate([short, short[:100]]))
        assert "left out: WAV header: channels: expected 1 to 256, found 65535" in caplog.text


def test_a_second_header_that_is_cut_takes_nothing_away(
    short: NDArray[np.int16], caplog: pytest.LogCaptureFixture
) -> None:
    np.testing.assert_array_equal(decode(wav(short) + wav(short)[:30], 100), short)
    assert "a file that follows another one in the stream is left out" in caplog.text


@pytest.mark.parametrize("piece_bytes", [None, 1, 997])
def test_au_files_have_the_type_of_raw_mu_law(short: NDArray[np.int16], piece_bytes: int | None) -> None:
    """That is what browsers and Python's `mimetypes` call them."""
    head = b".snd" + struct.pack(">5I", 24, 2 * len(short), 3, 16000, 1)
    found = decode(head + short.astype(">i2").tobytes(), piece_bytes, "audio/basic")
    np.testing.assert_array_equal(found, short)
    dots = b".sn" * 100
    with AudioDecoder("audio/x-mulaw", 16000) as decoder:
        expected = np.concatenate([decoder.push(dots), decoder.finish()])
    np.testing.assert_array_equal(decode(dots, piece_bytes, "audio/basic"), expected)
    with AudioDecoder("audio/basic", None) as decoder:
        assert len(decoder.push(b".sn")) + len(decoder.finish()) == 3


@pytest.mark.parametrize("compressed", ["wav", "raw", "flac", "twice"])
@pytest.mark.parametrize("piece_bytes", [None, 1009])
def test_gzip_is_undone(
    encode: Encoder, short: NDArray[np.int16], compressed: str, piece_bytes: int | None
) -> None:
    flac = encode(short, "flac", "flac")
    data = {"wav": wav(short), "raw": short.tobytes(), "flac": flac, "twice": wav(short[:9]) + wav(short[9:])}
    result = decode(gzip.compress(data[compressed]), piece_bytes)
    np.testing.assert_array_equal(result, short)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (gzip.compress(b"RIFF", mtime=0), "expected audio inside the gzip file, found another gzip file"),
        (b"<html><body>404</body></html>", "expected audio, found an HTML page"),
    ],
)
def test_gzip_of_something_else_is_refused(content: bytes, text: str) -> None:
    with pytest.raises(AudioError, match=text):
        decode(gzip.compress(content))


@pytest.mark.parametrize(
    "data", [b"<html><body>Bad gateway</body></html>", b"%PDF-1.7 ...", b"PK\3\4" + bytes(60), b'{"eof" : 1}']
)
@pytest.mark.parametrize(
    "content_type", [None, "audio/wav", "audio/mpeg", "application/octet-stream", "text/plain"]
)
def test_what_is_not_audio_is_an_error_that_names_it(data: bytes, content_type: str | None) -> None:
    for piece_bytes in (None, 1):
        with pytest.raises(AudioError, match=r"expected audio, found (an HTML page|a PDF|a ZIP|JSON)"):
            decode(data, piece_bytes, content_type)


def test_webm_without_its_head_is_an_error(encode: Encoder, short: NDArray[np.int16]) -> None:
    webm = encode(short, "webm", "libopus", 48000, "mono", {"live": "1", "cluster_time_limit": "100"})
    cluster = webm.index(b"\x1f\x43\xb6\x75")
    for start in (cluster, webm.index(b"\xa3", cluster)):
        with pytest.raises(AudioError, match="without the head of the file"):
            decode(webm[start:])


def gsm_frames(num_frames: int) -> bytes:
    """GSM 06.10 frames of noise: any bits are a frame, behind the four fixed ones."""
    bits = np.random.default_rng(5).integers(0, 256, (num_frames, 33), np.uint8)
    bits[:, 0] = 0xD0 | bits[:, 0] & 15
    return bits.tobytes()


@pytest.mark.parametrize(
    ("num_frames", "content_type"), [(100, None), (3, None), (1, "audio/gsm"), (30, "audio/x-gsm")]
)
def test_raw_gsm(num_frames: int, content_type: str | None) -> None:
    with AudioDecoder(content_type, None) as decoder:
        result = np.concatenate([decoder.push(gsm_frames(num_frames)), decoder.finish()])
        assert decoder.source_rate_hz == 8000
    assert len(result) == 160 * num_frames
    assert np.abs(result).mean() > 100


def test_g722_needs_its_type(encode: Encoder, short: NDArray[np.int16]) -> None:
    data = encode(short, "g722", "g722")
    assert len(decode(data, content_type="audio/G722")) == len(short)


def test_mpeg_audio_may_begin_in_the_middle_of_a_frame(encode: Encoder, short: NDArray[np.int16]) -> None:
    mp3 = encode(short, "mp3", "libmp3lame", options={"id3v2_version": "0", "write_xing": "0"})
    result = decode(mp3[100:], content_type="audio/mpeg")
    assert len(result) > len(short) - 2000


def test_a_container_without_any_audio_is_an_error(encode: Encoder, short: NDArray[np.int16]) -> None:
    webm = encode(short, "webm", "libopus", 48000, "mono", {"live": "1"})
    head = webm[: webm.index(b"\x1f\x43\xb6\x75")]
    aiff = encode(short, "aiff", "pcm_s16be")
    for data in (head, aiff[: aiff.index(b"SSND") + 16], b"fLaC\0\0\0\x22" + bytes(34)):
        with pytest.raises(AudioError, match=r"cannot decode|found an audio stream without any"):
            decode(data)
