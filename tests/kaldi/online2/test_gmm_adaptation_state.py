"""Adaptation states of GMM decoding: those that Kaldi wrote, our own, and damaged ones."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import AdaptationStateError, ModelFormatError
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.online2.gmm_models import read_gmm
from pykaldi_server.kaldi.transform import FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter


@pytest.fixture(scope="module")
def text(golden: Path) -> bytes:
    return gzip.decompress((golden / "gmm/returning/ps-cards-005.adaptation.txt.gz").read_bytes())


def written(state: OnlineGmmAdaptationState, binary: bool) -> bytes:
    file = io.BytesIO()
    state.write(KaldiWriter(file, binary))
    return file.getvalue()


@pytest.fixture(scope="module")
def model(models: Path) -> AmDiagGmm:
    return read_gmm(models / "english-gmm/final.mdl")[1]


def test_a_state_of_kaldis(text: bytes, model: AmDiagGmm) -> None:
    reader = KaldiReader(text)
    state = OnlineGmmAdaptationState.read(reader)
    reader.expect_end()
    state.check(model)
    assert state.transform is not None
    assert state.spk_stats is not None
    assert state.transform.shape == (40, 41)
    assert state.spk_stats.beta == 732.064
    assert state.spk_stats.G.shape == (40, 41, 41)
    assert state.cmvn_state.speaker_cmvn_stats[0, -1] == 348
    assert state.cmvn_state.frozen_state.size == 0


@pytest.mark.parametrize("binary", [True, False])
def test_what_is_written_reads_back(text: bytes, binary: bool) -> None:
    state = OnlineGmmAdaptationState.read(KaldiReader(text))
    again = OnlineGmmAdaptationState.read(KaldiReader(written(state, binary)))
    np.testing.assert_array_equal(again.transform, state.transform)
    np.testing.assert_array_equal(again.cmvn_state.speaker_cmvn_stats, state.cmvn_state.speaker_cmvn_stats)
    assert again.spk_stats is not None
    assert state.spk_stats is not None
    assert again.spk_stats.beta == state.spk_stats.beta
    np.testing.assert_allclose(again.spk_stats.K, state.spk_stats.K, rtol=1e-6)
    np.testing.assert_allclose(again.spk_stats.G, state.spk_stats.G, rtol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_the_state_of_an_unknown_speaker_reads_back(model: AmDiagGmm, binary: bool) -> None:
    again = OnlineGmmAdaptationState.read(KaldiReader(written(OnlineGmmAdaptationState(), binary)))
    again.check(model)
    assert again.transform is None
    assert again.spk_stats is None
    assert again.cmvn_state.speaker_cmvn_stats.size == 0


def test_states_for_other_features_are_refused(model: AmDiagGmm) -> None:
    with pytest.raises(AdaptationStateError, match=r"expected a transform of 40 x 41, found \(39, 40\)"):
        OnlineGmmAdaptationState(transform=np.eye(39, 40, dtype=np.float32)).check(model)
    with pytest.raises(AdaptationStateError, match="expected statistics of dimension 40, found 39"):
        OnlineGmmAdaptationState(spk_stats=FmllrDiagGmmAccs.zero(39)).check(model)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("[ 1 2 3 ]", "expected a transform with one more column than rows, found (1, 3)"),
        ("[ 1 nan ]", "expected finite numbers in the transform, found nan at [0, 1]"),
        ("[ inf 1 ]", "expected finite numbers in the transform, found inf at [0, 0]"),
    ],
)
def test_damaged_transforms_are_refused(transform: str, message: str) -> None:
    whole = f"<ONLINEGMMADAPTATIONSTATE> <TRANSFORM> {transform}\n"
    with pytest.raises(ModelFormatError, match=r"state: at byte \d+: ") as raised:
        OnlineGmmAdaptationState.read(KaldiReader(whole.encode(), "state"))
    assert message in str(raised.value)


def test_states_of_kaldis_are_credible(shared_golden: Path, model: AmDiagGmm) -> None:
    paths = sorted((shared_golden / "gmm").glob("*/*.adaptation.txt.gz"))
    for path in paths:
        OnlineGmmAdaptationState.read(KaldiReader(gzip.decompress(path.read_bytes()), path)).check(model)
    assert len(paths) >= 5


def changed(text: bytes, **values: float) -> OnlineGmmAdaptationState:
    """A state of Kaldi's with some of its numbers replaced."""
    state = OnlineGmmAdaptationState.read(KaldiReader(text))
    assert state.transform is not None
    assert state.spk_stats is not None
    state.transform, stats = state.transform.copy(), state.spk_stats.copy()
    state.spk_stats = stats
    for name, value in values.items():
        match name:
            case "beta":
                stats.beta = value
            case "element":
                state.transform[3, 4] = value
            case "singular":
                state.transform[:, 0] = value
            case _:
                array = getattr(stats, name[0])
                index = {"K": (5, 6), "G_diagonal": (5, 6, 6), "G_last": (5, 40, 40), "G": (5, 6, 7)}[name]
                array[index] = value
    return state


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta", -1.0, "a count from 0"),
        ("beta", 1e12, "a count from 0"),
        ("beta", 1.0, "sums of inverse variances"),
        ("element", 1e30, "elements up to 10000"),
        ("singular", 0.0, "can be inverted"),
        ("K", 1e30, "products of means and features"),
        ("K", -1e9, "products of means and features"),
        ("G_diagonal", -1.0, "squares of features"),
        ("G_diagonal", 1e30, "squares of features"),
        ("G_last", 1e30, "sums of inverse variances"),
        ("G", 1e30, "products of features"),
        ("G", -1e9, "products of features"),
    ],
)
def test_statistics_that_no_audio_has_are_refused(
    text: bytes, model: AmDiagGmm, name: str, value: float, message: str
) -> None:
    with pytest.raises(AdaptationStateError, match=message):
        changed(text, **{name: value}).check(model)
