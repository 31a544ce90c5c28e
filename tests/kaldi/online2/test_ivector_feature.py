"""i-vectors against Kaldi's, chunk by chunk, and the life of an adaptation state."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import delta_weights, ivector_frames, read_wav
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError, ConfigError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat import MfccOptions, OnlineMfcc
from pykaldi_server.kaldi.online2 import (
    DeltaWeights,
    OnlineIvectorExtractionConfig,
    OnlineIvectorExtractionInfo,
    OnlineIvectorExtractorAdaptationState,
    OnlineIvectorFeature,
)
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
from pykaldi_server.kaldi.util.options import read_options

# Relative to the vector's norm. Kaldi computes features and posteriors in single precision, as we do, but in
# another order; a posterior near the pruning threshold can fall on the other side of it.
TOLERANCE = 1e-3

FloatSamples = NDArray[np.float32]


def extraction_config(models: Path, **changes: Any) -> OnlineIvectorExtractionConfig:
    folder = models / "english" / "ivector"
    return OnlineIvectorExtractionConfig(
        lda_mat_rxfilename=str(folder / "final.mat"),
        global_cmvn_stats_rxfilename=str(folder / "global_cmvn.stats"),
        splice_config_rxfilename=str(folder / "splice.conf"),
        cmvn_config_rxfilename=str(folder / "online_cmvn.conf"),
        diag_ubm_rxfilename=str(folder / "final.dubm"),
        ivector_extractor_rxfilename=str(folder / "final.ie"),
        **{"max_count": 100.0, **changes},
    )


@pytest.fixture(scope="module")
def info(models: Path) -> OnlineIvectorExtractionInfo:
    return OnlineIvectorExtractionInfo.from_config(extraction_config(models))


@pytest.fixture(scope="module")
def mfcc_options(models: Path) -> MfccOptions:
    return read_options(MfccOptions, models / "english" / "conf" / "mfcc.conf")


def weights_of(pairs: Sequence[tuple[int, float]]) -> DeltaWeights:
    """Changes of weights, given as (frame, delta)."""
    frames = np.array([frame for frame, _ in pairs], np.intp)
    return DeltaWeights(frames, np.array([delta for _, delta in pairs], np.float32))


def check_recordings(
    folder: Path, wav: Path, info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions
) -> int:
    """Replays Kaldi's frame weights and compares every i-vector that its network asked for."""
    golden, frames = np.load(folder / "ivectors.npz"), ivector_frames(folder / "ivector_frames.txt")
    weights = delta_weights(folder / "delta_weights.txt.gz")
    compared = 0
    for name in golden.files:
        rate_hz, samples = read_wav(wav / f"{name}.wav")
        mfcc = OnlineMfcc(mfcc_options)
        feature = OnlineIvectorFeature(info, mfcc)
        begin, asked = 0, 0
        for end, pairs in weights[name]:
            mfcc.accept_waveform(rate_hz, samples[begin:end])
            begin = end
            if end == len(samples):
                mfcc.input_finished()
            feature.update_frame_weights(weights_of(pairs))
            while asked < len(frames[name]) and frames[name][asked] == feature.num_frames_ready() - 1:
                expected = golden[name][asked]
                error = np.abs(feature.get_frame(frames[name][asked]) - expected).max()
                assert error < TOLERANCE * np.linalg.norm(expected), (name, asked)
                asked += 1
        assert asked == len(frames[name]), name
        compared += asked
    return compared


@pytest.mark.parametrize("folder", ["digits", "digits-005", "general"])
def test_golden_ivectors(
    golden: Path, info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, folder: str
) -> None:
    assert check_recordings(golden / folder, golden / "wav", info, mfcc_options) > 50


@pytest.mark.parametrize("folder", ["digits", "digits-005", "general"])
def test_all_golden_ivectors(
    shared_golden: Path, info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, folder: str
) -> None:
    assert check_recordings(shared_golden / folder, shared_golden / "wav", info, mfcc_options) > 50


def feature_of(
    info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, samples: FloatSamples
) -> tuple[OnlineIvectorFeature, OnlineMfcc]:
    mfcc = OnlineMfcc(mfcc_options)
    feature = OnlineIvectorFeature(info, mfcc)
    mfcc.accept_waveform(16000, samples)
    mfcc.input_finished()
    return feature, mfcc


@pytest.fixture(scope="module")
def samples(golden: Path) -> FloatSamples:
    return read_wav(golden / "wav" / "ps-tidigits-2934z.wav")[1]


