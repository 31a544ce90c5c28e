"""Models load from directories and YAML files; what is wrong with one is said by name."""

import gc
import logging
import shutil
import struct
from pathlib import Path

import pytest
from model_files import ivector_extractor, network

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.session import Model
from pykaldi_server.session.formats.gstreamer_yaml import YamlFile
from pykaldi_server.session.loading import find_name


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    """A copy of the digits model that a test may damage."""
    target = tmp_path / "mine"
    for source in (models / "english").rglob("*"):
        inside = source.relative_to(models / "english")
        if source.is_dir() or inside.parts[0] in ("graph", "rescore"):
            continue
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / inside)
    return target


YAML = """
use-nnet2: True
decoder:
    nnet-mode: 3
    model : final.mdl
    fst : graph-digits/HCLG.fst
    word-syms : graph-digits/words.txt
    mfcc-config : conf/mfcc.conf
    ivector-extraction-config : conf/ivector_extractor.conf
    max-active: 5000
    beam: 11.0
    lattice-beam: 6.0
    do-endpointing : true
    endpoint-silence-phones : "1:2:3:4:5:6:7:8:9:10"
    endpoint_rule2_min_trailing_silence: 0.75
    silence-phones: "1:2:3:4:5:6:7:8:9:10"
    silence-weight: 0.001
    chunk-length-in-secs: 0.1
    use-threaded-decoder: true
out-dir: tmp
silence-timeout: 15
"""
IVECTOR_CONF = """
--splice-config=/elsewhere/exp/ivector/splice.conf
--cmvn-config=/elsewhere/exp/ivector/online_cmvn.conf
--lda-matrix=/elsewhere/exp/ivector/final.mat
--global-cmvn-stats=/elsewhere/exp/ivector/global_cmvn.stats
--diag-ubm=/elsewhere/exp/ivector/final.dubm
--ivector-extractor=/elsewhere/exp/ivector/final.ie
--max-count=100
"""


@pytest.fixture
def yaml_model(copy: Path) -> Path:
    """A YAML file beside a model whose configuration has paths of another machine."""
    (copy / "conf" / "ivector_extractor.conf").write_text(IVECTOR_CONF)
    # Lost files are looked for by name inside the directory of the acoustic model.
    shutil.move(copy / "am" / "final.mdl", copy / "final.mdl")
    path = copy / "digits.yaml"
    path.write_text(YAML)
    return path


def test_vosk_layout(models: Path) -> None:
    model = Model.load(models / "english:graph-digits")
    assert model.name == find_name(models / "english:graph-digits") == "english-digits"
    assert model.sample_rate_hz == 16000
    assert network(model).options.decoder.beam == 13.0
    assert ivector_extractor(model).opts.max_count == 100.0
    assert network(model).features.silence_weighting_config.silence_weight == 0.001


@pytest.fixture
def flat(copy: Path) -> Path:
    """The model in Vosk's older layout, which has no file of options."""
    for name in ("am/final.mdl", "conf/mfcc.conf", "graph-digits/HCLG.fst", "graph-digits/words.txt"):
        shutil.move(copy / name, copy / Path(name).name)
    for name in ("am", "conf", "graph-digits"):
        shutil.rmtree(copy / name)
    return copy


def test_flat_vosk_layout(flat: Path) -> None:
    options = network(Model.load(flat)).options
    decoder = options.decoder
    assert (decoder.beam, decoder.lattice_beam, decoder.max_active, decoder.min_active) == (13, 6, 7000, 200)
    assert options.endpoint.rule2.min_trailing_silence == 0.5


def test_vosk_models_with_cmvn_and_pitch(copy: Path) -> None:
    shutil.copyfile(copy / "ivector" / "global_cmvn.stats", copy / "am" / "global_cmvn.stats")
    features = network(Model.load(copy)).features
    assert features.cmvn_opts is not None
    assert features.global_cmvn_stats is not None
    assert features.global_cmvn_stats.shape == (2, 41)
    (copy / "conf" / "pitch.conf").write_text("--sample-frequency=16000\n--add-raw-log-pitch=false\n")
    # Three more dimensions than the network was trained with.
    with pytest.raises(ModelFormatError, match="expected features of dimension 40, found 43"):
        Model.load(copy)


def test_options_of_vosks_own_kaldi_are_accepted(copy: Path) -> None:
    with (copy / "ivector" / "online_cmvn.conf").open("a") as file:
        file.write("--cmn-min-energy=40\n")
    with (copy / "conf" / "model.conf").open("a") as file:
        file.write("--determinize-max-delay=30\n--determinize-max-active=100\n")
    assert network(Model.load(copy)).options.decoder.beam == 13.0


def test_recurrent_language_models_are_said_to_be_left_out(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copy / "rnnlm").mkdir()
    (copy / "graph-digits").rename(copy / "graph")
    Model.load(copy)
    assert "rescoring with a recurrent network is not supported" in caplog.text


