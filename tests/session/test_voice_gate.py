"""Silence that is not decoded: the same words at the same times, for models of every kind."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio.vad_options import VadOptions
from pykaldi_server.errors import ConfigError
from pykaldi_server.session import AdaptationState, Event, Final, Model, Partial
from pykaldi_server.session.acoustics.stream import Stream
from pykaldi_server.session.voice_gate import VoiceGate

Samples = NDArray[np.float32]
Recording = Callable[[str], Samples]

RATE_HZ = 16_000
STEP_SAMPLES = 1600
NUMBERS = ("ps-tidigits-2934z", "ps-numbers")
FRAME_S = 0.03


def silence(seconds: float) -> Samples:
    """A quiet line: noise 72 dB below full scale."""
    noise = np.random.default_rng(len(str(seconds))).normal(0.0, 8.0, int(seconds * RATE_HZ))
    return noise.astype(np.float32)


def line(*parts: Samples) -> Samples:
    """A stream of recordings and silence, with the noise of the line in all of it."""
    samples = np.concatenate(parts)
    return samples + silence(len(samples) / RATE_HZ)[: len(samples)]


def recognise(model: Model, samples: Samples, rate_hz: int = RATE_HZ, **options: object) -> list[Event]:
    with model.session(options=options, sample_rate_hz=rate_hz) as session:
        events: list[Event] = []
        for begin in range(0, len(samples), STEP_SAMPLES):
            events += session.accept(samples[begin : begin + STEP_SAMPLES])
        return events + session.finish()


def words_of(events: list[Event]) -> list[str]:
    return [word for event in events if isinstance(event, Final) for word in event.transcript.split()]


def starts_of(events: list[Event]) -> list[float]:
    return [word.start_s for event in events if isinstance(event, Final) for word in event.words]


@pytest.fixture(scope="module")
def two_sentences(recording: Recording) -> Samples:
    return line(silence(20), recording(NUMBERS[0]), silence(45.678), recording(NUMBERS[1]), silence(30))


@pytest.fixture
def decoded_samples(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all audio that is decoded."""
    lengths: list[int] = []
    take = Stream.accept

    def counting(self: Stream, samples: Samples) -> bool:
        lengths.append(len(samples))
        return take(self, samples)

    monkeypatch.setattr(Stream, "accept", counting)
    return lengths


def test_the_same_words_and_times(digits: Model, two_sentences: Samples, decoded_samples: list[int]) -> None:
    plain = recognise(digits, two_sentences)
    everything = sum(decoded_samples)
    decoded_samples.clear()
    gated = recognise(digits, two_sentences, use_vad=True)
    assert sum(decoded_samples) < everything / 8
    assert words_of(gated) == words_of(plain)
    assert len(words_of(gated)) == 12
    assert starts_of(gated) == pytest.approx(starts_of(plain), abs=1.5 * FRAME_S)
    finals = [event for event in gated if isinstance(event, Final)]
    assert [event.segment for event in finals] == list(range(len(finals)))
    for before, after in itertools.pairwise(finals):
        assert before.end_s <= after.start_s + 1e-6
    assert any(isinstance(event, Partial) for event in gated)
    assert isinstance(gated[-1], AdaptationState)


def test_models_of_every_kind(any_model: Model, recording: Recording, decoded_samples: list[int]) -> None:
    """What comes after a long silence is recognised as it is after a short one, at its own time."""
    sentence = recording(NUMBERS[0])
    late = recognise(any_model, line(silence(61.2), sentence, silence(8)), use_vad=True)
    assert sum(decoded_samples) < len(sentence) + 3 * RATE_HZ
    early = recognise(any_model, line(silence(1.2), sentence, silence(8)), use_vad=True)
    assert words_of(late)
    assert words_of(late) == words_of(early)
    assert starts_of(late) == pytest.approx([start + 60 for start in starts_of(early)], abs=0.5 * FRAME_S)
    spoken_late, spoken_early = (
        [event for event in events if isinstance(event, Final) and event.length_s > 1.0]
        for events in (late, early)
    )
    assert spoken_late
    for one, other in zip(spoken_late, spoken_early, strict=True):
        assert one.start_s == pytest.approx(other.start_s + 60, abs=FRAME_S)
        assert one.length_s == pytest.approx(other.length_s, abs=FRAME_S)


