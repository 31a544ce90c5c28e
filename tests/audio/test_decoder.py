"""AudioDecoder on every codec, cut anywhere, damaged, and left alone."""

import gc
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AudioError, DecoderError

Encoder = Callable[..., bytes]


@dataclass(frozen=True)
class Codec:
    """How to encode, and how good the result must be.

    `least_snr_db` and `delay_samples` are what the codecs do to speech: they are lossy (AMR does not even
    keep the wave form), and some streams do not say how many samples of silence the encoder put in front.
    """

    name: str
    container: str
    codec: str
    rate_hz: int = 16000
    layout: str = "mono"
    options: dict[str, str] = field(default_factory=dict)
    bit_rate_bps: int | None = None
    least_snr_db: float = 100.0
    delay_samples: int = 0
    is_live: bool = True
    description: str = ""

    def __str__(self) -> str:
        return self.name


CODECS = [
    Codec("ogg-opus", "ogg", "libopus", 48000, least_snr_db=12, description="Ogg, opus, 48000 Hz, mono"),
    Codec("webm-opus", "webm", "libopus", 48000, options={"live": "1"}, least_snr_db=12),
    Codec("ogg-vorbis", "ogg", "vorbis", layout="stereo", least_snr_db=8),
    Codec("flac", "flac", "flac", description="FLAC, flac, 16000 Hz, mono"),
    Codec("mp3", "mp3", "libmp3lame", least_snr_db=12),
    Codec(
        "mp3-bare",
        "mp3",
        "libmp3lame",
        options={"write_xing": "0", "id3v2_version": "0"},
        least_snr_db=12,
        delay_samples=1105,
    ),
    Codec("m4a-index-last", "mp4", "aac", least_snr_db=20, is_live=False),
    Codec("m4a-index-first", "mp4", "aac", options={"movflags": "faststart"}, least_snr_db=20),
    Codec(
        "m4a-fragments",
        "mp4",
        "aac",
        options={"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"},
        least_snr_db=20,
        delay_samples=1024,
    ),
    Codec("aac", "adts", "aac", least_snr_db=20, delay_samples=1024),
    Codec("amr", "amr", "libopencore_amrnb", 8000, bit_rate_bps=12200, least_snr_db=-np.inf),
    Codec("wav", "wav", "pcm_s16le"),
    Codec("wav-alaw", "wav", "pcm_alaw", 8000, least_snr_db=12),
    Codec("wav-adpcm", "wav", "adpcm_ima_wav", least_snr_db=12),
    Codec("wave64", "w64", "pcm_s24le"),
    Codec("au-mulaw", "au", "pcm_mulaw", 8000, least_snr_db=12),
    Codec("aiff", "aiff", "pcm_s16be"),
    Codec("caf", "caf", "pcm_s16le"),
    Codec("caf-alac", "caf", "alac", is_live=False),
]


def decode(
    data: bytes, content_type: str | None = None, cuts: list[int] | None = None
) -> NDArray[np.float32]:
    bounds = [0, *sorted(cuts or []), len(data)]
    with AudioDecoder(content_type, 16000) as decoder:
        parts = [decoder.push(data[begin:end]) for begin, end in pairwise(bounds)]
        return np.concatenate([*parts, decoder.finish()])


def snr_db(expected: NDArray[np.int16], found: NDArray[np.float32], delay_samples: int) -> float:
    """Ratio of signal to difference, at the best delay within 40 samples of the expected one."""
    ratios = []
    for delay in range(delay_samples - 40, delay_samples + 41):
        begin = max(0, -delay)
        length = min(len(expected) - begin, len(found) - begin - delay)
        signal = expected[begin : begin + length].astype(np.float64)
        difference = signal - found[begin + delay : begin + delay + length]
        ratios.append(10 * np.log10((signal**2).sum() / max((difference**2).sum(), 1e-9)))
    return float(max(ratios))


def loudness_correlation(expected: NDArray[np.int16], found: NDArray[np.float32]) -> float:
    """Correlation of the levels (dB) in windows of 50 ms."""
    num_windows = min(len(expected), len(found)) // 800
    levels_db = [
        20 * np.log10(10 + np.abs(signal[: num_windows * 800]).reshape(-1, 800).mean(axis=1))
        for signal in (expected.astype(np.float64), found)
    ]
    return float(np.corrcoef(levels_db)[0, 1])


