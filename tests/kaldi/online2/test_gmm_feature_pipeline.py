"""The features of GMM models against Kaldi's, and what adaptation does to them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav

from pykaldi_server.errors import ConfigError, DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import read_transform
from pykaldi_server.kaldi.online2.feature_pipeline import (
    OnlineFeaturePipeline,
    OnlineFeaturePipelineConfig,
    OnlineFeaturePipelineInfo,
)
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter


@pytest.fixture(scope="module")
def config(models: Path) -> OnlineFeaturePipelineConfig:
    folder = models / "english-gmm"
    return OnlineFeaturePipelineConfig(
        mfcc_config=str(folder / "conf/mfcc.conf"),
        cmvn_config=str(folder / "conf/online_cmvn.conf"),
        global_cmvn_stats_rxfilename=str(folder / "global_cmvn.stats"),
        splice_feats=True,
        splice_config=str(folder / "conf/splice.conf"),
        lda_rxfilename=str(folder / "final.mat"),
    )


@pytest.fixture(scope="module")
def info(config: OnlineFeaturePipelineConfig) -> OnlineFeaturePipelineInfo:
    return OnlineFeaturePipelineInfo.from_config(config)


@pytest.fixture
def samples(golden: Path) -> np.ndarray:
    return read_wav(golden / "wav/ps-tidigits-2934z.wav")[1]


def filled(info: OnlineFeaturePipelineInfo, samples: np.ndarray) -> OnlineFeaturePipeline:
    pipeline = OnlineFeaturePipeline(info)
    pipeline.accept_waveform(16000, samples)
    pipeline.input_finished()
    return pipeline


def check_features(info: OnlineFeaturePipelineInfo, folder: Path, chunk_samples: int) -> None:
    expected = np.load(folder / "gmm/lda_features.npz")
    for name in expected.files:
        rate_hz, samples = read_wav(folder / f"wav/{name}.wav")
        pipeline = OnlineFeaturePipeline(info)
        blocks, taken = [], 0
        for begin in range(0, len(samples), chunk_samples):
            pipeline.accept_waveform(rate_hz, samples[begin : begin + chunk_samples])
            if begin + chunk_samples >= len(samples):
                pipeline.input_finished()
            ready = pipeline.num_frames_ready()
            blocks.append(pipeline.get_frames(taken, ready))
            taken = ready
        assert pipeline.is_last_frame(taken - 1)
        # MFCC agree to 1e-3 in quiet frames, and to much better in others; LDA averages over seven of them.
        np.testing.assert_allclose(np.concatenate(blocks), expected[name], atol=1e-3, rtol=0)


@pytest.mark.parametrize("chunk_samples", [800, 100_000])
def test_golden_features(info: OnlineFeaturePipelineInfo, golden: Path, chunk_samples: int) -> None:
    check_features(info, golden, chunk_samples)


def test_all_golden_features(info: OnlineFeaturePipelineInfo, shared_golden: Path) -> None:
    check_features(info, shared_golden, 800)


def test_a_transform_applies_to_all_frames_until_it_is_taken_away(
    info: OnlineFeaturePipelineInfo, samples: np.ndarray
) -> None:
    pipeline = filled(info, samples)
    plain = pipeline.get_frames(0, 20)
    transform = np.random.default_rng(0).normal(size=(40, 41)).astype(np.float32)
    pipeline.set_transform(transform)
    assert pipeline.have_fmllr_transform()
    expected = plain @ transform[:, :-1].T + transform[:, -1]
    np.testing.assert_allclose(pipeline.get_frames(0, 20), expected, atol=1e-4)
    pipeline.set_transform(None)
    assert not pipeline.have_fmllr_transform()
    np.testing.assert_array_equal(pipeline.get_frames(0, 20), plain)


def test_frozen_cmvn_shifts_all_frames_alike(info: OnlineFeaturePipelineInfo, samples: np.ndarray) -> None:
    pipeline = filled(info, samples)
    moving = pipeline.get_frames(0, 100)
    pipeline.freeze_cmvn()
    frozen = pipeline.get_frames(0, 100)
    assert np.abs(frozen[0] - moving[0]).max() > 0.01
    assert pipeline.get_cmvn_state().frozen_state.shape == (2, 14)
    other = filled(info, samples)
    other.freeze_cmvn()
    np.testing.assert_allclose(other.get_frames(0, 100), frozen, atol=1e-5)


def test_cmvn_cannot_be_frozen_before_the_first_frame(info: OnlineFeaturePipelineInfo) -> None:
    with pytest.raises(DecoderError, match="before CMVN is frozen, found none"):
        OnlineFeaturePipeline(info).freeze_cmvn()


def test_an_lda_matrix_that_does_not_fit_is_refused(info: OnlineFeaturePipelineInfo) -> None:
    wrong = dataclasses.replace(info, splice_opts=None)
    with pytest.raises(ModelFormatError, match="lda-matrix: expected a transform with 13 or 14 columns"):
        OnlineFeaturePipeline(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[ ]", "expected a transform of features, found an empty matrix"),
        (b"[ 1 nan ]", "expected finite numbers in a transform of features, found nan at [0, 1]"),
        (b"[ 1 2\n 1e39 0 ]", "expected finite numbers in a transform of features, found 1e+39 at [1, 0]"),
    ],
)
def test_a_damaged_transform_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(ModelFormatError) as raised:
        read_transform(KaldiReader(text, "final.mat"))
    assert str(raised.value) == f"final.mat: at byte 0: {message}"


def test_deltas_take_the_place_of_splicing(config: OnlineFeaturePipelineConfig, samples: np.ndarray) -> None:
    with_deltas = dataclasses.replace(config, splice_feats=False, lda_rxfilename="", add_deltas=True)
    pipeline = filled(OnlineFeaturePipelineInfo.from_config(with_deltas), samples)
    assert pipeline.dim() == 39
    plain = dataclasses.replace(with_deltas, add_deltas=False)
    cepstra = filled(OnlineFeaturePipelineInfo.from_config(plain), samples)
    np.testing.assert_array_equal(pipeline.get_frames(0, 50)[:, :13], cepstra.get_frames(0, 50))
    with pytest.raises(ConfigError, match="add-deltas, splice-feats"):
        dataclasses.replace(config, add_deltas=True).validate()


@pytest.mark.parametrize(("feature_type", "dim"), [("plp", 13), ("fbank", 23)])
def test_other_base_features(
    info: OnlineFeaturePipelineInfo, samples: np.ndarray, tmp_path: Path, feature_type: str, dim: int
) -> None:
    stats = np.vstack([np.zeros(dim + 1), np.ones(dim + 1)])
    stats[0, -1] = 100
    with (tmp_path / "stats").open("wb") as file:
        KaldiWriter(file).write_matrix(stats)
    config = OnlineFeaturePipelineConfig(
        feature_type=feature_type, global_cmvn_stats_rxfilename=str(tmp_path / "stats")
    )
    pipeline = filled(OnlineFeaturePipelineInfo.from_config(config), samples)
    frames = pipeline.get_frames(0, pipeline.num_frames_ready())
    assert frames.shape == (238, dim)
    assert np.isfinite(frames).all()


def test_pitch_is_appended_after_cmvn(config: OnlineFeaturePipelineConfig, samples: np.ndarray) -> None:
    with_pitch = dataclasses.replace(config, splice_feats=False, lda_rxfilename="", add_pitch=True)
    pipeline = filled(OnlineFeaturePipelineInfo.from_config(with_pitch), samples)
    assert pipeline.dim() == 16
    plain = dataclasses.replace(with_pitch, add_pitch=False)
    cepstra = filled(OnlineFeaturePipelineInfo.from_config(plain), samples)
    frames = pipeline.get_frames(0, pipeline.num_frames_ready())
    np.testing.assert_array_equal(frames[:, :13], cepstra.get_frames(0, len(frames)))
    assert np.abs(frames[:, 13:]).max() > 0.5
    pipeline.freeze_cmvn()
    assert pipeline.get_cmvn_state().frozen_state.shape == (2, 14)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="global-cmvn-stats: expected a file, found none"):
        OnlineFeaturePipelineConfig().validate()
    with pytest.raises(ConfigError, match="feature-type: expected one of mfcc, plp, fbank, found 'spectrum'"):
        OnlineFeaturePipelineConfig(feature_type="spectrum").validate()
