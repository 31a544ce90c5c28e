"""`pykaldi-server model info`: what models and files are made of."""

from pathlib import Path

import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.session.formats.description import describe


def test_models(models):
    chain = dict(describe(Path(f"{models}/english:graph-digits")))
    assert chain["kind"] == "nnet3"
    assert chain["network"] == "1,200 outputs every 3 frames"
    assert chain["context"] == "17 + 17 frames, computed 24 frames at a time"
    gmm = dict(describe(models / "english-gmm"))
    assert gmm["kind"] == "GMM with basis fMLLR"
    assert gmm["pdfs"] == "616"


@pytest.mark.parametrize(
    ("name", "what", "expected"),
    [
        ("english/am/final.mdl", "parameters", "1,421,488"),
        ("english/ivector/final.ie", "i-vectors", "40 dimensions, prior offset 36.9241"),
        ("english/ivector/final.dubm", "Gaussians", "128 of 40 dimensions"),
        ("english/ivector/final.mat", "shape", "40 x 281"),
        ("english/ivector/global_cmvn.stats", "shape", "2 x 41"),
        ("english/graph-digits/HCLG.fst", "size", "115 states, 318 arcs"),
        ("english-gmm/final.oalimdl", "Gaussians", "3,108 of 40 dimensions in 616 pdfs"),
    ],
)
def test_files(models, name, what, expected):
    assert dict(describe(models / name))[what] == expected


def test_raw_and_nnet2_networks(golden):
    assert dict(describe(golden / "networks" / "tdnnf.raw"))["kind"] == "nnet3 network"
    assert dict(describe(golden / "networks" / "nnet2-pnorm.mdl"))["kind"] == "nnet2 acoustic model"


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("# Notes\n")
    with pytest.raises(ModelFormatError, match="expected a file of a Kaldi model, found '#'"):
        list(describe(tmp_path / "notes.txt"))
    (tmp_path / "empty").touch()
    with pytest.raises(ModelFormatError, match="found ''"):
        list(describe(tmp_path / "empty"))