def test_overrides_win(models: Path) -> None:
    model = Model.load(models / "english:graph-digits", beam=9, num_nbest=3, do_endpointing=False)
    assert (network(model).options.decoder.beam, model.options.num_nbest) == (9.0, 3)
    with pytest.raises(ConfigError, match=r"override: unknown option --beem"):
        Model.load(models / "english:graph-digits", beem=9)


def test_the_only_graph_is_the_default(copy: Path) -> None:
    assert Model.load(copy).name == find_name(copy) == "mine-digits"


def test_gstreamer_yaml(yaml_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = Model.load(yaml_model)
    options = network(model).options
    assert model.name == find_name(yaml_model) == find_name(YamlFile.read(yaml_model)) == "digits"
    assert (options.decoder.beam, options.decoder.max_active, options.decoder.min_active) == (11.0, 5000, 200)
    assert options.session.do_endpointing is True
    assert options.session.chunk_length_in_secs == 0.1
    assert options.session.traceback_period_in_secs == 0.5
    assert options.endpoint.rule2.min_trailing_silence == 0.75
    assert network(model).features.silence_weighting_config.silence_weight == 0.001
    assert ivector_extractor(model).opts.max_count == 100.0
    assert "use-threaded-decoder has no effect" in caplog.text
    assert "there is no /elsewhere/exp/ivector/final.ie" in caplog.text


def test_chain_models_get_their_scale_and_factor(yaml_model: Path) -> None:
    decodable = network(Model.load(yaml_model)).options.decodable
    assert (decodable.acoustic_scale, decodable.frame_subsampling_factor) == (1.0, 3)


def test_scales_that_cannot_be_right_are_kept_with_a_warning(
    yaml_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yaml_model.write_text(yaml_model.read_text().replace("beam: 11.0", "beam: 11.0\n    acoustic-scale: 0.1"))
    assert network(Model.load(yaml_model)).options.decodable.acoustic_scale == pytest.approx(0.1)
    assert "chain model, which needs --acoustic-scale=1.0" in caplog.text


def test_unknown_properties_are_named_with_the_nearest(
    yaml_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = yaml_model.read_text().replace("    beam: 11.0", "    baem: 11.0\n    beam: 11.0")
    yaml_model.write_text(text + "use-nnet: True\n")
    Model.load(yaml_model)
    assert "decoder: baem: unknown property; the nearest known one is 'beam'" in caplog.text
    assert caplog.text.count("unknown key 'use-nnet'; the nearest known one is 'use-nnet2'") == 1


def test_keys_for_workers_are_said_to_have_no_effect(
    yaml_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        Model.load(yaml_model)
    assert "without effect here, as only workers use them: out-dir, silence-timeout" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("beam: 11.0", "beam: wide", "decoder: beam: --beam: expected a number, found 'wide'"),
        ("fst : graph-digits/HCLG.fst", "", "fst is not set"),
        ("conf/mfcc.conf", "conf/nothing.conf", "there is no such file"),
    ],
)
def test_wrong_yaml_is_refused(yaml_model: Path, old: str, new: str, expected: str) -> None:
    yaml_model.write_text(yaml_model.read_text().replace(old, new))
    with pytest.raises(ConfigError) as caught:
        Model.load(yaml_model)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "decoder: 3"])
def test_what_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        Model.load(tmp_path / "x.yaml")


def test_features_that_do_not_fit_the_network_are_refused(yaml_model: Path, copy: Path) -> None:
    text = yaml_model.read_text()
    yaml_model.write_text(text.replace("    ivector-extraction-config : conf/ivector_extractor.conf\n", ""))
    with pytest.raises(ModelFormatError, match="expected i-vectors of dimension 40, found 0"):
        Model.load(yaml_model)
    yaml_model.write_text(text)
    (copy / "conf" / "mfcc.conf").write_text("--num-ceps=13\n")
    with pytest.raises(ConfigError, match="expected features of dimension 40, found 13"):
        Model.load(yaml_model)


def test_missing_parts_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such model directory"):
        Model.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no graph 'graph-x'; those that there are: graph-digits"):
        Model.load(f"{copy}:graph-x")
    (copy / "am" / "final.mdl").unlink()
    with pytest.raises(ConfigError, match="expected an acoustic model"):
        Model.load(copy)


def test_models_of_another_kind_are_refused(copy: Path, models: Path) -> None:
    shutil.copyfile(models / "english-gmm" / "final.mdl", copy / "am" / "final.mdl")
    with pytest.raises(ModelFormatError, match=r"final\.mdl: at byte"):
        Model.load(copy)


@pytest.mark.parametrize(
    "name", ["am/final.mdl", "graph-digits/HCLG.fst", "ivector/final.ie", "ivector/final.dubm"]
)
def test_truncated_files_are_named(copy: Path, name: str) -> None:
    path = copy / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFormatError, match=path.name.replace(".", r"\.")):
        Model.load(copy)


