"""Sessions on the English digits model: golden words, any cut of the audio, segments, adaptation."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK, best_paths, read_wav
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, DecoderError
from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.feat import LinearResample
from pykaldi_server.kaldi.online2 import OnlineSilenceWeighting
from pykaldi_server.session import AdaptationState, Event, Final, Model, Partial


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return Model.load(models / "english:graph-digits", frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK)


def samples_of(golden: Path, name: str) -> NDArray[np.float32]:
    return read_wav(golden / "wav" / f"{name}.wav")[1]


def recognise(model: Model, samples: NDArray[np.float32], step: int = 4000) -> list[Event]:
    session = model.session()
    events = []
    for begin in range(0, len(samples), step):
        events += session.accept(samples[begin : begin + step])
    return events + session.finish()


def state_of(events: list[Event]) -> str:
    assert isinstance(events[-1], AdaptationState)
    return events[-1].value


def words_of(events: list[Event]) -> list[str]:
    finals = [event for event in events if isinstance(event, Final)]
    return " ".join(final.hypotheses[0].transcript for final in finals).split()


def test_golden_words(golden: Path, model: Model) -> None:
    for name, best in best_paths(golden / "digits-005" / "best_path.txt").items():
        events = recognise(model, samples_of(golden, name))
        assert words_of(events) == best.words, name
        assert isinstance(events[-1], AdaptationState)


def test_likelihood_is_the_negated_cost(golden: Path, model: Model) -> None:
    best = best_paths(golden / "digits-005" / "best_path.txt")["ps-cards-001"]
    events = recognise(model, samples_of(golden, "ps-cards-001"))
    final = next(event for event in events if isinstance(event, Final))
    expected = -(best.graph_cost + best.acoustic_cost)
    assert final.hypotheses[0].likelihood == pytest.approx(expected, rel=1e-3)


def test_partials_come_while_audio_comes(golden: Path, model: Model) -> None:
    events = recognise(model, samples_of(golden, "ps-tidigits-2934z"))
    partials = [event.transcript for event in events if isinstance(event, Partial)]
    assert len(partials) >= 3
    assert all(earlier != later for earlier, later in itertools.pairwise(partials))


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 20000), max_size=20))
def test_the_cut_of_the_audio_does_not_matter(golden: Path, model: Model, cuts: list[int]) -> None:
    samples = samples_of(golden, "ps-cards-002")
    expected = recognise(model, samples, len(samples))
    session, events = model.session(), []
    for piece in np.split(samples, sorted(min(cut, len(samples)) for cut in cuts)):
        events += session.accept(piece)
    assert events + session.finish() == expected


def test_sessions_do_not_disturb_each_other(golden: Path, model: Model) -> None:
    names = ["ps-cards-001", "ps-cards-002", "ps-tidigits-2934z"]
    recordings = [samples_of(golden, name) for name in names]
    alone = [recognise(model, samples, 800) for samples in recordings]
    sessions = [model.session() for _ in names]
    together: list[list[Event]] = [[] for _ in names]
    for begin in range(0, max(map(len, recordings)), 800):
        for index, samples in enumerate(recordings):
            together[index] += sessions[index].accept(samples[begin : begin + 800])
    assert [events + s.finish() for events, s in zip(together, sessions, strict=True)] == alone


def test_segments_follow_each_other(golden: Path, model: Model) -> None:
    _, samples = read_wav(golden / "long" / "long.wav")
    finals = [event for event in recognise(model, samples) if isinstance(event, Final)]
    assert len(finals) > 5
    assert [final.segment for final in finals] == list(range(len(finals)))
    for earlier, later in itertools.pairwise(finals):
        assert later.start_s >= earlier.total_length_s - 1e-6
    for final in finals:
        assert final.total_length_s == pytest.approx(final.start_s + final.length_s)


def test_every_frame_is_in_exactly_one_segment(golden: Path, model: Model) -> None:
    _, samples = read_wav(golden / "long" / "long.wav")
    stream = model.acoustics.start(model.graph, model.endpoint)
    segments = []

    def end_segment() -> None:
        segments.append((stream.first_frame, stream.num_frames_decoded()))
        stream.decoder.finalize_decoding()
        assert len(stream.decoder.get_best_path().alignment) == stream.num_frames_decoded()
        stream.next_segment()

    for begin in range(0, len(samples), 800):
        if stream.accept(samples[begin : begin + 800]) and stream.endpoint_detected():
            end_segment()
    stream.finish(np.zeros(0, np.float32))
    end_segment()
    starts = [first for first, _ in segments]
    assert starts == np.cumsum([0] + [frames for _, frames in segments[:-1]]).tolist()
    # 25 ms windows every 10 ms, a decoder frame for every three of them
    input_frames = (len(samples) - 400) // 160 + 1
    assert sum(frames for _, frames in segments) == -(-input_frames // 3)


def test_segment_can_be_ended_by_the_client(golden: Path, model: Model) -> None:
    samples = samples_of(golden, "ps-tidigits-2934z")
    session = model.session()
    events = session.accept(samples)
    ended = session.finalize_segment()
    assert [type(event) for event in ended] == [Final]
    assert session.finalize_segment() == []
    assert words_of(events + ended + session.finish())[:2] == ["two", "nine"]


def test_longest_segment(golden: Path, models: Path) -> None:
    model = Model.load(models / "english:graph-digits", max_segment_length_in_secs=1.0)
    events = recognise(model, samples_of(golden, "ps-tidigits-2934z"))
    finals = [event for event in events if isinstance(event, Final)]
    assert len(finals) >= 2
    assert all(final.length_s < 1.3 for final in finals)


def test_adaptation_state_is_carried_on(golden: Path, model: Model) -> None:
    samples = samples_of(golden, "ps-tidigits-2934z")
    state = state_of(recognise(model, samples))
    session = model.session(state)
    events = session.accept(samples) + session.finish()
    assert state_of(events) != state
    assert words_of(events)


def test_strangers_begin_alike(golden: Path, models: Path) -> None:
    """The state of an unknown speaker is written once for a model; no session may leave its mark there."""
    model = Model.load(models / "english:graph-digits")
    before = model.session().finish()
    assert isinstance(before[-1], AdaptationState)
    assert state_of(recognise(model, samples_of(golden, "ps-tidigits-2934z"))) != before[-1].value
    assert model.session().finish() == before
    stream = model.acoustics.start(model.graph)
    assert stream.adaptation_state() == before[-1].value


def test_without_enough_words_the_state_stays(golden: Path, model: Model) -> None:
    state = state_of(recognise(model, samples_of(golden, "ps-tidigits-2934z")))
    session = model.session(state)
    events = session.accept(np.zeros(16000, np.float32)) + session.finish()
    assert events == [AdaptationState(state)]


@pytest.mark.parametrize("state", ["", "nonsense", "<OnlineIvectorExtractorAdaptationState> <CmvnState> "])
def test_damaged_state_is_logged_and_the_session_starts_afresh(
    golden: Path, model: Model, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    session = model.session(state)
    assert "without the speaker's adaptation state" in caplog.text
    events = session.accept(samples_of(golden, "ps-cards-001")) + session.finish()
    assert words_of(events)


@pytest.mark.parametrize("count", [0, 1, 100, 399, 800, 1600])
def test_almost_no_audio(model: Model, count: int) -> None:
    events = recognise(model, np.zeros(count, np.float32))
    assert [type(event) for event in events] == [AdaptationState]


def test_digital_silence_has_no_words(model: Model) -> None:
    assert words_of(recognise(model, np.zeros(20 * 16000, np.float32), 16000)) == []


def test_full_scale_noise_does_no_harm(model: Model) -> None:
    noise = np.where(np.random.default_rng(0).random(32000) < 0.5, -32768, 32767).astype(np.float32)
    assert isinstance(recognise(model, noise)[-1], AdaptationState)


def test_misuse_is_refused(model: Model) -> None:
    session = model.session()
    with pytest.raises(AudioError, match="NaN"):
        session.accept(np.array([np.nan], np.float32))
    session.finish()
    assert session.finish() == []
    with pytest.raises(DecoderError, match="finished"):
        session.accept(np.zeros(10, np.float32))


def test_audio_of_another_rate_is_converted_as_kaldi_does(shared_golden: Path, models: Path) -> None:
    model = Model.load(
        models / "english:graph-digits",
        frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK,
        chunk_length_in_secs=0.18,
        do_endpointing=False,
    )
    tested = 0
    for name, best in best_paths(shared_golden / "digits" / "best_path.txt").items():
        rate_hz, samples = read_wav(shared_golden / "wav" / f"{name}.wav")
        if rate_hz == model.sample_rate_hz:
            continue
        session = model.session(sample_rate_hz=rate_hz)
        events = session.accept(samples) + session.finish()
        (final,) = [event for event in events if isinstance(event, Final)]
        assert final.hypotheses[0].transcript.split() == best.words, name
        likelihood = -(best.graph_cost + best.acoustic_cost)
        assert final.hypotheses[0].likelihood == pytest.approx(likelihood, rel=1e-4)
        tested += 1
    assert tested == 3


def test_callers_may_use_their_buffers_again(golden: Path, model: Model) -> None:
    samples = samples_of(golden, "ps-cards-001")
    expected = recognise(model, samples, step=320)
    session, events, buffer = model.session(), [], np.zeros(320, np.float32)
    whole = len(samples) // 320 * 320
    for begin in range(0, whole, 320):
        buffer[:] = samples[begin : begin + 320]
        events += session.accept(buffer)
        buffer[:] = 1e4
    assert events + session.accept(samples[whole:]) + session.finish() == expected


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100, 48000])
def test_the_cut_does_not_matter_at_other_rates(golden: Path, model: Model, rate_hz: int) -> None:
    samples = samples_of(golden, "ps-cards-001")
    expected = model.session(sample_rate_hz=rate_hz)
    whole = expected.accept(samples) + expected.finish()
    session, pieces = model.session(sample_rate_hz=rate_hz), []
    for begin in range(0, len(samples), 777):
        pieces += session.accept(samples[begin : begin + 777])
    assert pieces + session.finish() == whole


@pytest.mark.slow
def test_ten_minutes_of_digital_silence(model: Model) -> None:
    session, silence = model.session(), np.zeros(16000, np.float32)
    events = [event for _ in range(600) for event in session.accept(silence)] + session.finish()
    assert words_of(events) == []


def likelihood(events: list[Event]) -> float:
    [final] = [event for event in events if isinstance(event, Final)]
    return final.hypotheses[0].likelihood


def test_cost_of_a_stream_that_ends_with_a_quantum(golden: Path, models: Path) -> None:
    model = Model.load(models / "english:graph-digits", do_endpointing=False)
    samples = samples_of(golden, "ps-tidigits-2934z")[:11200]
    kaldis = 39.169  # online2-wav-nnet3-latgen-faster --chunk-length=0.05 --frames-per-chunk=24
    assert likelihood(recognise(model, samples)) == pytest.approx(kaldis, rel=1e-3)


@pytest.mark.parametrize("rate_hz", [16000, 32000])
def test_end_with_a_quantum_as_if_it_had_been_known(golden: Path, models: Path, rate_hz: int) -> None:
    """Kaldi, which reads files, knows of each piece of audio whether it is the last one."""
    model = Model.load(
        models / "english:graph-digits", frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK, do_endpointing=False
    )
    quantum = rate_hz // 20
    recording = samples_of(golden, "ps-tidigits-2934z")
    equal = 0
    for quanta in range(10, 24):
        samples = recording[: quanta * quantum]
        resampler = LinearResample(rate_hz, 16000, 8000, 6) if rate_hz != 16000 else None
        known = model.acoustics.start(model.graph, None)
        for begin in range(0, len(samples), quantum):
            piece, last = samples[begin : begin + quantum], begin + quantum == len(samples)
            if resampler is not None:
                piece = resampler.resample(piece, flush=last)
            (known.finish if last else known.accept)(piece)
        known.decoder.finalize_decoding()
        best = known.decoder.get_best_path()
        session = model.session(sample_rate_hz=rate_hz)
        found = likelihood(session.accept(samples) + session.finish())
        # Where the last quantum completes a chunk of the network, its i-vector lacks the very last frames.
        assert found == pytest.approx(-(best.graph_cost + best.acoustic_cost), abs=0.15), quanta
        equal += found == pytest.approx(-(best.graph_cost + best.acoustic_cost), rel=1e-6)
    assert equal >= 9


@pytest.mark.parametrize("rate_hz", [16000, 32000])
@pytest.mark.parametrize("rest", [0, 100])
def test_one_traceback_per_quantum(
    golden: Path, model: Model, monkeypatch: pytest.MonkeyPatch, rate_hz: int, rest: int
) -> None:
    tracebacks = []
    compute = OnlineSilenceWeighting.compute_current_traceback

    def counted(self: OnlineSilenceWeighting, decoder: LatticeFasterOnlineDecoder) -> None:
        tracebacks.append(decoder.num_frames_decoded())
        compute(self, decoder)

    monkeypatch.setattr(OnlineSilenceWeighting, "compute_current_traceback", counted)
    session = model.session(sample_rate_hz=rate_hz)
    session.accept(samples_of(golden, "ps-tidigits-2934z")[: 14 * rate_hz // 20 + rest])
    session.finish()
    assert len(tracebacks) == 14 + (rest > 0)