def test_silence_alone_is_not_decoded(any_model: Model, decoded_samples: list[int]) -> None:
    events = recognise(any_model, silence(60), use_vad=True)
    assert decoded_samples == []
    assert [event for event in events if not isinstance(event, AdaptationState)] == []


def test_no_audio_at_all(any_model: Model) -> None:
    assert words_of(recognise(any_model, silence(0), use_vad=True)) == []


def test_a_final_result_comes_when_speech_ends_without_endpoint_rules(
    digits: Model, two_sentences: Samples
) -> None:
    """... and not only when the next sentence begins, or the stream ends."""
    with digits.session(options={"use_vad": True, "do_endpointing": False}) as session:
        finals = []
        for begin in range(0, len(two_sentences), STEP_SAMPLES):
            finals += [
                (begin / RATE_HZ, event.transcript)
                for event in session.accept(two_sentences[begin : begin + STEP_SAMPLES])
                if isinstance(event, Final)
            ]
    assert [text for _, text in finals] == words_by_sentence(digits, two_sentences)
    (first_s, _), (second_s, _) = finals
    assert 20 < first_s < 26
    assert 65 < second_s < 80


def words_by_sentence(model: Model, samples: Samples) -> list[str]:
    halves = (samples[: 40 * RATE_HZ], samples[40 * RATE_HZ :])
    return [" ".join(words_of(recognise(model, half, use_vad=True))) for half in halves]


@pytest.mark.parametrize("frames_per_chunk", [20, 150])
def test_networks_that_see_much_at_once_see_all_of_the_speech(
    models: Path, two_sentences: Samples, frames_per_chunk: int
) -> None:
    """With 150 frames per chunk, the last words are computed long after they were spoken."""
    model = Model.load(models / "english:graph-digits", frames_per_chunk=frames_per_chunk)
    plain = recognise(model, two_sentences)
    gated = recognise(model, two_sentences, use_vad=True)
    assert words_of(gated) == words_of(plain)
    assert starts_of(gated) == pytest.approx(starts_of(plain), abs=1.5 * FRAME_S)


def test_audio_of_another_rate(digits: Model, recording: Recording) -> None:
    narrow = line(silence(20), recording(NUMBERS[0]), silence(20))[::2]
    plain = recognise(digits, narrow, 8000)
    gated = recognise(digits, narrow, 8000, use_vad=True)
    assert words_of(gated) == words_of(plain)
    assert starts_of(gated) == pytest.approx(starts_of(plain), abs=1.5 * FRAME_S)


