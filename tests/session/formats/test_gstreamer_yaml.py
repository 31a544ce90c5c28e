"""YAML files of kaldi-gstreamer-server: where their files are looked for, and how their values are read."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import WORDS, link_files, network, replace_file

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.session import Model
from pykaldi_server.session.formats.gstreamer_yaml import YamlFile

ZAMIA = {
    "model/final.mdl": "am/final.mdl",
    "model/graph/HCLG.fst": "graph-digits/HCLG.fst",
    "model/graph/words.txt": "graph-digits/words.txt",
    "model/graph/phones/word_boundary.int": "graph-digits/phones/word_boundary.int",
    "conf/mfcc_hires.conf": "conf/mfcc.conf",
    "ivectors_test_hires/conf/splice.conf": "ivector/splice.conf",
    "ivectors_test_hires/conf/online_cmvn.conf": "ivector/online_cmvn.conf",
    "extractor/final.dubm": "ivector/final.dubm",
    "extractor/final.ie": "ivector/final.ie",
    "extractor/final.mat": "ivector/final.mat",
    "extractor/global_cmvn.stats": "ivector/global_cmvn.stats",
}
"""The layout of the models of Zamia Speech."""

IVECTOR_CONF = """
--splice-config=exp/nnet3_chain/ivectors_test_hires/conf/splice.conf
--cmvn-config=exp/nnet3_chain/ivectors_test_hires/conf/online_cmvn.conf
--lda-matrix=exp/nnet3_chain/extractor/final.mat
--global-cmvn-stats=exp/nnet3_chain/extractor/global_cmvn.stats
--diag-ubm=exp/nnet3_chain/extractor/final.dubm
--ivector-extractor=exp/nnet3_chain/extractor/final.ie
--max-count=100
"""
YAML = """
use-nnet2: True
decoder:
    model: {0}/model/final.mdl
    fst: {0}/model/graph/HCLG.fst
    word-syms: {0}/model/graph/words.txt
    word-boundary-file: {0}/model/graph/phones/word_boundary.int
    mfcc-config: {0}/conf/mfcc_hires.conf
    ivector-extraction-config: {0}/ivectors_test_hires/conf/ivector_extractor.conf
    silence-phones: 1:2:3:4:5:6:7:8:9:10
    silence-weight: 1.0e-3