def test_one_ivector_a_period(models: Path, mfcc_options: MfccOptions, samples: FloatSamples) -> None:
    config = extraction_config(models, use_most_recent_ivector=False)
    feature, _ = feature_of(OnlineIvectorExtractionInfo.from_config(config), mfcc_options, samples)
    vectors = feature.get_frames(0, feature.num_frames_ready())
    changes = np.flatnonzero(np.abs(np.diff(vectors, axis=0)).max(axis=1)) + 1
    assert changes.tolist() == list(range(10, len(vectors), 10))


def test_greedy_uses_all_that_is_ready(
    models: Path, mfcc_options: MfccOptions, samples: FloatSamples
) -> None:
    greedy = OnlineIvectorExtractionInfo.from_config(extraction_config(models, greedy_ivector_extractor=True))
    usual = OnlineIvectorExtractionInfo.from_config(extraction_config(models))
    first, _ = feature_of(greedy, mfcc_options, samples)
    last, _ = feature_of(usual, mfcc_options, samples)
    assert np.array_equal(first.get_frame(0), last.get_frame(last.num_frames_ready() - 1))


def test_taking_weights_back_takes_frames_back(
    info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, samples: FloatSamples
) -> None:
    feature, _ = feature_of(info, mfcc_options, samples)
    ready = feature.num_frames_ready()
    feature.update_frame_weights(DeltaWeights(np.arange(ready), np.ones(ready, np.float32)))
    feature.update_frame_weights(DeltaWeights(np.arange(ready), np.full(ready, -1.0, np.float32)))
    assert np.allclose(feature.get_frame(ready - 1), 0.0, atol=1e-5)


def test_state_goes_through_files_and_helps(
    info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, samples: FloatSamples
) -> None:
    feature, _ = feature_of(info, mfcc_options, samples)
    last = feature.num_frames_ready() - 1
    vector = feature.get_frame(last)
    state = feature.get_adaptation_state()
    assert state.cmvn_state.speaker_cmvn_stats[0, -1] == last + 1
    for binary in (True, False):
        file = io.BytesIO()
        state.write(KaldiWriter(file, binary))
        loaded = OnlineIvectorExtractorAdaptationState.read(KaldiReader(file.getvalue()))
        again, _ = feature_of(info, mfcc_options, samples)
        again.set_adaptation_state(loaded)
        # The same speaker, known from the start: the first i-vector is already close to the last one.
        assert np.linalg.norm(again.get_frame(0) - vector) < 0.1 * np.linalg.norm(vector)


def test_limit_frames(
    info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, samples: FloatSamples
) -> None:
    feature, _ = feature_of(info, mfcc_options, samples)
    feature.get_frame(feature.num_frames_ready() - 1)
    state = feature.get_adaptation_state()
    state.limit_frames(50, 0.1)
    assert state.cmvn_state.speaker_cmvn_stats[0, -1] == pytest.approx(50)
    assert state.ivector_stats.num_frames == pytest.approx(5)


def test_states_that_kaldi_wrote_load(golden: Path, info: OnlineIvectorExtractionInfo) -> None:
    paths = sorted((golden / "segments").glob("*.adaptation.txt"))
    for path in paths:
        OnlineIvectorExtractorAdaptationState.read(KaldiReader.open(path)).check(info)
    assert len(paths) > 5


def test_foreign_states_are_refused(
    info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, samples: FloatSamples
) -> None:
    feature, _ = feature_of(info, mfcc_options, samples)
    state = OnlineIvectorExtractorAdaptationState.from_info(info)
    state.ivector_stats.linear_term = np.zeros(30)
    with pytest.raises(AdaptationStateError, match="expected i-vectors of 40, found 30"):
        feature.set_adaptation_state(state)
    state = OnlineIvectorExtractorAdaptationState.from_info(info)
    state.ivector_stats.prior_offset += 1.0
    with pytest.raises(AdaptationStateError, match="another extractor"):
        feature.set_adaptation_state(state)
    state = OnlineIvectorExtractorAdaptationState.from_info(info)
    state.cmvn_state.speaker_cmvn_stats = np.ones((2, 14))
    with pytest.raises(AdaptationStateError, match=r"CMVN statistics: expected shape \(2, 41\), found"):
        feature.set_adaptation_state(state)