@pytest.fixture
def online_model(copy: Path) -> Path:
    """The model as Kaldi's prepare_online_decoding.sh lays it out, with paths of another machine."""
    shutil.move(copy / "am" / "final.mdl", copy / "final.mdl")
    (copy / "conf" / "model.conf").unlink()
    (copy / "conf" / "ivector_extractor.conf").write_text(IVECTOR_CONF)
    (copy / "frame_subsampling_factor").write_text("3\n")
    (copy / "conf" / "online.conf").write_text(
        "--feature-type=mfcc\n--mfcc-config=/elsewhere/conf/mfcc.conf\n"
        "--ivector-extraction-config=/elsewhere/conf/ivector_extractor.conf\n"
        "--endpoint.silence-phones=1:2:3:4:5:6:7:8:9:10\n"
    )
    return copy


def test_kaldi_online_directory(online_model: Path) -> None:
    model = Model.load(online_model, beam=13)
    options = network(model).options
    assert (options.decodable.acoustic_scale, options.decodable.frame_subsampling_factor) == (1.0, 3)
    assert model.endpoint is not None
    assert ivector_extractor(model).opts.max_count == 100.0


def test_options_of_kaldis_programs_are_accepted(
    online_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = online_model / "conf" / "online.conf"
    with config.open("a") as file:
        file.write("--chunk-length=0.18\n--word-symbol-table=words.txt\n--online=true\n")
        file.write("--optimization.optimize=true\n--computation.debug=false\n--print-args=false\n")
    with caplog.at_level(logging.INFO):
        Model.load(online_model)
    assert "online.conf:5: --chunk-length has no effect" in caplog.text


def test_without_silence_phones_there_are_no_endpoints(online_model: Path) -> None:
    config = online_model / "conf" / "online.conf"
    config.write_text(config.read_text().replace("--endpoint.silence-phones=1:2:3:4:5:6:7:8:9:10\n", ""))
    assert Model.load(online_model).endpoint is None
    with pytest.raises(ConfigError, match=r"endpoint\.silence-phones"):
        Model.load(online_model, do_endpointing=True)


def test_model_in_an_installed_package(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "my_speech_model"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    copy.rename(package / "model")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert Model.load("my-speech-model").name == find_name("my-speech-model") == "my-speech-model"


@pytest.mark.parametrize(("length_s", "warned"), [(0.05, False), (2.0, False), (2.5, True), (60.0, True)])
def test_chunks_of_many_seconds_are_warned_of(
    models: Path, caplog: pytest.LogCaptureFixture, length_s: float, warned: bool
) -> None:
    Model.load(models / "english:graph-digits", chunk_length_in_secs=length_s)
    assert (f"model english-digits: chunk-length-in-secs is {length_s:g}" in caplog.text) is warned


@pytest.mark.parametrize("layout", ["vosk", "yaml"])
@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize("name", ["final.mat", "global_cmvn.stats", "final.dubm", "final.ie"])
def test_numbers_that_are_not_finite_are_refused_with_the_path(
    copy: Path, yaml_model: Path, layout: str, number: str, name: str
) -> None:
    if layout == "vosk":
        yaml_model.unlink()
        (copy / "am").mkdir(exist_ok=True)
        shutil.move(copy / "final.mdl", copy / "am" / "final.mdl")
        (copy / "conf" / "ivector_extractor.conf").unlink()
    path = copy / "ivector" / name
    data = path.read_bytes()
    if name == "global_cmvn.stats":
        data = data.replace(b"4.03656e+08", number.encode(), 1)
    else:
        # The last number before the end of the file, or before its last token.
        form = "<d" if name == "final.ie" else "<f"
        end = {"final.dubm": b"</DiagGMM> ", "final.ie": b"</IvectorExtractor> "}.get(name, b"")
        data = data.removesuffix(end)[: -struct.calcsize(form)] + struct.pack(form, float(number)) + end
    assert data != path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(ModelFormatError) as raised:
        Model.load(copy if layout == "vosk" else yaml_model)
    assert str(raised.value).startswith(f"{path}: at byte ")
    assert "expected" in str(raised.value)
    assert f"found {number}" in str(raised.value)


def test_loading_is_not_searched_for_garbage(models: Path) -> None:
    searched: list[str] = []
    gc.collect()  # so that no search is due
    gc.callbacks.append(search := lambda phase, _: searched.append(phase))
    try:
        Model.load(models / "english:graph-digits")
        assert gc.get_count()[0] < gc.get_threshold()[0]
    finally:
        gc.callbacks.remove(search)
    assert not searched


def test_what_is_frozen_stays_frozen(models: Path) -> None:
    gc.freeze()
    try:
        Model.load(models / "english:graph-digits")
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("is_on", [True, False])
def test_the_garbage_collector_is_as_it_was(models: Path, tmp_path: Path, is_on: bool) -> None:
    was_on = gc.isenabled()
    try:
        (gc.enable if is_on else gc.disable)()
        Model.load(models / "english:graph-digits")
        assert gc.isenabled() == is_on
        with pytest.raises(FileNotFoundError):
            Model.load(tmp_path / "none")
        assert gc.isenabled() == is_on
    finally:
        (gc.enable if was_on else gc.disable)()
