"""Options and models of online GMM decoding."""

import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.online2.endpoint import OnlineEndpointConfig
from pykaldi_server.kaldi.online2.feature_pipeline import OnlineFeaturePipelineConfig
from pykaldi_server.kaldi.online2.gmm_models import (
    OnlineGmmDecodingAdaptationPolicyConfig,
    OnlineGmmDecodingConfig,
    OnlineGmmDecodingModels,
    read_gmm,
)
from pykaldi_server.kaldi.transform import BasisFmllrEstimate
from pykaldi_server.kaldi.util.io import KaldiWriter
from pykaldi_server.kaldi.util.options import ParseOptions


@pytest.fixture
def config(models: Path) -> OnlineGmmDecodingConfig:
    folder = models / "english-gmm"
    return OnlineGmmDecodingConfig(
        model_rxfilename=str(folder / "final.mdl"),
        online_alimdl_rxfilename=str(folder / "final.oalimdl"),
        fmllr_basis_rxfilename=str(folder / "fmllr.basis"),
    )


def write_model(path: Path, source: Path, model: AmDiagGmm) -> str:
    """Writes the transition model of a file with another acoustic model."""
    trans_model, _ = read_gmm(source)
    file = io.BytesIO()
    writer = KaldiWriter(file)
    trans_model.write(writer)
    model.write(writer)
    path.write_bytes(file.getvalue())
    return str(path)


def one_gaussian_a_pdf(num_pdfs: int, dim: int = 40) -> AmDiagGmm:
    ones = np.ones((num_pdfs, dim), np.float32)
    return AmDiagGmm(np.ones(num_pdfs, np.float32), ones, ones, np.ones(num_pdfs, int))


def test_a_configuration_of_another_machine_is_read(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = models / "english-gmm"
    config, features = OnlineGmmDecodingConfig(), OnlineFeaturePipelineConfig()
    parser = ParseOptions()
    parser.register(config)
    parser.register(features)
    parser.register(OnlineEndpointConfig())
    parser.read_config_file(folder / "conf/online_decoding.conf", folder)
    parser.validate("online.conf")
    assert config.silence_phones == "1:2:3:4:5:6:7:8:9:10"
    assert Path(config.fmllr_basis_rxfilename) == folder / "fmllr.basis"
    assert Path(features.splice_config) == folder / "conf/splice.conf"
    assert "there is no exp/tri4s_online/final.mdl; using" in caplog.text
    OnlineGmmDecodingModels(config)


def test_all_models_are_read(config: OnlineGmmDecodingConfig) -> None:
    models = OnlineGmmDecodingModels(config)
    assert models.get_transition_model().num_pdfs() == 616
    assert models.get_online_alignment_model() is not models.get_model()
    assert models.get_final_model() is models.get_model()
    basis = models.get_fmllr_basis()
    assert basis is not None
    assert basis.basis_size() == 250


def test_the_model_proper_stands_in_for_others(config: OnlineGmmDecodingConfig) -> None:
    config.online_alimdl_rxfilename = config.fmllr_basis_rxfilename = ""
    models = OnlineGmmDecodingModels(config)
    assert models.get_online_alignment_model() is models.get_model()
    assert models.get_fmllr_basis() is None


def test_a_rescoring_model_may_have_other_gaussians(config: OnlineGmmDecodingConfig, tmp_path: Path) -> None:
    source = Path(config.model_rxfilename)
    config.rescore_model_rxfilename = write_model(tmp_path / "rescore", source, one_gaussian_a_pdf(616))
    assert OnlineGmmDecodingModels(config).get_final_model().num_gauss() == 616


def test_models_that_do_not_fit_are_refused(
    config: OnlineGmmDecodingConfig, models: Path, tmp_path: Path
) -> None:
    source = Path(config.model_rxfilename)
    alignment_model = config.online_alimdl_rxfilename
    config.online_alimdl_rxfilename = write_model(tmp_path / "a", source, one_gaussian_a_pdf(616))
    with pytest.raises(ModelFormatError, match="expected as many Gaussians per pdf"):
        OnlineGmmDecodingModels(config)
    config.online_alimdl_rxfilename = write_model(tmp_path / "b", source, one_gaussian_a_pdf(616, 39))
    with pytest.raises(ModelFormatError, match="expected features of dimension 40, found 39"):
        OnlineGmmDecodingModels(config)
    config.online_alimdl_rxfilename = write_model(tmp_path / "c", source, one_gaussian_a_pdf(615))
    with pytest.raises(ModelFormatError, match=r"c: at byte \d+: expected 616 pdfs, found 615"):
        OnlineGmmDecodingModels(config)
    config.online_alimdl_rxfilename = alignment_model
    with (tmp_path / "basis").open("wb") as file:
        BasisFmllrEstimate(np.ones((1, 2, 3), np.float32)).write(KaldiWriter(file))
    config.fmllr_basis_rxfilename = str(tmp_path / "basis")
    with pytest.raises(
        ModelFormatError, match="basis: expected matrices for features of dimension 40, found 2"
    ):
        OnlineGmmDecodingModels(config)


def test_a_neural_network_is_no_gmm(config: OnlineGmmDecodingConfig, models: Path) -> None:
    config.model_rxfilename = str(models / "english/am/final.mdl")
    with pytest.raises(ModelFormatError, match="expected '<DIMENSION>', found '<Nnet3>'"):
        OnlineGmmDecodingModels(config)


@pytest.mark.parametrize(
    ("begin_s", "end_s", "first", "expected"),
    [
        (0.0, 2.0, True, False),
        (1.95, 2.05, True, True),
        (2.0, 2.05, True, True),
        (2.05, 2.95, True, False),
        (2.95, 3.05, True, True),
        (4.45, 4.55, True, True),
        (1.95, 3.05, False, False),
        (4.95, 5.05, False, True),
        (9.95, 10.05, False, True),
        (0.0, 0.0, True, False),
    ],
)
def test_transforms_are_due_at_times_of_a_geometric_series(
    begin_s: float, end_s: float, first: bool, expected: bool
) -> None:
    policy = OnlineGmmDecodingAdaptationPolicyConfig()
    assert policy.do_adapt(begin_s, end_s, is_first_utterance=first) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_rxfilename": ""}, "model: expected a file, found none"),
        ({"acoustic_scale": 0.0}, "fmllr-lattice-beam, acoustic-scale, silence-weight"),
        ({"silence_phones": "1:x"}, "silence-phones"),
        (
            {"adaptation_policy_opts": OnlineGmmDecodingAdaptationPolicyConfig(adaptation_delay=0)},
            "adaptation-delay: expected positive times, found 2.0, 0",
        ),
        (
            {"adaptation_policy_opts": OnlineGmmDecodingAdaptationPolicyConfig(adaptation_ratio=1)},
            "adaptation-ratio: expected more than 1, found 1.5, 1",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    config: OnlineGmmDecodingConfig, changes: dict[str, object], message: str
) -> None:
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.validate()