@pytest.fixture(params=CODECS, ids=str, scope="module")
def codec(request: pytest.FixtureRequest) -> Codec:
    assert isinstance(request.param, Codec)
    return request.param


@pytest.fixture(scope="module")
def encoded(codec: Codec, encode: Encoder, speech: NDArray[np.int16]) -> bytes:
    writing = (codec.rate_hz, codec.layout, codec.options, codec.bit_rate_bps)
    return encode(speech, codec.container, codec.codec, *writing)


def test_every_codec_gives_the_speech_back(codec: Codec, encoded: bytes, speech: NDArray[np.int16]) -> None:
    with AudioDecoder(None, 16000) as decoder:
        result = np.concatenate([decoder.push(encoded), decoder.finish()])
        assert decoder.source_rate_hz == codec.rate_hz
        assert codec.description in decoder.description
    assert result.dtype == np.float32
    assert snr_db(speech, result, codec.delay_samples) > codec.least_snr_db
    assert loudness_correlation(speech, result[codec.delay_samples :]) > 0.9


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_cutting_the_bytes_changes_nothing(encoded: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(encoded)), max_size=40))
    np.testing.assert_array_equal(decode(encoded, cuts=cuts), decode(encoded))


def test_live_audio_comes_while_it_is_sent(codec: Codec, encoded: bytes, speech: NDArray[np.int16]) -> None:
    with AudioDecoder("audio/ogg", 16000) as decoder:
        first_half = decoder.push(encoded[: len(encoded) // 2])
        if codec.is_live:
            # Ogg pages and WebM clusters hold up to a second.
            assert len(first_half) > 0.1 * len(speech)
        else:
            assert len(first_half) == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_truncated_or_damaged_files_do_no_harm(encoded: bytes, data: st.DataObject) -> None:
    damaged = bytearray(encoded[: data.draw(st.integers(1, len(encoded)))])
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=10)):
        damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        result = decode(bytes(damaged))
    except AudioError as error:
        assert str(error)  # noqa: PT017
    else:
        assert np.isfinite(result).all()
        assert np.abs(result).max(initial=0) <= 32768