def test_a_stream_that_ends_in_speech(digits: Model, recording: Recording) -> None:
    sentence = recording(NUMBERS[0])
    cut = line(silence(30), sentence[: len(sentence) // 2])
    assert words_of(recognise(digits, cut, use_vad=True)) == words_of(recognise(digits, cut)) != []


def test_a_sentence_within_one_piece_of_audio(models: Path, two_sentences: Samples) -> None:
    """Pieces of 10 s have silence, speech and silence again."""
    options = {"frames_per_chunk": GOLDEN_FRAMES_PER_CHUNK, "chunk_length_in_secs": 10}
    model = Model.load(models / "english:graph-digits", **options)
    plain, gated = recognise(model, two_sentences), recognise(model, two_sentences, use_vad=True)
    assert words_of(gated) == words_of(plain)
    assert starts_of(gated) == pytest.approx(starts_of(plain), abs=1.5 * FRAME_S)


def test_times_go_on_after_a_reset(digits: Model, recording: Recording) -> None:
    sentence = line(silence(20), recording(NUMBERS[0]), silence(3))
    with digits.session(options={"use_vad": True}) as session:
        first = session.accept(sentence) + session.reset()
        second = session.accept(sentence) + session.finish()
    assert words_of(first) == words_of(second)
    length_s = len(sentence) / RATE_HZ
    assert starts_of(second) == pytest.approx([start + length_s for start in starts_of(first)], abs=FRAME_S)


def test_ending_a_segment_while_the_gate_is_closed(digits: Model, two_sentences: Samples) -> None:
    with digits.session(options={"use_vad": True}) as session:
        events = session.accept(two_sentences[: 15 * RATE_HZ])
        assert session.finalize_segment() == []
        events += session.accept(two_sentences[15 * RATE_HZ :]) + session.finish()
    assert words_of(events) == words_of(recognise(digits, two_sentences, use_vad=True))


def test_options_of_the_detector(digits: Model, two_sentences: Samples, decoded_samples: list[int]) -> None:
    lengths = []
    for options in ({}, {"vad-hangover-ms": 3000, "vad-padding-ms": 1000}, {"vad-aggressiveness": 3}):
        decoded_samples.clear()
        recognise(digits, two_sentences, use_vad=True, **options)
        lengths.append(sum(decoded_samples))
    assert lengths[1] > lengths[0] >= lengths[2]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"vad-aggressiveness": 4}, "vad-aggressiveness: expected 0 to 3, found 4"),
        ({"vad-hangover-ms": 10}, "vad-hangover-ms: expected 30 to 60000, found 10"),
        (
            {"vad-padding-ms": 700},
            "vad-padding-ms: expected 0 to vad-hangover-ms, which is 600, found 700",
        ),
        ({"use-vad": "perhaps"}, "use-vad: expected true or false, found 'perhaps'"),
    ],
)
def test_wrong_options_are_named(digits: Model, options: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        digits.session(options=options)


def test_the_key_of_kaldi_gstreamer_server(gmm_plugin_config: Path, tmp_path: Path) -> None:
    yaml = tmp_path / "vad.yaml"
    for value, is_on in (("True", True), ("False", False)):
        yaml.write_text(f"use-vad: {value}\n" + gmm_plugin_config.read_text())
        assert Model.load(yaml).options.use_vad is is_on
        assert Model.load(yaml, use_vad=not is_on).options.use_vad is not is_on
    assert not Model.load(gmm_plugin_config).options.use_vad
    yaml.write_text("use-vad: sometimes\n" + gmm_plugin_config.read_text())
    with pytest.raises(ConfigError, match=r"vad\.yaml: .*use-vad: .*'sometimes'"):
        Model.load(yaml)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 30_000)), max_size=12),
    st.integers(1, 5000),
    st.sampled_from([80, 160, 480]),
)
def test_all_that_passes_is_at_its_place(
    parts: list[tuple[bool, int]], step: int, frame_samples: int
) -> None:
    """Audio passes unchanged and in order, and what is left out is whole frames."""
    generator = np.random.default_rng(0)
    loud, quiet = (generator.normal(0.0, level, 400_000).astype(np.float32) for level in (3000.0, 1.0))
    samples = np.concatenate(
        [np.zeros(0, np.float32), *((loud if is_loud else quiet)[:n] for is_loud, n in parts)]
    )
    gate = VoiceGate(VadOptions(), RATE_HZ, frame_samples)
    num_passed = 0
    for begin in range(0, len(samples), step):
        passed = gate.accept(samples[begin : begin + step])
        skipped = round(gate.skipped_s * RATE_HZ)
        assert skipped % frame_samples == 0
        place = num_passed + skipped
        np.testing.assert_array_equal(passed, samples[place : place + len(passed)])
        num_passed += len(passed)
        if gate.may_close(num_passed // frame_samples):
            gate.close()
    assert num_passed + round(gate.skipped_s * RATE_HZ) <= len(samples)
