"""Audio as people have it: any type and cut leads to the same samples, or to an error that says why not."""

import array
import logging
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.audio import pcm
from pykaldi_server.errors import AudioError, ConfigError
from pykaldi_server.session import Final, Model
from pykaldi_server.session.samples import (
    HIGHEST_RATE_HZ,
    LOWEST_RATE_HZ,
    Quanta,
    SampleReader,
    check_rate,
)

VALUES = [0, 1, -1, 300, -32768, 32767]
SAMPLES = np.array(VALUES, np.float32)


@pytest.mark.parametrize(
    "audio",
    [
        np.array(VALUES, np.int16),
        np.array(VALUES, ">i2"),
        np.array(VALUES, np.int16)[:, np.newaxis],
        np.array([VALUES, VALUES], np.int16).T[:, 0],
        SAMPLES,
        SAMPLES.astype(np.float64),
        SAMPLES[:, np.newaxis],
        list(map(float, VALUES)),
        array.array("h", VALUES),
        np.array(VALUES, "<i2").tobytes(),
        bytearray(np.array(VALUES, "<i2").tobytes()),
        memoryview(np.array(VALUES, "<i2").tobytes()),
        np.array(VALUES, "<i2").data,
        np.array(VALUES[::-1], "<i2").data[::-1],
    ],
    ids=lambda audio: f"{type(audio).__name__}-{getattr(audio, 'dtype', '')}-{getattr(audio, 'shape', '')}",
)
def test_any_type_gives_the_same_samples(audio: Any) -> None:
    samples = SampleReader(16000).read(audio)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, SAMPLES)


def test_full_scale() -> None:
    audio = np.array([0.5, -1.0, 0.0])
    np.testing.assert_array_equal(SampleReader(16000, 1.0).read(audio), [16384.0, -32768.0, 0.0])
    np.testing.assert_array_equal(SampleReader(16000, 32768.0).read(audio), audio)
    # Integers are what they are.
    np.testing.assert_array_equal(SampleReader(16000, 1.0).read(np.array([5], np.int16)), [5.0])
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="full_scale: expected a number above 0, found"):
            SampleReader(16000, wrong)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 12])
def test_bytes_may_be_cut_anywhere(step: int) -> None:
    data, reader = np.array(VALUES, "<i2").tobytes(), SampleReader(16000)
    pieces = [reader.read(data[begin : begin + step]) for begin in range(0, len(data), step)]
    np.testing.assert_array_equal(np.concatenate(pieces), SAMPLES)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(3, np.int32), r"expected .* int16 or floating-point, or bytes of S16LE, found int32"),
        ([1, 2, 3], "found int64"),
        (np.zeros(3, np.uint8), "found uint8"),
        (np.zeros(3, bool), "found bool"),
        (np.zeros(3, complex), "found complex128"),
        (None, r"found object \(NoneType\)"),
        ("samples", "found <U7"),
        ([[1.0], [1.0, 2.0]], "found list of unequal lengths"),
        (np.zeros((3, 2)), r"expected mono audio of shape \(n,\) or \(n, 1\), found \(3, 2\)"),
        (np.zeros((1, 3)), r"found \(1, 3\)"),
        (np.float32(1.0), r"found \(\)"),
        (np.array([1.0, math.nan]), "expected finite samples"),
        (np.array([-math.inf]), "expected finite samples"),
        (np.zeros(3, np.float32).data, "found a memoryview of 'f'"),
    ],
)
def test_what_is_not_audio_is_refused(audio: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        SampleReader(16000).read(audio)


def test_an_array_cannot_complete_a_sample() -> None:
    reader = SampleReader(16000)
    reader.read(b"\x01")
    with pytest.raises(AudioError, match="the other byte of a 16-bit sample, found an array"):
        reader.read(SAMPLES)
    reader.drop_half_sample()
    assert len(reader.read(SAMPLES)) == len(SAMPLES)


def speech_like(peak: float, count: int = 16000) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).uniform(-1.0, 1.0, count)
    return (peak * noise).astype(np.float32)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_audio_that_is_probably_in_unit_range_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    reader = SampleReader(16000)
    for piece in np.split(speech_like(0.3), 20):
        assert warnings_of(caplog) == []
        reader.read(piece)
    reader.read(speech_like(0.3))
    (warning,) = warnings_of(caplog)
    assert "pass full_scale=1.0 for audio in -1..1" in warning


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(32000, np.float32),  # silence
        np.sign(speech_like(1.0, 32000)),  # integers that hardly move
        np.concatenate([speech_like(0.3, 8000), speech_like(900.0, 24000)]),
        speech_like(0.3, 15000),  # not yet a second
    ],
    ids=["silence", "noise of one step", "speech after silence", "too short"],
)
def test_other_audio_is_not_reported(audio: NDArray[np.float32], caplog: pytest.LogCaptureFixture) -> None:
    reader = SampleReader(16000)
    for piece in np.array_split(audio, 7):
        reader.read(piece)
    assert warnings_of(caplog) == []


