"""Mixing and choosing channels."""

import logging
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from golden_data import read_wav
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.audio.channels import Channels, ChannelSelector
from pykaldi_server.audio.pcm import Audio
from pykaldi_server.errors import ConfigError

Frames = NDArray[np.float32]
RATE_HZ = 16_000


def select(frames: Frames, channels: Channels = "mix", cuts: list[int] | None = None) -> Frames:
    """All frames that come out, shape (n, channels); cut in pieces on the way in."""
    selector = ChannelSelector(channels)
    bounds = [0, *sorted(cuts or []), len(frames)]
    pieces = [Audio(RATE_HZ, frames[begin:end]) for begin, end in pairwise(bounds)]
    selected = [audio.frames for piece in pieces for audio in selector.select(piece)]
    return np.concatenate([*selected, *(audio.frames for audio in selector.finish())])


@pytest.fixture(scope="module")
def voice(golden: Path) -> NDArray[np.float32]:
    return read_wav(golden / "wav" / "ps-librivox-0880.wav")[1]


@pytest.fixture(scope="module")
def other_voice(golden: Path, voice: NDArray[np.float32]) -> NDArray[np.float32]:
    return read_wav(golden / "wav" / "ps-numbers.wav")[1][: len(voice)]


def noise(length: int, amplitude: float, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, amplitude, length).round().astype(np.float32)


def test_the_case_from_the_field(cases: Path, voice: NDArray[np.float32]) -> None:
    data = (cases / "antiphase.wav").read_bytes()
    for piece_bytes in (len(data), 61, 997):
        with AudioDecoder(None, RATE_HZ) as decoder:
            parts = [decoder.push(data[i : i + piece_bytes]) for i in range(0, len(data), piece_bytes)]
            np.testing.assert_array_equal(np.concatenate([*parts, decoder.finish()]), voice)


@pytest.mark.parametrize("level", [1.0, 0.5, 2.0])
def test_an_inverted_channel_is_put_right_from_the_start(voice: NDArray[np.float32], level: float) -> None:
    frames = np.stack([voice, -voice * level], axis=1)
    np.testing.assert_allclose(select(frames)[:, 0], voice * (1 + level) / 2, atol=0.01)


def test_noise_in_each_channel_does_not_hide_an_inversion(voice: NDArray[np.float32]) -> None:
    frames = np.stack([voice + noise(len(voice), 50), -voice + noise(len(voice), 50, seed=2)], axis=1)
    mixed = select(frames)[:, 0]
    assert np.corrcoef(mixed, voice)[0, 1] > 0.99
    assert np.abs(mixed).mean() > 0.9 * np.abs(voice).mean()


def test_recordings_that_are_not_inverted_are_their_mean(
    voice: NDArray[np.float32], other_voice: NDArray[np.float32]
) -> None:
    silence = np.zeros_like(voice)
    delayed = np.roll(voice, 8)  # a microphone 17 cm further away
    for second in (voice, voice * 0.3, silence, other_voice, delayed, noise(len(voice), 300)):
        frames = np.stack([voice, second], axis=1)
        np.testing.assert_array_equal(select(frames)[:, 0], frames.mean(axis=1, dtype=np.float32))
        np.testing.assert_array_equal(select(frames[:, ::-1])[:, 0], frames.mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize("amplitude", [0.6, 3, 100, 5000])
def test_uncorrelated_noise_is_its_mean(amplitude: float) -> None:
    for seed in range(20):
        frames = noise(2 * RATE_HZ, amplitude, seed).reshape(-1, 2)
        np.testing.assert_array_equal(select(frames)[:, 0], frames.mean(axis=1, dtype=np.float32))


def test_two_pairs_that_cancel_each_other(voice: NDArray[np.float32]) -> None:
    frames = np.stack([voice, voice, -voice, -voice], axis=1)
    np.testing.assert_array_equal(select(frames)[:, 0], voice)


def test_an_inversion_may_begin_and_end(voice: NDArray[np.float32]) -> None:
    """A call in which one side is inverted: each is heard soon after it begins to speak, without a click."""
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(4 * RATE_HZ) / RATE_HZ)).astype(np.float32)
    frames = np.concatenate([np.stack([tone, sign * tone], axis=1) for sign in (1, -1, 1)])
    mixed = select(frames)[:, 0]
    for begin in range(0, len(mixed), len(tone)):
        part = mixed[begin + 2 * RATE_HZ : begin + len(tone)]
        assert np.abs(part).mean() == pytest.approx(np.abs(tone).mean(), rel=0.01)
    assert np.abs(np.diff(mixed)).max() < 1.1 * np.abs(np.diff(tone)).max()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 20_000), max_size=30), st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 6]))
