"""Damaged models of every kind are refused by name, never with another exception or with much memory."""

import io
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest
from damage import damaged, refuses_or_reads
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvnState
from pykaldi_server.kaldi.gmm import AmDiagGmm, DiagGmm
from pykaldi_server.kaldi.hmm import HmmState, HmmTopology, TransitionModel
from pykaldi_server.kaldi.ivector import IvectorExtractor, OnlineIvectorEstimationStats
from pykaldi_server.kaldi.nnet2 import AmNnet, Nnet
from pykaldi_server.kaldi.online2 import OnlineIvectorExtractorAdaptationState
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.transform import BasisFmllrEstimate, FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

DIM = 2


def transition_model() -> TransitionModel:
    states = [HmmState(0, 1, [(0, 0.5), (1, 0.5)]), HmmState(2, 2, [(1, 0.25), (2, 0.75)]), HmmState()]
    tuples = np.array([[1, 0, 0, 1], [1, 1, 2, 2], [3, 0, 3, 4]], np.int32)
    log_probs = np.array([0, -0.5, -0.5, -1, -0.5, -0.25, -1], np.float32)
    return TransitionModel(HmmTopology([states], {1: 0, 3: 0}), tuples, log_probs)


def diag_gmm() -> DiagGmm:
    means = np.arange(4, dtype=np.float32).reshape(2, DIM)
    return DiagGmm(np.full(2, 0.5, np.float32), means, np.ones((2, DIM), np.float32))


def am_diag_gmm() -> AmDiagGmm:
    ones = np.ones((3, DIM), np.float32)
    return AmDiagGmm(np.full(3, 0.5, np.float32), ones, ones, np.array([1, 2]))


def accs() -> FmllrDiagGmmAccs:
    frames = np.arange(6, dtype=np.float32).reshape(3, DIM)
    statistics = FmllrDiagGmmAccs.zero(DIM)
    statistics.accumulate(frames, frames, frames, np.ones(3))
    return statistics


def adaptation_state() -> OnlineGmmAdaptationState:
    cmvn = OnlineCmvnState(np.ones((2, DIM + 1)), np.ones((2, DIM + 1)), np.ones((2, DIM + 1)))
    return OnlineGmmAdaptationState(np.eye(DIM, DIM + 1, dtype=np.float32), cmvn, accs())


def ivector_extractor() -> IvectorExtractor:
    projections = [np.arange(6.0).reshape(DIM, 3), np.ones((DIM, 3))]
    return IvectorExtractor(projections, [np.array([2.0, 0.5, 1.0])] * 2, 10.0)


def ivector_state() -> OnlineIvectorExtractorAdaptationState:
    cmvn = OnlineCmvnState(np.ones((2, DIM + 1)), np.ones((2, DIM + 1)))
    return OnlineIvectorExtractorAdaptationState(
        cmvn, OnlineIvectorEstimationStats.from_prior(3, 10.0, 100.0)
    )


class WrittenNnet:
    """A network of all types of layers whose fields are of different kinds, as Kaldi writes it."""

    def write(self, writer: KaldiWriter) -> None:
        self._begin(writer, "<Nnet>", "<NumComponents>")
        writer.write_int(5)
        self._begin(writer, "<Components>", "<SpliceComponent>", "<InputDim>")
        writer.write_int(DIM)
        writer.write_token("<Context>")
        writer.write_int_vector(np.array([-1, 0, 1]))
        writer.write_token("<ConstComponentDim>")
        writer.write_int(0)
        self._begin(writer, "</SpliceComponent>", "<DctComponent>", "<Dim>")
        writer.write_int(6)
        writer.write_token("<DctDim>")
        writer.write_int(3)
        writer.write_token("<Reorder>")
        writer.write_bool(True)
        writer.write_token("<DctKeepDim>")
        writer.write_int(2)
        self._begin(writer, "</DctComponent>", "<AffineComponent>", "<LearningRate>")
        writer.write_float(0.5)
        writer.write_token("<LinearParams>")
        writer.write_matrix(np.ones((6, 4), np.float32))
        writer.write_token("<BiasParams>")
        writer.write_vector(np.ones(6, np.float32))
        self._begin(writer, "</AffineComponent>", "<PnormComponent>", "<InputDim>")
        writer.write_int(6)
        writer.write_token("<OutputDim>")
        writer.write_int(3)
        writer.write_token("<P>")
        writer.write_float(2)
        self._begin(writer, "</PnormComponent>", "<SoftmaxComponent>", "<Dim>")
        writer.write_int(3)
        self._begin(writer, "</SoftmaxComponent>", "</Components>", "</Nnet>")
        writer.write_vector(np.full(3, 1 / 3, np.float32))

    @staticmethod
    def _begin(writer: KaldiWriter, *tokens: str) -> None:
        for token in tokens:
            writer.write_token(token)


