"""Voice activity detection on speech with known pauses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio.rate import RateConverter
from pykaldi_server.audio.vad import SpeechEnd, SpeechStart, VoiceActivityDetector
from pykaldi_server.audio.vad_options import VadOptions
from pykaldi_server.errors import ConfigError

RATE_HZ = 16000


@pytest.fixture(scope="module")
def with_pauses(speech: NDArray[np.int16]) -> NDArray[np.float32]:
    """2 s of silence, 3 s of speech, 2 s of silence, 3 s of speech, 1 s of silence (quiet noise)."""
    rng = np.random.default_rng(1)
    noise = [rng.normal(0, 5, int(RATE_HZ * length_s)) for length_s in (2, 2, 1)]
    return np.concatenate([noise[0], speech, noise[1], speech, noise[2]]).astype(np.float32)


def detect(
    samples: NDArray[np.float32],
    cuts: list[int] | None = None,
    options: VadOptions | None = None,
    rate_hz: int = RATE_HZ,
) -> list[SpeechStart | SpeechEnd]:
    detector = VoiceActivityDetector(options or VadOptions(), rate_hz)
    events = [event for piece in np.split(samples, sorted(cuts or [])) for event in detector.accept(piece)]
    return events + detector.finish()


def test_finds_the_speech(with_pauses: NDArray[np.float32], speech: NDArray[np.int16]) -> None:
    events = detect(with_pauses)
    assert [type(event) for event in events] == [SpeechStart, SpeechEnd, SpeechStart, SpeechEnd]
    begins = np.array([2 * RATE_HZ, 4 * RATE_HZ + len(speech)])
    expected = np.column_stack([begins, begins + len(speech)]).ravel()
    found = np.array([event.sample for event in events])
    # The padding is 0.3 s, the recording itself begins and ends with a little silence.
    assert np.abs(found - expected).max() < 0.5 * RATE_HZ


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 150_000), max_size=8))
def test_cutting_changes_nothing(cuts: list[int]) -> None:
    rng = np.random.default_rng(2)
    bursts = np.repeat(rng.integers(0, 2, 20), 8000) * rng.normal(0, 3000, 160_000)
    samples = bursts.astype(np.float32)
    assert detect(samples, cuts) == detect(samples)


def test_a_hang_over_longer_than_the_pause_joins_segments(with_pauses: NDArray[np.float32]) -> None:
    assert len(detect(with_pauses, options=VadOptions(hangover_ms=2500))) == 2


def test_a_click_is_not_speech() -> None:
    samples = np.zeros(RATE_HZ, np.float32)
    samples[8000:8400] = 20000 * (-1.0) ** np.arange(400)
    assert detect(samples, options=VadOptions(min_speech_ms=300)) == []


def test_speech_that_is_still_going_on_ends_with_the_stream(speech: NDArray[np.int16]) -> None:
    samples = speech[: 2 * RATE_HZ].astype(np.float32)
    events = detect(samples)
    assert events[-1] == SpeechEnd(len(samples))


def test_segments_do_not_overlap_and_old_samples_can_go(with_pauses: NDArray[np.float32]) -> None:
    detector = VoiceActivityDetector(VadOptions(hangover_ms=90, padding_ms=90), RATE_HZ)
    last = 0
    for piece in np.split(with_pauses, range(500, len(with_pauses), 500)):
        earliest = detector.start_may_be_at
        for event in detector.accept(piece):
            assert event.sample >= last
            if isinstance(event, SpeechStart):
                assert event.sample >= earliest
            last = event.sample
        assert detector.in_speech == (bool(last) and isinstance(event, SpeechStart))


def test_silence_and_nothing() -> None:
    assert detect(np.zeros(RATE_HZ, np.float32)) == []
    assert detect(np.zeros(0, np.float32)) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (VadOptions(aggressiveness=4), "aggressiveness: expected 0 to 3"),
        (VadOptions(frame_ms=25), "frame_ms: expected 10, 20 or 30"),
        (VadOptions(min_speech_ms=0), "min_speech_ms: expected 30 to 10000, found 0"),
        (VadOptions(hangover_ms=10), "hangover_ms: expected 30 to 60000, found 10"),
        (VadOptions(padding_ms=601), "padding_ms: expected 0 to 600, found 601"),
    ],
)
def test_invalid_options(options: VadOptions, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        VoiceActivityDetector(options, RATE_HZ)


@pytest.mark.parametrize("rate_hz", [6000, 8000, 11025, 22050, 44100, 48000])
def test_other_rates_find_the_same_speech(with_pauses: NDArray[np.float32], rate_hz: int) -> None:
    converter = RateConverter(rate_hz)
    samples = np.concatenate([converter.convert(with_pauses, RATE_HZ), converter.finish()])
    found = [event.sample / rate_hz for event in detect(samples, rate_hz=rate_hz)]
    expected = [event.sample / RATE_HZ for event in detect(with_pauses)]
    np.testing.assert_allclose(found, expected, atol=0.15)
    assert detect(samples, list(range(777, len(samples), 777)), rate_hz=rate_hz) == detect(
        samples, rate_hz=rate_hz
    )