def test_cutting_changes_nothing(cuts: list[int], seed: int, num_channels: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(0, 3000, 20_000) * np.repeat(rng.integers(0, 2, 40), 500)
    signs = np.repeat(rng.choice([-1.0, 1.0], (20, num_channels)), 1000, axis=0)
    frames = (source[:, np.newaxis] * signs + rng.normal(0, 20, signs.shape)).astype(np.float32)
    np.testing.assert_array_equal(select(frames, "mix", cuts), select(frames))


def test_one_channel_is_taken(voice: NDArray[np.float32], other_voice: NDArray[np.float32]) -> None:
    frames = np.stack([voice, other_voice, 0 * voice], axis=1)
    np.testing.assert_array_equal(select(frames, "left")[:, 0], voice)
    np.testing.assert_array_equal(select(frames, "right")[:, 0], other_voice)
    for channels in get_args(Channels):
        np.testing.assert_array_equal(select(frames[:, :1], channels)[:, 0], voice)
    np.testing.assert_array_equal(select(frames, "split"), frames)


def test_many_channels_are_their_mean() -> None:
    frames = noise(9 * 1000, 100).reshape(-1, 9)
    np.testing.assert_array_equal(select(frames)[:, 0], frames.mean(axis=1, dtype=np.float32))


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="channels: expected mix, left, right, split, found 'both'"):
        ChannelSelector("both")  # type: ignore[arg-type]


def test_rate_and_channels_may_change(voice: NDArray[np.float32], caplog: pytest.LogCaptureFixture) -> None:
    pieces = [
        Audio(16000, np.stack([voice[:1005], -voice[:1005]], axis=1)),
        Audio(8000, np.stack([voice[:505], -voice[:505]], axis=1)),
        Audio(8000, voice[:77, np.newaxis]),
    ]
    selector = ChannelSelector("mix")
    selected = [audio for piece in pieces for audio in selector.select(piece)] + list(selector.finish())
    assert sum(len(audio.frames) for audio in selected if audio.rate_hz == 16000) == 1005
    assert sum(len(audio.frames) for audio in selected if audio.rate_hz == 8000) == 505 + 77
    np.testing.assert_array_equal(
        np.concatenate([audio.frames[:, 0] for audio in selected]),
        np.r_[voice[:1005], voice[:505], voice[:77]],
    )
    splitter = ChannelSelector("split")
    with caplog.at_level(logging.WARNING):
        split = [audio.frames.shape for piece in pieces for audio in splitter.select(piece)]
    assert split == [(1005, 2), (505, 2), (77, 2)]
    assert "expected 2 channels as before, found 1" in caplog.text


def stereo(voice: NDArray[np.float32], other_voice: NDArray[np.float32]) -> bytes:
    return np.stack([voice, other_voice], axis=1).astype("<i2").tobytes()


def test_the_decoder_splits(voice: NDArray[np.float32], other_voice: NDArray[np.float32]) -> None:
    data = stereo(voice, other_voice)
    with AudioDecoder("audio/x-raw, channels=2", None, "split") as decoder:
        assert decoder.num_channels is None
        assert decoder.push(b"").shape == (0, 0)
        parts = [decoder.push(data[i : i + 4001]) for i in range(0, len(data), 4001)]
        result = np.concatenate([*parts, decoder.finish()])
        assert decoder.num_channels == 2
        assert decoder.sample_rate_hz == 16000
    np.testing.assert_array_equal(result, np.stack([voice, other_voice], axis=1))


@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_each_channel_is_converted_as_if_alone(
    voice: NDArray[np.float32], other_voice: NDArray[np.float32], rate_hz: int
) -> None:
    def decode(data: bytes, num_channels: int, channels: Channels) -> Frames:
        with AudioDecoder(f"audio/x-raw, channels={num_channels}", rate_hz, channels) as decoder:
            return np.concatenate([decoder.push(data), decoder.finish()])

    data = stereo(voice, other_voice)
    result = decode(data, 2, "split")
    alone = [decode(channel.astype("<i2").tobytes(), 1, "mix") for channel in (voice, other_voice)]
    np.testing.assert_array_equal(result, np.stack(alone, axis=1))
    np.testing.assert_array_equal(decode(data, 2, "left"), alone[0])
    np.testing.assert_array_equal(decode(data, 2, "right"), alone[1])