def test_a_file_cut_in_the_middle_gives_its_first_half(
    codec: Codec, encoded: bytes, speech: NDArray[np.int16]
) -> None:
    half = encoded[: len(encoded) // 2]
    if codec.is_live:
        assert len(decode(half)) > 0.2 * len(speech)
    else:
        with pytest.raises(AudioError, match="cannot decode the audio"):
            decode(half)


def test_more_channels_are_mixed_down(encode: Encoder, speech: NDArray[np.int16]) -> None:
    flac = encode(speech, "flac", "flac", layout="stereo")
    # FFmpeg spreads mono to two channels at -3 dB each.
    np.testing.assert_allclose(decode(flac), speech * np.sqrt(0.5), atol=1)


def test_nist_sphere(speech: NDArray[np.int16]) -> None:
    header = (
        "NIST_1A\n   1024\nchannel_count -i 1\nsample_rate -i 16000\nsample_n_bytes -i 2\n"
        f"sample_byte_format -s2 10\nsample_coding -s3 pcm\nsample_count -i {len(speech)}\nend_head\n"
    )
    data = header.encode().ljust(1024) + speech.astype(">i2").tobytes()
    np.testing.assert_array_equal(decode(data), speech)


def test_without_a_signature_audio_is_raw(speech: NDArray[np.int16]) -> None:
    np.testing.assert_array_equal(decode(speech.tobytes()), speech)
    np.testing.assert_array_equal(decode(speech.tobytes(), "application/x-www-form-urlencoded"), speech)


def test_caps_rule_over_signatures() -> None:
    data = b"RIFF\0\0\0\0WAVE"
    np.testing.assert_array_equal(decode(data, "audio/x-raw"), np.frombuffer(data, "<i2"))


def test_caps_tell_the_rate(speech: NDArray[np.int16]) -> None:
    with AudioDecoder("audio/x-raw, rate=8000", 16000) as decoder:
        result = np.concatenate([decoder.push(speech[::2].tobytes()), decoder.finish()])
        assert decoder.source_rate_hz == 8000
        assert decoder.description == "raw S16LE, 8000 Hz, mono"
    assert len(result) == len(speech[::2]) * 2


def test_the_rate_may_be_left_as_it_is(encode: Encoder, speech: NDArray[np.int16]) -> None:
    wav = encode(speech, "wav", "pcm_s16le", 8000)
    with AudioDecoder(None, None) as decoder:
        assert decoder.sample_rate_hz is None
        result = np.concatenate([decoder.push(wav), decoder.finish()])
        assert decoder.sample_rate_hz == decoder.source_rate_hz == 8000
    assert len(result) == len(speech) // 2


@pytest.mark.parametrize("content_type", [None, "audio/x-raw", "audio/wav", "audio/ogg", "video/mp4"])
def test_empty_input_gives_no_samples(content_type: str | None) -> None:
    assert decode(b"", content_type).shape == (0,)


@pytest.mark.parametrize("content_type", ["audio/ogg", "audio/wav", "video/mp4", "audio/unheard-of"])
def test_a_container_that_is_none(content_type: str) -> None:
    noise = np.random.default_rng(1).integers(0, 128, 20000, np.uint8).tobytes()
    with pytest.raises(AudioError, match=f"cannot decode the audio as {content_type}"):
        decode(noise, content_type)


def test_a_script_that_names_files_opens_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Encoder, speech: NDArray[np.int16]
) -> None:
    (tmp_path / "secret.wav").write_bytes(encode(speech, "wav", "pcm_s16le"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match="expected audio, found text"):
        decode(b"ffconcat version 1.0\nfile secret.wav\n", "audio/x-script")


def test_a_file_without_audio() -> None:
    empty_ebml = b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01" + b"\x18\x53\x80\x67\x80"
    with pytest.raises(AudioError, match="Matroska"):
        decode(empty_ebml)


def test_an_odd_rate_in_a_container_is_refused() -> None:
    data = b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFFF, 3, 7, 1) + bytes(5000)
    with pytest.raises(AudioError, match="1000 to 768000 Hz, found 7"):
        decode(data)


def decoder_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "audio-decoder"]


def test_no_thread_is_left(encode: Encoder, speech: NDArray[np.int16]) -> None:
    opus = encode(speech, "ogg", "libopus", 48000)
    before = len(decoder_threads())
    for data in (opus, opus[:3000], b"OggS" + bytes(5000)):
        with AudioDecoder(None, 16000) as decoder:
            try:
                decoder.push(data)
                assert len(decoder_threads()) == before + 1
            except AudioError:
                pass
        assert len(decoder_threads()) == before


def test_an_abandoned_decoder_ends_its_thread(encode: Encoder, speech: NDArray[np.int16]) -> None:
    opus = encode(speech, "ogg", "libopus", 48000)
    decoder = AudioDecoder(None, 16000)
    decoder.push(opus[:3000])
    thread = decoder_threads()[-1]
    del decoder
    gc.collect()
    thread.join(timeout=200)
    assert not thread.is_alive()


def test_leaving_samples_behind_ends_the_thread(encode: Encoder, speech: NDArray[np.int16]) -> None:
    flac = encode(np.tile(speech, 10), "flac", "flac")
    decoder = AudioDecoder(None, 16000)
    pieces = decoder.decode(flac)
    next(pieces)
    assert len(decoder_threads()) == 1
    pieces.close()
    assert not decoder_threads()


def test_a_small_file_of_long_silence_comes_in_pieces(encode: Encoder) -> None:
    silence = np.zeros(16000 * 600, np.int16)
    flac = encode(silence, "flac", "flac")
    assert len(flac) < 150_000
    with AudioDecoder(None, 16000) as decoder:
        lengths = [len(piece) for piece in decoder.decode(flac)]
        lengths += [len(piece) for piece in decoder.decode_rest()]
    assert sum(lengths) == len(silence)
    assert max(lengths) < 100_000


def test_a_decoder_serves_one_stream(speech: NDArray[np.int16]) -> None:
    decoder = AudioDecoder(None, 16000)
    decoder.push(speech.tobytes())
    decoder.finish()
    for call in (decoder.finish, lambda: decoder.push(b"\0\0")):
        with pytest.raises(DecoderError, match="a stream needs one of its own"):
            call()
