"""Pitch against a slow implementation of its formulas, and on signals of known pitch."""

import math
import wave
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, ConfigError, DecoderError
from pykaldi_server.kaldi._core import pitch_viterbi
from pykaldi_server.kaldi.feat.online_feature import OnlineMatrixFeature
from pykaldi_server.kaldi.feat.pitch import (
    OnlinePitchFeature,
    OnlineProcessPitch,
    PitchExtractionOptions,
    ProcessPitchOptions,
    compute_and_process_kaldi_pitch,
    compute_kaldi_pitch,
    process_pitch,
)

RATE_HZ = 16000


@pytest.fixture(scope="module")
def speech(golden: Path) -> NDArray[np.float32]:
    """3 s."""
    with wave.open(str(golden / "wav" / "ps-librivox-0880.wav")) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2").astype(np.float32)


def buzz(pitch_hz: float, length_s: float = 1.0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A tone with many harmonics."""
    t = np.arange(int(length_s * rate_hz)) / rate_hz
    partials = [np.sin(2 * np.pi * pitch_hz * k * t) / k for k in range(1, 8)]
    samples: NDArray[np.float64] = 3000 * np.sum(partials, axis=0)
    return samples.astype(np.float32)


def extract(
    opts: PitchExtractionOptions, pieces: list[NDArray[np.float32]], history: int | None = None
) -> OnlinePitchFeature:
    feature = OnlinePitchFeature(opts, history)
    for piece in pieces:
        feature.accept_waveform(RATE_HZ, piece)
    feature.input_finished()
    return feature


def all_frames(feature: OnlinePitchFeature) -> NDArray[np.float32]:
    return feature.get_frames(0, feature.num_frames_ready())


# The formulas at the top of pitch_extraction.py once more, for whole recordings, in double precision.


def sinc_weight(t: float, cutoff_hz: float, num_zeros: int) -> float:
    if abs(t) >= num_zeros / (2 * cutoff_hz):
        return 0.0
    window = (1 + math.cos(2 * math.pi * cutoff_hz * t / num_zeros)) / 2
    return 2 * cutoff_hz * float(np.sinc(2 * cutoff_hz * t)) * window


def downsample(samples: NDArray[np.float32], opts: PitchExtractionOptions) -> NDArray[np.float64]:
    reach = int(opts.lowpass_filter_width / (2 * opts.lowpass_cutoff) * RATE_HZ) + 1
    result = []
    for k in range(-(-len(samples) * 4000 // RATE_HZ)):
        center = k * RATE_HZ // 4000
        begin, end = max(0, center - reach), min(len(samples), center + reach + 1)
        weights = [
            sinc_weight(k / 4000 - n / RATE_HZ, opts.lowpass_cutoff, opts.lowpass_filter_width)
            for n in range(begin, end)
        ]
        result.append(float(np.dot(samples[begin:end], weights)) / RATE_HZ)
    return np.array(result)


def pitch_by_definition(
    samples: NDArray[np.float32], opts: PitchExtractionOptions, path: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float64], float]:
    """Correlation and pitch of every frame, for snip-edges, and the cost a frame.

    They are those of the best path, or of a given one (pitch in Hz).
    """
    signal = downsample(samples.astype(np.float64), opts)
    ballast = opts.nccf_ballast * (signal.var() * 100) ** 2
    lags_s = []
    lag_s = 1 / opts.max_f0
    while lag_s <= 1 / opts.min_f0:
        lags_s.append(lag_s)
        lag_s *= 1 + opts.delta_pitch
    measured = np.arange(8, 83)  # lags whose interpolation filters reach 10 to 80 samples
    interpolation = np.array(
        [[sinc_weight(lag - m / 4000, 2000, 5) / 4000 for m in measured] for lag in lags_s]
    )
    num_frames = (len(signal) - 100) // 40 + 1
    padded = np.concatenate([signal, np.zeros(200)])
    steps = np.subtract.outer(np.arange(len(lags_s)), np.arange(len(lags_s))) ** 2
    step_cost = opts.penalty_factor * np.log(1 + opts.delta_pitch) ** 2 * steps
    forward = np.zeros(len(lags_s))
    pointers, voicing, local_costs = [], [], []
    for frame in range(num_frames):
        window = padded[40 * frame : 40 * frame + 182]
        window = window - window[:100].mean()
        inner = np.array([window[:100] @ window[lag : lag + 100] for lag in measured])
        energies = np.array([window[lag : lag + 100] @ window[lag : lag + 100] for lag in measured])
        norm = window[:100] @ window[:100] * energies
        nccf = interpolation @ (inner / np.sqrt(norm + ballast))
        voicing.append(interpolation @ (inner / np.sqrt(norm)))
        totals = step_cost + forward
        pointers.append(totals.argmin(axis=1))
        local_costs.append(1 - nccf * (1 - opts.soft_min_f0 * np.array(lags_s)))
        forward = totals.min(axis=1) + local_costs[-1]
    if path is None:
        states = [int(forward.argmin())]
        for frame in reversed(range(1, num_frames)):
            states.append(pointers[frame][states[-1]])
        states.reverse()
    else:
        states = [int(np.abs(np.log(pitch_hz * np.array(lags_s))).argmin()) for pitch_hz in path]
    cost = sum(local_costs[frame][state] for frame, state in enumerate(states))
    cost += sum(step_cost[i, j] for i, j in pairwise(states))
    rows = [[voicing[frame][state], 1 / lags_s[state]] for frame, state in enumerate(states)]
    return np.array(rows), cost / num_frames


@pytest.mark.parametrize("changes", [{}, {"penalty_factor": 0.4, "nccf_ballast": 300.0, "soft_min_f0": 20.0}])
def test_equals_the_definition(speech: NDArray[np.float32], changes: dict[str, Any]) -> None:
    speech = speech[: 2 * RATE_HZ]
    opts = replace(PitchExtractionOptions(), **changes)
    result = compute_kaldi_pitch(opts, speech)
    best, least_cost = pitch_by_definition(speech, opts)
    assert result.dtype == np.float32
    assert result.shape == best.shape
    # In silence many paths cost almost the same, and rounding may choose one beside: lags are 0.5 % apart.
    np.testing.assert_allclose(result[:, 1], best[:, 1], rtol=0.012)
    on_the_same_path, cost = pitch_by_definition(speech, opts, result[:, 1])
    assert 0 <= cost - least_cost < 1e-6
    np.testing.assert_allclose(result, on_the_same_path, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("pitch_hz", [60, 80, 123.4, 200, 333, 390])
def test_known_pitch(pitch_hz: float) -> None:
    result = compute_kaldi_pitch(PitchExtractionOptions(), buzz(pitch_hz))
    # Lags are 0.5 % apart.
    np.testing.assert_allclose(result[3:-3, 1], pitch_hz, rtol=0.006)
    assert result[3:-3, 0].min() > 0.99


def test_a_glide_is_followed() -> None:
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    phase = 2 * np.pi * (100 * t + 25 * t**2)  # 100 to 200 Hz in 2 s
    samples = np.sum([3000 * np.sin(k * phase) / k for k in range(1, 8)], axis=0).astype(np.float32)
    result = compute_kaldi_pitch(PitchExtractionOptions(), samples)
    # A frame looks at 25 ms and, one period later, at 25 ms more.
    middles_s = 0.01 * np.arange(len(result)) + 0.0125 + 0.5 / result[:, 1]
    np.testing.assert_allclose(result[5:-5, 1], (100 + 50 * middles_s)[5:-5], rtol=0.02)


def test_noise_is_unvoiced() -> None:
    noise = np.random.default_rng(1).normal(0, 3000, 2 * RATE_HZ).astype(np.float32)
    voiced = compute_kaldi_pitch(PitchExtractionOptions(), buzz(150))[:, 0]
    assert compute_kaldi_pitch(PitchExtractionOptions(), noise)[:, 0].mean() < 0.5 < voiced.min()


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 16000), max_size=8), snip_edges=st.booleans(), preemph=st.booleans())
def test_cutting_changes_nothing_but_the_energy(cuts: list[int], snip_edges: bool, preemph: bool) -> None:
    samples = buzz(120) * np.linspace(0.2, 1, RATE_HZ).astype(np.float32)
    # With this option, the energy of a frame does not depend on the pieces.
    opts = PitchExtractionOptions(
        nccf_ballast_online=True, snip_edges=snip_edges, preemph_coeff=0.5 if preemph else 0.0
    )
    whole = all_frames(extract(opts, [samples]))
    cut = all_frames(extract(opts, np.split(samples, sorted(cuts))))
    assert len(whole) == (98 if snip_edges else 100)
    # Neighbouring lags are half a percent apart; where they cost the same, rounding chooses.
    np.testing.assert_allclose(cut, whole, rtol=6e-3, atol=1e-3)


def test_recomputing_brings_pieces_close_to_the_whole(speech: NDArray[np.float32]) -> None:
    louder = np.concatenate([speech / 10, speech])
    whole = compute_kaldi_pitch(PitchExtractionOptions(), louder)
    revised = compute_kaldi_pitch(PitchExtractionOptions(frames_per_chunk=5), louder)
    first_seen = compute_kaldi_pitch(
        PitchExtractionOptions(frames_per_chunk=5, simulate_first_pass_online=True), louder
    )
    assert whole.shape == revised.shape == first_seen.shape

    def share_of_differences(frames: NDArray[np.float32]) -> float:
        return float(np.mean(np.abs(np.log(frames[:, 1] / whole[:, 1])) > 0.05))

    assert share_of_differences(revised) < 0.05 < share_of_differences(first_seen)


@pytest.mark.parametrize("recompute_frame", [0, 1, 57, 100])
def test_the_frame_of_recomputing_may_be_anywhere(speech: NDArray[np.float32], recompute_frame: int) -> None:
    opts = PitchExtractionOptions(recompute_frame=recompute_frame, frames_per_chunk=7)
    assert (
        compute_kaldi_pitch(opts, speech).shape == compute_kaldi_pitch(PitchExtractionOptions(), speech).shape
    )


def test_frames_may_wait_until_they_are_settled(speech: NDArray[np.float32]) -> None:
    eager = OnlinePitchFeature(PitchExtractionOptions())
    patient = OnlinePitchFeature(PitchExtractionOptions(max_frames_latency=30))
    waited = 0
    for begin in range(0, len(speech), 800):
        for feature in (eager, patient):
            feature.accept_waveform(RATE_HZ, speech[begin : begin + 800])
        waiting = eager.num_frames_ready() - patient.num_frames_ready()
        assert 0 <= waiting <= 30
        waited += waiting
    assert waited > 0
    patient.input_finished()
    eager.input_finished()
    assert patient.num_frames_ready() == eager.num_frames_ready()
    np.testing.assert_array_equal(all_frames(patient), all_frames(eager))


def test_interface() -> None:
    feature = OnlinePitchFeature(PitchExtractionOptions())
    assert (feature.dim(), feature.num_frames_ready(), feature.frame_shift_in_seconds()) == (2, 0, 0.01)
    feature.accept_waveform(RATE_HZ, buzz(100, 0.1))
    ready = feature.num_frames_ready()
    assert not feature.is_last_frame(ready - 1)
    feature.input_finished()
    assert feature.num_frames_ready() == 8 > ready
    assert feature.is_last_frame(7)
    assert not feature.is_last_frame(6)
    np.testing.assert_array_equal(feature.get_frame(3), feature.get_frames(2, 5)[1])
    with pytest.raises(IndexError, match="from 0 to 8, which are kept"):
        feature.get_frames(5, 9)
    with pytest.raises(DecoderError):
        feature.accept_waveform(RATE_HZ, buzz(100, 0.1))


def test_history_is_bounded() -> None:
    opts = PitchExtractionOptions(recompute_frame=50)
    pieces = np.split(buzz(140, 10), 100)
    bounded, unbounded = extract(opts, pieces, history=100), extract(opts, pieces)
    end = bounded.num_frames_ready()
    np.testing.assert_array_equal(bounded.get_frames(end - 100, end), unbounded.get_frames(end - 100, end))
    with pytest.raises(IndexError, match="are kept"):
        bounded.get_frames(end - 201, end)


def test_other_rates_are_resampled() -> None:
    feature = OnlinePitchFeature(PitchExtractionOptions())
    feature.accept_waveform(8000, buzz(150, 1.0, 8000))
    feature.input_finished()
    np.testing.assert_allclose(all_frames(feature)[3:-3, 1], 150, rtol=0.006)


def test_empty_short_and_silent_input() -> None:
    assert all_frames(extract(PitchExtractionOptions(), [])).shape == (0, 2)
    assert all_frames(extract(PitchExtractionOptions(), [np.zeros(100, np.float32)])).shape == (0, 2)
    assert compute_kaldi_pitch(PitchExtractionOptions(), np.zeros(0, np.float32)).shape == (0, 2)
    silent = all_frames(extract(PitchExtractionOptions(), [np.zeros(8000, np.float32)] * 2))
    assert silent.shape == (98, 2)
    np.testing.assert_array_equal(silent[:, 0], 0)
    assert ((silent[:, 1] > 50) & (silent[:, 1] < 401)).all()


def test_bad_samples_are_refused() -> None:
    feature = OnlinePitchFeature(PitchExtractionOptions())
    with pytest.raises(AudioError, match="finite"):
        feature.accept_waveform(RATE_HZ, np.array([1, np.nan], np.float32))
    with pytest.raises(AudioError, match="shape"):
        feature.accept_waveform(RATE_HZ, np.zeros((2, 2), np.float32))
    with pytest.raises(AudioError, match="at least 2000 Hz, found 1000"):
        feature.accept_waveform(1000, np.zeros(10, np.float32))
    feature.accept_waveform(RATE_HZ, np.zeros(10, np.float32))
    with pytest.raises(AudioError, match="changed from 16000 to 8000"):
        feature.accept_waveform(8000, np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"samp_freq": 1.0}, "sample-frequency"),
        ({"lowpass_cutoff": 2001.0}, "lowpass-cutoff"),
        ({"frame_length_ms": 0.1}, "frame-length"),
        ({"frame_shift_ms": 0.0}, "frame-shift"),
        ({"min_f0": 400.0}, "min-f0 and max-f0"),
        ({"min_f0": 0.0}, "min-f0 and max-f0"),
        ({"delta_pitch": 1e-6}, "delta-pitch: expected at most"),
        ({"delta_pitch": -1.0}, "delta-pitch: expected at most"),
        ({"upsample_filter_width": 50}, "upsample-filter-width"),
        ({"preemph_coeff": 2.0}, "preemphasis"),
        ({"nccf_ballast": -1.0}, "nccf-ballast: expected at least 0"),
        ({"penalty_factor": float("nan")}, "penalty-factor"),
        ({"simulate_first_pass_online": True}, "frames-per-chunk"),
    ],
)
def test_senseless_extraction_options(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        OnlinePitchFeature(replace(PitchExtractionOptions(), **changes))


# The search in the core


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), num_states=st.integers(1, 60), num_frames=st.integers(0, 4))
def test_viterbi_finds_the_minima(seed: int, num_states: int, num_frames: int) -> None:
    rng = np.random.default_rng(seed)
    # Multiples of powers of two: sums are exact, so that ties are ties on both sides.
    local = rng.integers(0, 64, (num_frames, num_states)).astype(np.float32) / np.float32(16)
    forward = rng.integers(0, 64, num_states).astype(np.float32) / np.float32(16)
    factor = 2.0 ** -int(rng.integers(2, 10))
    pointers, cost = pitch_viterbi(local, factor, forward)
    steps = np.subtract.outer(np.arange(num_states), np.arange(num_states)).astype(np.float32) ** 2
    for frame in range(num_frames):
        totals = np.float32(factor) * steps + forward
        np.testing.assert_array_equal(pointers[frame], totals.argmin(axis=1))
        forward = totals.min(axis=1) + local[frame]
        forward -= forward.min()
    np.testing.assert_array_equal(cost, forward)


def test_viterbi_refuses_what_does_not_fit() -> None:
    for shape, num_states, message in (
        ((2, 3), 4, "expected costs of the same 1 to 32767 states, found 3 and 4, of 2 frames"),
        ((1, 0), 0, "expected costs of the same 1 to 32767 states, found 0 and 0"),
        ((3,), 3, r"local_cost: expected .* axes \(frames, states\)"),
    ):
        with pytest.raises(ValueError, match=message):
            pitch_viterbi(np.zeros(shape, np.float32), 0.1, np.zeros(num_states, np.float32))


# Features made of the pitch


def random_pitch(num_frames: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(4)
    return np.column_stack([rng.uniform(-1, 1, num_frames), rng.uniform(60, 350, num_frames)]).astype(
        np.float32
    )


def features_by_definition(pitch: NDArray[np.float32], opts: ProcessPitchOptions) -> NDArray[np.float64]:
    """The formulas at the top of pitch_processing.py, frame by frame, without noise."""
    nccf, log_pitch = pitch[:, 0].astype(np.float64), np.log(pitch[:, 1].astype(np.float64))
    last = len(pitch) - 1
    rows = []
    for t in range(len(pitch)):
        row = []
        if opts.add_pov_feature:
            row.append(opts.pov_scale * ((1.0001 - nccf[t]) ** 0.15 - 1) + opts.pov_offset)
        window = range(
            max(0, t - opts.normalization_left_context), min(last, t + opts.normalization_right_context) + 1
        )
        weights = []
        for u in window:
            n = abs(nccf[u])
            r = (
                -5.2
                + 5.4 * np.exp(7.5 * (n - 1))
                + 4.8 * n
                - 2 * np.exp(-10 * n)
                + 4.2 * np.exp(20 * (n - 1))
            )
            weights.append(1 / (1 + np.exp(-r)))
        if opts.add_normalized_log_pitch:
            average = np.average([log_pitch[u] for u in window], weights=weights)
            row.append(opts.pitch_scale * (log_pitch[t] - average))
        if opts.add_delta_pitch:
            shifts = range(1, opts.delta_window + 1)
            change = sum(k * (log_pitch[min(last, t + k)] - log_pitch[max(0, t - k)]) for k in shifts)
            row.append(opts.delta_pitch_scale * change / (2 * sum(k * k for k in shifts)))
        if opts.add_raw_log_pitch:
            row.append(log_pitch[t])
        rows.append(row)
    return np.array([rows[max(0, t - opts.delay)] for t in range(len(pitch) + opts.delay)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalization_left_context": 10, "normalization_right_context": 0, "delta_window": 3, "delay": 4},
        {"add_raw_log_pitch": True, "add_pov_feature": False, "pitch_scale": 1.5, "delta_pitch_scale": 1.0},
        {"add_delta_pitch": False, "add_normalized_log_pitch": False, "pov_offset": 0.7},
    ],
)
def test_features_equal_the_definition(changes: dict[str, Any]) -> None:
    opts = replace(ProcessPitchOptions(), **changes)
    pitch = random_pitch(200)
    result = process_pitch(opts, pitch, noise_seed=None)
    assert result.shape == (200 + opts.delay, opts.dim())
    np.testing.assert_allclose(result, features_by_definition(pitch, opts), atol=1e-4)


def test_features_of_part_of_the_frames() -> None:
    feature = OnlineProcessPitch(ProcessPitchOptions(delay=3), OnlineMatrixFeature(random_pitch(300)))
    whole = feature.get_frames(0, feature.num_frames_ready())
    for begin, end in ((0, 1), (0, 3), (2, 5), (100, 230), (302, 303), (7, 7)):
        np.testing.assert_allclose(feature.get_frames(begin, end), whole[begin:end], atol=1e-5)


def test_noise_is_the_same_in_every_run() -> None:
    opts = ProcessPitchOptions(add_pov_feature=False, add_normalized_log_pitch=False, delta_pitch_scale=1.0)
    pitch = random_pitch(3000)
    noise = process_pitch(opts, pitch, noise_seed=1) - process_pitch(opts, pitch, noise_seed=None)
    assert abs(noise.std() / 0.005 - 1) < 0.05
    np.testing.assert_array_equal(process_pitch(opts, pitch, 1), process_pitch(opts, pitch, 1))
    assert (process_pitch(opts, pitch, 1) != process_pitch(opts, pitch, 2)).any()


def test_features_wait_for_the_right_context(speech: NDArray[np.float32]) -> None:
    extractor = OnlinePitchFeature(PitchExtractionOptions())
    opts = ProcessPitchOptions(normalization_right_context=20, delay=5)
    features = OnlineProcessPitch(opts, extractor)
    assert (features.num_frames_ready(), features.is_last_frame(-1), features.dim()) == (0, False, 3)
    extractor.accept_waveform(RATE_HZ, speech[:RATE_HZ])
    assert features.num_frames_ready() == extractor.num_frames_ready() - 15
    with pytest.raises(IndexError):
        features.get_frame(features.num_frames_ready())
    extractor.input_finished()
    ready = features.num_frames_ready()
    assert ready == extractor.num_frames_ready() + 5
    assert [features.is_last_frame(frame) for frame in (3, ready - 2, ready - 1)] == [False, False, True]


def test_both_steps_at_once(speech: NDArray[np.float32]) -> None:
    opts = PitchExtractionOptions()
    both = compute_and_process_kaldi_pitch(opts, ProcessPitchOptions(), speech)
    np.testing.assert_allclose(
        both, process_pitch(ProcessPitchOptions(), compute_kaldi_pitch(opts, speech)), atol=1e-5
    )
    online = replace(opts, frames_per_chunk=5, simulate_first_pass_online=True)
    first_seen = compute_and_process_kaldi_pitch(online, ProcessPitchOptions(), speech)
    assert first_seen.shape == both.shape
    assert np.isfinite(first_seen).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"delta_window": 0}, "delta-window"),
        ({"delay": -1}, "delay: expected at least 0"),
        ({"normalization_left_context": -1}, "normalization-left-context"),
        (
            {"add_pov_feature": False, "add_normalized_log_pitch": False, "add_delta_pitch": False},
            "expected at least one, found none",
        ),
    ],
)
def test_senseless_processing_options(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        OnlineProcessPitch(replace(ProcessPitchOptions(), **changes), OnlineMatrixFeature(random_pitch(3)))


def test_other_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 3 dimensions"):
        OnlineProcessPitch(ProcessPitchOptions(), OnlineMatrixFeature(np.zeros((4, 3), np.float32)))
