"""Kaldi's online directories, whose configurations name files of the machine where they were made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_files import WORDS, ivector_extractor, replace_file

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.session import Model


def shifted(path: Path) -> bytes:
    """Statistics in text form whose means are those of a file, and 20 more."""
    stats = KaldiReader.open(path).read_matrix().astype(float)
    stats[0, :-1] += 20 * stats[0, -1]
    return b" [\n" + b"\n".join(" ".join(map(repr, map(float, row))).encode() for row in stats) + b" ]\n"


def mean_of_first(model: Model) -> float:
    stats = ivector_extractor(model).global_cmvn_stats
    return float(stats[0, 0] / stats[0, -1])


@pytest.mark.parametrize(
    "place", ["/export/exp/tdnn_online", "exp/tdnn_online", r"C:\exp\tdnn_online", r"\\server\x\tdnn_online"]
)
def test_statistics_of_i_vectors_are_not_those_of_the_network(
    online: Callable[[object], Path], place: str, recognised: Callable[[Model], str]
) -> None:
    root = online(place)
    right = root / "ivector_extractor" / "global_cmvn.stats"
    replace_file(root / "global_cmvn.stats", shifted(right))
    model = Model.load(root)
    stats = KaldiReader.open(right).read_matrix()
    assert mean_of_first(model) == pytest.approx(stats[0, 0] / stats[0, -1])
    assert recognised(model) == WORDS


def test_statistics_that_cannot_be_told_apart(online: Callable[[object], Path]) -> None:
    root = online("/gone")
    stats = root / "ivector_extractor" / "global_cmvn.stats"
    for name in ("a", "b"):
        replace_file(root / name / "global_cmvn.stats", shifted(stats))
    stats.unlink()
    with pytest.raises(ConfigError) as caught:
        Model.load(root)
    assert "ivector_extractor.conf:4: --global-cmvn-stats: there is no such file" in str(caught.value)
    assert str(root / "a" / "global_cmvn.stats") in str(caught.value)
    assert str(root / "b" / "global_cmvn.stats") in str(caught.value)


def test_paths_that_exist_are_taken(online: Callable[[object], Path], tmp_path: Path) -> None:
    root = online(tmp_path / "online")
    replace_file(root / "global_cmvn.stats", shifted(root / "ivector_extractor" / "global_cmvn.stats"))
    assert np.isfinite(mean_of_first(Model.load(root)))
    assert mean_of_first(Model.load(root)) < 100
