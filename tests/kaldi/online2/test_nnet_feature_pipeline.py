"""The network's pipeline puts its parts together as the configuration says."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.feat import MfccOptions, OnlineMfcc
from pykaldi_server.kaldi.online2 import (
    OnlineIvectorExtractorAdaptationState,
    OnlineIvectorFeature,
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineConfig,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.kaldi.util.options import ParseOptions

IVECTOR_CONF = """
--splice-config=ivector/splice.conf
--cmvn-config=ivector/online_cmvn.conf
--lda-matrix=ivector/final.mat
--global-cmvn-stats=ivector/global_cmvn.stats
--diag-ubm=ivector/final.dubm
--ivector-extractor=ivector/final.ie
"""


def pipeline_of(models: Path, tmp_path: Path, text: str) -> OnlineNnetFeaturePipeline:
    """Reads options as PyKaldi's scripts do, and makes a pipeline."""
    (tmp_path / "ivector.conf").write_text(IVECTOR_CONF.replace("ivector/", f"{models}/english/ivector/"))
    config_file = tmp_path / "online.conf"
    config_file.write_text(f"--mfcc-config={models}/english/conf/mfcc.conf\n{text}")
    config = OnlineNnetFeaturePipelineConfig()
    parser = ParseOptions("")
    config.register(parser)
    parser.read_config_file(config_file)
    return OnlineNnetFeaturePipeline(OnlineNnetFeaturePipelineInfo.from_config(config))


def fed(pipeline: OnlineNnetFeaturePipeline, golden: Path) -> OnlineNnetFeaturePipeline:
    rate_hz, samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    pipeline.accept_waveform(rate_hz, samples)
    pipeline.input_finished()
    return pipeline


def ivectors_of(pipeline: OnlineNnetFeaturePipeline) -> OnlineIvectorFeature:
    feature = pipeline.ivector_feature()
    assert feature is not None
    return feature


@pytest.mark.parametrize(
    ("text", "input_dim", "dim"),
    [
        ("", 40, 40),
        ("--add-pitch=true", 43, 43),
        ("--ivector-extraction-config=ivector.conf", 40, 80),
        ("--ivector-extraction-config=ivector.conf\n--add-pitch", 43, 83),
        ("--feature-type=plp", 13, 13),
        ("--feature-type=fbank", 23, 23),
    ],
)
def test_parts_are_joined(
    models: Path, golden: Path, tmp_path: Path, text: str, input_dim: int, dim: int
) -> None:
    pipeline = pipeline_of(models, tmp_path, text)
    fed(pipeline, golden)
    frames = pipeline.get_frames(0, pipeline.num_frames_ready())
    assert pipeline.input_feature().dim() == input_dim
    assert frames.shape == (238, dim)
    assert np.isfinite(frames).all()
    assert pipeline.is_last_frame(237)


def test_cmvn_changes_the_network_input_only(models: Path, golden: Path, tmp_path: Path) -> None:
    text = (
        f"--cmvn-config={models}/english/ivector/online_cmvn.conf\n"
        f"--global-cmvn-stats={models}/english/ivector/global_cmvn.stats\n"
        "--ivector-extraction-config=ivector.conf\n"
    )
    with_cmvn = fed(pipeline_of(models, tmp_path, text), golden)
    without = fed(pipeline_of(models, tmp_path, "--ivector-extraction-config=ivector.conf\n"), golden)
    last = with_cmvn.num_frames_ready()
    assert not np.allclose(with_cmvn.input_feature().get_frame(9), without.input_feature().get_frame(9))
    assert np.allclose(ivectors_of(with_cmvn).get_frame(last - 1), ivectors_of(without).get_frame(last - 1))


def test_adaptation_state_is_filled_in_as_pykaldi_does(models: Path, golden: Path, tmp_path: Path) -> None:
    pipeline = fed(pipeline_of(models, tmp_path, "--ivector-extraction-config=ivector.conf"), golden)
    ivectors_of(pipeline).get_frame(pipeline.num_frames_ready() - 1)
    config = OnlineNnetFeaturePipelineConfig(ivector_extraction_config=str(tmp_path / "ivector.conf"))
    info = OnlineNnetFeaturePipelineInfo.from_config(config)
    assert info.ivector_extractor_info is not None
    state = OnlineIvectorExtractorAdaptationState.from_info(info.ivector_extractor_info)
    assert pipeline.get_adaptation_state(state) is state
    assert state.cmvn_state.speaker_cmvn_stats[0, -1] == 238


def test_without_ivectors_there_is_nothing_to_adapt(models: Path, tmp_path: Path) -> None:
    assert pipeline_of(models, tmp_path, "").get_adaptation_state() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--feature-type=wav", "feature-type: expected one of mfcc, plp, fbank, found 'wav'"),
        ("--cmvn-config=ivector.conf", "expected --global-cmvn-stats to be set as well"),
        ("--ivector-silence-weighting.silence-weight=2", "silence-weight: expected 0 to 1"),
    ],
)
def test_wrong_options_are_refused(models: Path, tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline_of(models, tmp_path, text)
    assert expected in str(caught.value)


def test_base_features_are_those_of_mfcc_alone(models: Path, golden: Path, tmp_path: Path) -> None:
    pipeline = fed(pipeline_of(models, tmp_path, "--ivector-extraction-config=ivector.conf"), golden)
    info = OnlineNnetFeaturePipelineInfo.from_config(
        OnlineNnetFeaturePipelineConfig(mfcc_config=f"{models}/english/conf/mfcc.conf")
    )
    assert isinstance(info.feature_opts, MfccOptions)
    alone = OnlineMfcc(info.feature_opts)
    rate_hz, samples = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    alone.accept_waveform(rate_hz, samples)
    alone.input_finished()
    assert np.array_equal(pipeline.input_feature().get_frames(0, 238), alone.get_frames(0, 238))