"""


@pytest.fixture
def zamia(models: Path, tmp_path: Path) -> Path:
    """A model in that layout, with stray files that have the names of others."""
    root = link_files(models / "english", tmp_path / "models" / "kaldi-generic-x", ZAMIA)
    replace_file(root / "ivectors_test_hires/conf/ivector_extractor.conf", IVECTOR_CONF)
    # The configuration that the other files name is one folder deeper.
    replace_file(root / "conf" / "online_cmvn.conf", "--cmn-window=oops\n")
    return root


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("models/x.yaml", "kaldi-generic-x"),  # relative to the file
        ("x.yaml", "models/kaldi-generic-x"),
        ("models/kaldi-generic-x/x.yaml", "."),
        ("models/kaldi-generic-x/x.yaml", "/opt/kaldi/kaldi-generic-x"),  # where it was once
        ("models/kaldi-generic-x/x.yaml", "data/kaldi-generic-x"),
        ("elsewhere/x.yaml", "../models/kaldi-generic-x"),
        ("models/kaldi-generic-x/model/x.yaml", "models/kaldi-generic-x"),  # relative to a folder above
        ("x.yaml", r"C:\asr\kaldi-generic-x"),
    ],
)
def test_zamias_layout(
    zamia: Path, tmp_path: Path, place: str, named: str, recognised: Callable[[Model], str]
) -> None:
    yaml = tmp_path / place
    text = YAML.format(named)
    replace_file(yaml, text.replace("/", "\\") if "\\" in named else text)
    model = Model.load(yaml)
    assert recognised(model) == WORDS
    weighting = network(model).features.silence_weighting_config
    assert weighting.silence_phones_str == "1:2:3:4:5:6:7:8:9:10"
    assert weighting.silence_weight == pytest.approx(0.001)


def test_relative_to_the_working_directory(
    zamia: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "models")
    replace_file(tmp_path / "etc" / "x.yaml", YAML.format("kaldi-generic-x"))
    assert Model.load(tmp_path / "etc" / "x.yaml").word_aligner is not None


def test_a_description_without_any_file_is_refused(zamia: Path, tmp_path: Path) -> None:
    replace_file(tmp_path / "etc" / "x.yaml", YAML.format("/opt/kaldi-generic-x"))
    with pytest.raises(ConfigError, match=r"x\.yaml: decoder: model: --model: there is no such file: /opt"):
        Model.load(tmp_path / "etc" / "x.yaml")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max-active: 7_000", "expected an integer, found '7_000'"),
        ("max-active: 99999999999", "expected an integer from"),
        ("beam:", "expected a number, found ''"),
        ("beam: [1, 2]", r"expected a number, found '\[1, 2\]'"),
        ("silence-phones: 1:x", "expected integers between colons"),
        ("fst: gunzip -c HCLG.fst.gz | cat |", "found a command, which is not run"),
    ],
)
def test_wrong_values(zamia: Path, line: str, expected: str) -> None:
    text = YAML.replace("    silence-phones: 1:2:3:4:5:6:7:8:9:10\n", "") + f"    {line}\n"
    replace_file(zamia / "x.yaml", text.format("."))
    with pytest.raises(ConfigError, match=expected) as caught:
        Model.load(zamia / "x.yaml")
    assert str(caught.value).startswith(f"{zamia}/x.yaml: ")


def test_values_of_all_kinds(tmp_path: Path) -> None:
    text = "decoder: {a: 1:2, b: 1_0, c: 0x10, d: 010, e: 7, f: 1.5e+3, g: .5, h: true, i: 1e-3, j: -2}\n"
    (tmp_path / "x.yaml").write_text(text)
    values = YamlFile.read(tmp_path / "x.yaml").model["decoder"]
    assert list(values.values()) == ["1:2", "1_0", "0x10", "010", 7, 1500.0, 0.5, True, "1e-3", -2]


def test_a_packed_matrix_that_a_command_unpacks(zamia: Path, recognised: Callable[[Model], str]) -> None:
    config = zamia / "ivectors_test_hires/conf/ivector_extractor.conf"
    matrix = zamia / "extractor" / "final.mat"
    config.write_text(config.read_text().replace("=exp/nnet3_chain/extractor/final.mat", f"=cat {matrix} |"))
    replace_file(zamia / "x.yaml", YAML.format("."))
    assert recognised(Model.load(zamia / "x.yaml")) == WORDS


def test_properties_without_effect_are_named(zamia: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ("use-threaded-decoder: true", "nnet-mode: 3", "max-nnet-batch-size: 64", "pad-input: false")
    replace_file(zamia / "x.yaml", YAML.format(".") + "".join(f"    {line}\n" for line in lines))
    with caplog.at_level(logging.INFO):
        Model.load(zamia / "x.yaml")
    for line in lines:
        assert f"decoder: {line.partition(':')[0]} has no effect: " in caplog.text


def test_keys_that_are_there_twice_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An alias makes no second key, also not within the mapping that it is an alias of."""
    path = tmp_path / "x.yaml"
    path.write_text("a: &a\n  b: 1\n  c: *a\nd: *a\ndecoder:\n  - b: 1\n    e: 2\n    b: 3\na: 4\n")
    assert YamlFile.read(path).model == {"decoder": [{"b": 3, "e": 2}]}
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: line 8: 'b' is there again; the last one counts",
        f"{path}: line 9: 'a' is there again; the last one counts",
    ]


def test_git_lfs_pointer(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModelFormatError, match=r"x\.yaml: .*Git LFS pointer"):
        Model.load(tmp_path / "x.yaml")
