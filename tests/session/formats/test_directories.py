"""Models are found in the directories that people have, however they were unpacked."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import WORDS, network, replace_file

from pykaldi_server.errors import ConfigError
from pykaldi_server.session import Model
from pykaldi_server.session.loading import find_name


@pytest.mark.parametrize("config", ["online.conf", "online_nnet2_decoding.conf", "online_decoding.conf"])
@pytest.mark.parametrize("layout", ["digits", "flat"])
def test_stray_configurations_in_vosks_layout(
    request: pytest.FixtureRequest, layout: str, config: str, recognised: Callable[[Model], str]
) -> None:
    model_dir: Path = request.getfixturevalue(layout)
    replace_file(model_dir / "conf" / config, "--feature-type=mfcc\n")
    assert recognised(Model.load(model_dir)) == WORDS


def test_a_configuration_that_names_the_features_is_not_stray(online: Callable[[object], Path]) -> None:
    root = online("/gone/exp/online")
    replace_file(root / "mfcc.conf", (root / "conf" / "mfcc.conf").resolve())
    model = Model.load(root)
    # Vosk's default beam would be 13.
    assert network(model).options.decoder.beam == 16.0


def test_a_model_one_folder_down(digits: Path, caplog: pytest.LogCaptureFixture) -> None:
    outer = digits.parent / "unpacked"
    (outer / "__MACOSX").mkdir(parents=True)
    digits.rename(outer / "vosk-model-digits")
    with caplog.at_level(logging.INFO):
        assert Model.load(outer).name == "unpacked"
    assert f"{outer}: the model is in {outer / 'vosk-model-digits'}" in caplog.text
    (outer / "vosk-model-digits" / "graph").rename(outer / "vosk-model-digits" / "graph-x")
    assert Model.load(f"{outer}:graph-x").name == find_name(f"{outer}:graph-x") == "unpacked-x"


def test_several_models_one_folder_down(models: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one model, found several.*: english, english-gmm"):
        Model.load(models)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="expected an acoustic model"):
        Model.load(tmp_path)
