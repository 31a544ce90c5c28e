"""`pykaldi-server model info`: what models and files are made of."""

import shutil
from pathlib import Path

import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.fstext import compile_graph
from pykaldi_server.session.formats.description import describe


def test_models(models: Path) -> None:
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
        ("english-gmm/fmllr.basis", "kind", "basis of fMLLR transforms"),
        (
            "english/graph/HCLr.fst",
            "kind",
            "first part of a graph: transition-ids to words (OpenFst, olabel_lookahead)",
        ),
        ("english/graph/HCLr.fst", "labels", "input up to 6,680; 20,983 words"),
        ("english/graph/Gr.fst", "kind", "language model, second part of a graph (OpenFst, ngram)"),
        ("english/graph/Gr.fst", "output symbols", "20,989"),
        ("english/graph/disambig_tid.int", "numbers", "9, from 6,681 to 6,689"),
        ("english/rescore/G.fst", "kind", "transducer (OpenFst, vector)"),
        ("english/rescore/G.carpa", "order", "3"),
        ("english/rescore/G.carpa", "words", "up to 20,989"),
        ("english/graph/words.txt", "kind", "table of symbols"),
        ("english/graph/phones.txt", "kind", "table of symbols"),
        ("english/graph/phones/word_boundary.int", "kind", "positions of phones in words"),
        ("english/graph/phones/silence.csl", "phones", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
        ("english/conf/mfcc.conf", "--num-ceps", "40"),
        ("english/conf/model.conf", "--beam", "13.0"),
        ("english-gmm/graph-digits/phones/align_lexicon.int", "kind", "lexicon for word times"),
    ],
)
def test_files(models: Path, name: str, what: str, expected: str) -> None:
    assert dict(describe(models / name))[what] == expected


def test_raw_and_nnet2_networks(golden: Path) -> None:
    assert dict(describe(golden / "networks" / "tdnnf.raw"))["kind"] == "nnet3 network"
    assert dict(describe(golden / "networks" / "nnet2-pnorm.mdl"))["kind"] == "nnet2 acoustic model"
    assert dict(describe(golden / "networks" / "nnet2-pnorm.raw"))["kind"] == "nnet2 network"


def test_compiled_graphs(models: Path, tmp_path: Path) -> None:
    compile_graph(models / "english" / "graph", tmp_path / "composed.graph")
    described = dict(describe(tmp_path / "composed.graph"))
    assert described["kind"] == "compiled graph"
    assert described["size"].endswith(" arcs")


def test_parts_of_graphs_alone(models: Path, tmp_path: Path) -> None:
    for name in ("HCLr.fst", "Gr.fst"):
        (tmp_path / "alone").mkdir(exist_ok=True)
        shutil.copy(models / "english" / "graph" / name, tmp_path / "alone" / "x.fst")
        assert dict(describe(tmp_path / "alone" / "x.fst"))["checked"].startswith("no")


def test_trees_and_topologies(tmp_path: Path) -> None:
    (tmp_path / "tree").write_bytes(b"\0BContextDependency \x04\x03\0\0\0\x04\x01\0\0\0ToPdf ")
    assert dict(describe(tmp_path / "tree"))["context"].startswith("3 phones, number 1")
    (tmp_path / "topo").write_text(
        "<Topology>\n<TopologyEntry>\n<ForPhones>\n1\n</ForPhones>\n<State> 0 <PdfClass> 0 "
        "<Transition> 0 0.5 <Transition> 1 0.5 </State>\n<State> 1 </State>\n</TopologyEntry>\n</Topology>\n"
    )
    assert dict(describe(tmp_path / "topo"))["topology"] == "HMM"


def test_language_models_in_arpa_form(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text("\n\\data\\\nngram 1=3\nngram 2 = 1200\n\n\\1-grams:\n")
    described = dict(describe(tmp_path / "lm.arpa"))
    assert (described["1-grams"], described["2-grams"]) == ("3", "1,200")


@pytest.mark.parametrize(
    "name",
    [
        *("am/final.mdl", "ivector/final.ie", "graph/HCLr.fst", "graph/Gr.fst", "rescore/G.carpa"),
        *("graph-digits/HCLG.fst", "rescore/G.fst"),
    ],
)
@pytest.mark.parametrize("size", [3, 30, 300])
def test_files_that_end_early(models: Path, tmp_path: Path, name: str, size: int) -> None:
    folder = tmp_path / "x"
    shutil.copytree((models / "english" / name).parent, folder)
    path = folder / Path(name).name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelFormatError, match=path.name):
        list(describe(path))


def test_git_lfs_pointers(tmp_path: Path) -> None:
    (tmp_path / "final.mdl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModelFormatError, match="Git LFS pointer"):
        list(describe(tmp_path / "final.mdl"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("# Notes\n")
    with pytest.raises(ModelFormatError, match="expected a file of a Kaldi model, found '#'"):
        list(describe(tmp_path / "notes.txt"))
    (tmp_path / "empty").touch()
    with pytest.raises(ModelFormatError, match="found ''"):
        list(describe(tmp_path / "empty"))
