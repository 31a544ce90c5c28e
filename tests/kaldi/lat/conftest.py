"""Golden lattices and the model they come from."""

from pathlib import Path

import pytest

from pykaldi_server.kaldi._core import TransitionInformation
from pykaldi_server.kaldi.hmm.transition_model import TransitionModel
from pykaldi_server.kaldi.lat.functions import transition_information
from pykaldi_server.kaldi.util.io import KaldiReader


@pytest.fixture(scope="session")
def golden_root(request: pytest.FixtureRequest, golden: Path) -> Path:
    """All golden data where it lies beside the repository, else what every clone has of it."""
    try:
        root: Path = request.getfixturevalue("shared_golden")
    except pytest.skip.Exception:
        return golden
    return root


@pytest.fixture(scope="session")
def english(models: Path) -> TransitionInformation:
    """The transition model of models/english."""
    return transition_information(TransitionModel.read(KaldiReader.open(models / "english/am/final.mdl")))