class Writable(Protocol):
    """What has a form in Kaldi's files."""

    def write(self, writer: KaldiWriter) -> None: ...


READERS: dict[str, tuple[Callable[[KaldiReader], object], Callable[[], Writable]]] = {
    "transition model": (TransitionModel.read, transition_model),
    "mixture": (DiagGmm.read, diag_gmm),
    "GMM": (AmDiagGmm.read, am_diag_gmm),
    "nnet2 network": (AmNnet.read, WrittenNnet),
    "fMLLR basis": (BasisFmllrEstimate.read, lambda: BasisFmllrEstimate(np.ones((2, 2, 3), np.float32))),
    "fMLLR statistics": (FmllrDiagGmmAccs.read, accs),
    "i-vector extractor": (IvectorExtractor.read, ivector_extractor),
    "i-vector adaptation state": (OnlineIvectorExtractorAdaptationState.read, ivector_state),
    "GMM adaptation state": (OnlineGmmAdaptationState.read, adaptation_state),
}
forms = pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
kinds = pytest.mark.parametrize("kind", READERS)


def written(kind: str, binary: bool) -> bytes:
    file = io.BytesIO()
    READERS[kind][1]().write(KaldiWriter(file, binary))
    return file.getvalue()


@kinds
@forms
def test_whole_files_are_read(kind: str, binary: bool) -> None:
    reader = KaldiReader(written(kind, binary))
    READERS[kind][0](reader)
    reader.expect_end()


@kinds
@forms
@settings(deadline=None)
@given(data=st.data())
def test_damaged_files(kind: str, binary: bool, data: st.DataObject) -> None:
    refuses_or_reads(READERS[kind][0], data.draw(damaged(written(kind, binary))), binary=None)


@kinds
@forms
def test_every_truncation(kind: str, binary: bool) -> None:
    whole = written(kind, binary).rstrip()
    for length in range(len(whole) - 8):
        with pytest.raises(ModelFormatError):
            READERS[kind][0](KaldiReader(whole[:length]))


@kinds
@settings(deadline=None, max_examples=20)
@given(noise=st.binary(max_size=200))
def test_noise(kind: str, noise: bytes) -> None:
    refuses_or_reads(READERS[kind][0], noise)


@kinds
@forms
@pytest.mark.parametrize("other", READERS)
def test_the_wrong_kind(kind: str, other: str, binary: bool) -> None:
    if kind == other:
        return
    with pytest.raises(ModelFormatError, match=r"expected .*, found "):
        READERS[kind][0](KaldiReader(written(other, binary)))


def test_a_raw_network_is_no_acoustic_model() -> None:
    file = io.BytesIO()
    writer = KaldiWriter(file)
    WrittenNnet().write(writer)
    whole = file.getvalue()
    raw = whole[: whole.index(b"</Nnet> ") + len(b"</Nnet> ")]
    Nnet.read(KaldiReader(raw))
    with pytest.raises(ModelFormatError, match="expected a token, found the end of the file"):
        AmNnet.read(KaldiReader(raw))