def test_a_given_full_scale_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    for full_scale in (1.0, 32768.0):
        SampleReader(16000, full_scale).read(speech_like(0.3, 32000))
    assert warnings_of(caplog) == []


def test_samples_are_not_copied_without_need() -> None:
    samples = np.arange(1000, dtype=np.float32)
    assert np.shares_memory(SampleReader(16000).read(samples), samples)
    quanta = Quanta(100)
    assert all(np.shares_memory(quantum, samples) for quantum in quanta.add(samples[:950]))
    # What waits is kept, and is a copy.
    assert not np.shares_memory(quanta.rest(), samples)


@pytest.mark.parametrize("step", [1, 7, 10, 11, 25, 100])
def test_quanta_do_not_depend_on_the_cut(step: int) -> None:
    samples = np.arange(97, dtype=np.float32)
    quanta = Quanta(10)
    found = [
        quantum.copy()
        for begin in range(0, 97, step)
        for quantum in quanta.add(samples[begin : begin + step])
    ]
    assert [len(quantum) for quantum in found] == [10] * 9
    np.testing.assert_array_equal(np.concatenate([*found, quanta.rest()]), samples)
    assert len(quanta.rest()) == 0


@pytest.mark.parametrize("rate_hz", [8000, 8000.0, np.int64(8000), np.float32(8000)])
def test_rates_are_whole_numbers(rate_hz: float) -> None:
    rate = check_rate(rate_hz)
    assert rate == 8000
    assert type(rate) is int


@pytest.mark.parametrize("rate_hz", [0, -8000, 8000.5, math.nan, math.inf, 999, 768001, True, "8000", None])
def test_other_rates_are_refused(rate_hz: Any) -> None:
    with pytest.raises(AudioError, match=f"sample_rate_hz: .*from 1000 to 768000, found {rate_hz!r}"):
        check_rate(rate_hz)


def test_limits_of_rates_are_those_of_raw_audio() -> None:
    assert (LOWEST_RATE_HZ, HIGHEST_RATE_HZ) == (pcm.LOWEST_RATE_HZ, pcm.HIGHEST_RATE_HZ)


def test_sessions_take_them_all(digits: Model, golden_samples: NDArray[np.float32]) -> None:
    integers = golden_samples.astype(np.int16)
    expected = transcript(digits, golden_samples)
    assert len(expected.split()) == 5
    assert transcript(digits, integers) == expected
    assert transcript(digits, integers.astype("<i2").tobytes()) == expected
    assert transcript(digits, golden_samples / 32768, full_scale=1.0) == expected
    with pytest.raises(AudioError, match="sample_rate_hz"):
        digits.session(sample_rate_hz=0)


@pytest.fixture
def golden_samples(recording: Any) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = recording("ps-tidigits-2934z")
    return samples


def transcript(model: Model, audio: Any, full_scale: float | None = None) -> str:
    with model.session(sample_rate_hz=16000.0, full_scale=full_scale) as session:
        events = session.accept(audio) + session.finish()
    return " ".join(event.transcript for event in events if isinstance(event, Final))
