"""Adaptation states of GMM decoding: those that Kaldi wrote, our own, and damaged ones."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import AdaptationStateError, ModelFormatError
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.transform import FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter


@pytest.fixture(scope="module")
def text(golden: Path) -> bytes:
    return gzip.decompress((golden / "gmm/returning/ps-cards-005.adaptation.txt.gz").read_bytes())


def written(state: OnlineGmmAdaptationState, binary: bool) -> bytes:
    file = io.BytesIO()
    state.write(KaldiWriter(file, binary))
    return file.getvalue()


def test_a_state_of_kaldis(text: bytes) -> None:
    reader = KaldiReader(text)
    state = OnlineGmmAdaptationState.read(reader)
    reader.expect_end()
    state.check(40)
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
    assert again.spk_stats.beta == state.spk_stats.beta
    np.testing.assert_allclose(again.spk_stats.K, state.spk_stats.K, rtol=1e-6)
    np.testing.assert_allclose(again.spk_stats.G, state.spk_stats.G, rtol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_the_state_of_an_unknown_speaker_reads_back(binary: bool) -> None:
    again = OnlineGmmAdaptationState.read(KaldiReader(written(OnlineGmmAdaptationState(), binary)))
    again.check(40)
    assert again.transform is None
    assert again.spk_stats is None
    assert again.cmvn_state.speaker_cmvn_stats.size == 0


def test_states_for_other_features_are_refused() -> None:
    with pytest.raises(AdaptationStateError, match=r"expected a transform of 40 x 41, found \(39, 40\)"):
        OnlineGmmAdaptationState(transform=np.eye(39, 40, dtype=np.float32)).check(40)
    with pytest.raises(AdaptationStateError, match="expected statistics of dimension 40, found 39"):
        OnlineGmmAdaptationState(spk_stats=FmllrDiagGmmAccs.zero(39)).check(40)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("[ 1 2 3 ]", "expected a transform with one more column than rows, found (1, 3)"),
        ("[ 0 1 ]", "expected a transform that can be inverted"),
        ("[ 1 nan ]", "expected a transform of finite numbers"),
        ("[ inf 1 ]", "expected a transform of finite numbers"),
    ],
)
def test_damaged_transforms_are_refused(transform: str, message: str) -> None:
    whole = f"<ONLINEGMMADAPTATIONSTATE> <TRANSFORM> {transform}\n"
    with pytest.raises(ModelFormatError, match=r"state: at byte \d+: ") as raised:
        OnlineGmmAdaptationState.read(KaldiReader(whole.encode(), "state"))
    assert message in str(raised.value)
