"""Models of every kind, and what tests of sessions do with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK, read_wav
from numpy.typing import NDArray

from pykaldi_server.kaldi.fstext import StdArc, StdConstFst, StdVectorFst
from pykaldi_server.session import Model

# Of the random nnet2 network among the golden data.
NNET2_TRANSITION_IDS = 60


@pytest.fixture(scope="session")
def digits(models: Path) -> Model:
    """English digits with an nnet3 network."""
    return Model.load(models / "english:graph-digits", frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK)


@pytest.fixture(scope="session")
def nnet2_config(golden: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random nnet2 network with a graph of one state, which allows every transition-id at no cost."""
    folder = tmp_path_factory.mktemp("nnet2")
    graph = StdVectorFst()
    graph.add_state()
    graph.set_start(0)
    graph.set_final(0, 0.0)
    for transition_id in range(1, NNET2_TRANSITION_IDS + 1):
        graph.add_arc(0, StdArc(transition_id, 1, 0.0, 0))
    StdConstFst(graph).write(str(folder / "HCLG.fst"))
    (folder / "words.txt").write_text("<eps> 0\nword 1\n")
    path = folder / "nnet2.yaml"
    path.write_text(
        "use-nnet2: True\n"
        "decoder:\n"
        "    nnet-mode: 2\n"
        f"    model: {golden}/networks/nnet2-pnorm.mdl\n"
        "    fst: HCLG.fst\n"
        "    word-syms: words.txt\n"
        f"    mfcc-config: {models}/english/conf/mfcc.conf\n"
        "    acoustic-scale: 0.1\n"
        "    beam: 20.0\n"
        "    lattice-beam: 0.01\n"
    )
    return path


@pytest.fixture(scope="session")
def gmm_plugin_config(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English digits as the original's plugin for GMMs decodes them."""
    folder = models / "english-gmm"
    path = tmp_path_factory.mktemp("gmm-plugin") / "digits.yaml"
    path.write_text(
        "use-nnet2: False\n"
        "decoder:\n"
        f"    model: {folder}/final.oalimdl\n"
        f"    fst: {folder}/graph-digits/HCLG.fst\n"
        f"    word-syms: {folder}/graph-digits/words.txt\n"
        f"    lda-mat: {folder}/final.mat\n"
        '    silence-phones: "1:2:3:4:5:6:7:8:9:10"\n'
        "    left-context: 3\n"
        "    right-context: 3\n"
        "    rt-min: 0.7\n"
        "    beam: 13.0\n"
    )
    return path


@pytest.fixture(scope="session", params=["nnet3", "nnet2", "gmm", "gmm_plugin"])
def any_model(
    request: pytest.FixtureRequest, models: Path, nnet2_config: Path, gmm_plugin_config: Path
) -> Model:
    """A model of each kind."""
    if request.param == "nnet3":
        digits: Model = request.getfixturevalue("digits")
        return digits
    paths = {"nnet2": nnet2_config, "gmm": models / "english-gmm", "gmm_plugin": gmm_plugin_config}
    return Model.load(paths[request.param])


@pytest.fixture(scope="session")
def recording(golden: Path) -> Callable[[str], NDArray[np.float32]]:
    """Reads the samples of a golden recording."""

    def read(name: str) -> NDArray[np.float32]:
        return read_wav(golden / "wav" / f"{name}.wav")[1]

    return read