def test_states_of_kaldis_are_credible(shared_golden: Path, info: OnlineIvectorExtractionInfo) -> None:
    paths = sorted(shared_golden.glob("*/*.adaptation.txt"))
    for path in paths:
        OnlineIvectorExtractorAdaptationState.read(KaldiReader.open(path)).check(info)
    assert len(paths) > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: set_item(state.cmvn_state.speaker_cmvn_stats, (0, 5), 1e30), "means up to"),
        (lambda state: set_item(state.cmvn_state.speaker_cmvn_stats, (0, 5), -3e5), "sums and squares"),
        (lambda state: set_item(state.cmvn_state.speaker_cmvn_stats, (1, 5), -1.0), "sums and squares"),
        (lambda state: set_item(state.cmvn_state.speaker_cmvn_stats, (1, 5), 1e30), "sums and squares"),
        (lambda state: set_item(state.cmvn_state.speaker_cmvn_stats, (0, 40), 1e12), "0 to 1e.09 frames"),
        (lambda state: set_item(state.cmvn_state.speaker_cmvn_stats, (0, 40), 0.0), "means up to"),
        (lambda state: set_item(state.cmvn_state.global_cmvn_stats, (0, 40), 0.0), "means up to"),
        (lambda state: set_item(state.cmvn_state.global_cmvn_stats, slice(None), 0.0), "a count above 0"),
        (lambda state: freeze(state, np.zeros((2, 41))), "a count above 0"),
        (lambda state: freeze(state, np.full((2, 41), 1.0) * [[1e12], [0.0]]), "0 to 1e.09 frames"),
        (lambda state: set_item(state.ivector_stats.quadratic_term, 0, 1e30), "a quadratic term up to"),
        (lambda state: set_item(state.ivector_stats.quadratic_term, 0, -1.0), "positive definite"),
        (lambda state: set_item(state.ivector_stats.quadratic_term, 1, 1e6), "positive definite"),
        (lambda state: set_item(state.ivector_stats.linear_term, 7, 1e30), "standard deviations"),
        (lambda state: setattr(state.ivector_stats, "num_frames", 1e30), "0 to 1e.09 frames"),
        (lambda state: setattr(state.ivector_stats, "num_frames", -50.0), "0 to 1e.09 frames"),
        (lambda state: setattr(state.ivector_stats, "max_count", 1e-300), "maximum count"),
        (lambda state: setattr(state.ivector_stats, "max_count", -1.0), "maximum count"),
        (lambda state: setattr(state.ivector_stats, "prior_offset", 1e30), "another extractor"),
    ],
)
def test_statistics_that_no_audio_has_are_refused(
    golden: Path,
    info: OnlineIvectorExtractionInfo,
    change: Callable[[OnlineIvectorExtractorAdaptationState], None],
    message: str,
) -> None:
    path = sorted((golden / "segments").glob("*.adaptation.txt"))[-1]
    state = OnlineIvectorExtractorAdaptationState.read(KaldiReader.open(path))
    state.check(info)
    state.cmvn_state.speaker_cmvn_stats = state.cmvn_state.speaker_cmvn_stats.copy()
    state.cmvn_state.global_cmvn_stats = state.cmvn_state.global_cmvn_stats.copy()
    change(state)
    with pytest.raises(AdaptationStateError, match=message):
        state.check(info)


def set_item(array: NDArray[np.float64], index: Any, value: float) -> None:
    array[index] = value


def freeze(state: OnlineIvectorExtractorAdaptationState, stats: NDArray[np.float64]) -> None:
    state.cmvn_state.frozen_state = stats


def test_state_with_nan_is_refused(golden: Path) -> None:
    text = next((golden / "segments").glob("*.adaptation.txt")).read_bytes()
    broken = text.replace(b"<LinearTerm>  [ ", b"<LinearTerm>  [ nan ", 1)
    assert broken != text
    with pytest.raises(ModelFormatError):
        OnlineIvectorExtractorAdaptationState.read(KaldiReader(broken))


def test_wrong_order_of_calls_is_refused(
    info: OnlineIvectorExtractionInfo, mfcc_options: MfccOptions, samples: FloatSamples
) -> None:
    feature, _ = feature_of(info, mfcc_options, samples)
    with pytest.raises(IndexError, match="are ready"):
        feature.get_frame(10**6)
    feature.get_frame(0)
    with pytest.raises(DecoderError, match="weights"):
        feature.update_frame_weights(weights_of([(0, 1.0)]))
    with pytest.raises(DecoderError, match="adaptation state"):
        feature.set_adaptation_state(OnlineIvectorExtractorAdaptationState.from_info(info))


def test_parts_that_do_not_fit_are_refused(models: Path, tmp_path: Path) -> None:
    splice = tmp_path / "splice.conf"
    splice.write_text("--left-context=2\n--right-context=2\n")
    config = extraction_config(models)
    config.splice_config_rxfilename = str(splice)
    with pytest.raises(ConfigError, match="LDA matrix with 200 or 201 columns"):
        OnlineIvectorExtractionInfo.from_config(config)
    config.lda_mat_rxfilename = ""
    with pytest.raises(ConfigError, match="expected a file as --lda-matrix, found none"):
        OnlineIvectorExtractionInfo.from_config(config)
