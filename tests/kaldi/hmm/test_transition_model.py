"""Transition models of the demo models, and a small one in text form with known ids."""

import io
from pathlib import Path

import numpy as np
import pytest

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

TRIPLES = b"""<TransitionModel>
<Topology>
<TopologyEntry>
<ForPhones>
1 3
</ForPhones>
<State> 0 <PdfClass> 0 <Transition> 0 0.75 <Transition> 1 0.25 </State>
<State> 1 <PdfClass> 1 <Transition> 1 0.5 <Transition> 2 0.5 </State>
<State> 2 </State>
</TopologyEntry>
</Topology>
<Triples> 3
1 0 4
1 1 2
3 0 0
</Triples>
<LogProbs>
 [ 0 -0.25 -1.5 -0.6875 -0.6875 -0.5 -1 ]
</LogProbs>
</TransitionModel>
"""
TUPLES = b"""<TransitionModel>
<Topology>
<TopologyEntry>
<ForPhones>
1 2
</ForPhones>
<State> 0 <ForwardPdfClass> 0 <SelfLoopPdfClass> 1 <Transition> 0 0.5 <Transition> 1 0.5 </State>
<State> 1 </State>
</TopologyEntry>
</Topology>
<Tuples> 2
1 0 0 1
2 0 2 3
</Tuples>
<LogProbs>
 [ 0 -0.5 -0.5 -0.25 -0.75 ]
</LogProbs>
</TransitionModel>
"""


def written(model: TransitionModel, binary: bool) -> bytes:
    file = io.BytesIO()
    model.write(KaldiWriter(file, binary))
    return file.getvalue()


def test_classic_topology_gives_the_ids_of_each_transition() -> None:
    model = TransitionModel.read(KaldiReader(TRIPLES))
    assert (model.num_pdfs(), model.num_phones(), model.num_transition_ids()) == (5, 3, 6)
    assert model.num_transition_states() == 3
    assert model.get_phones() == [1, 3]
    assert model.id2phone.tolist() == [0, 1, 1, 1, 1, 3, 3]
    assert model.id2pdf.tolist() == [-1, 4, 4, 2, 2, 0, 0]
    assert model.id2hmm_state.tolist() == [-1, 0, 0, 1, 1, 0, 0]
    assert np.flatnonzero(model.id2self_loop).tolist() == [1, 3, 5]
    assert np.flatnonzero(model.id2final).tolist() == [4]
    assert np.flatnonzero(model.id2phone_start).tolist() == [2, 6]
    assert model.get_transition_log_prob(2) == -1.5


def test_self_loops_of_a_chain_topology_have_their_own_pdf() -> None:
    model = TransitionModel.read(KaldiReader(TUPLES))
    assert model.id2pdf.tolist() == [-1, 1, 0, 3, 2]
    assert [model.transition_id_to_pdf(i) for i in (1, 2)] == [1, 0]
    assert [model.is_self_loop(i) for i in (1, 2)] == [True, False]
    assert [model.is_final(i) for i in (1, 2)] == [False, True]
    assert model.transition_id_to_phone(4) == 2
    assert model.transition_id_to_hmm_state(4) == 0
    assert model.transition_id_to_transition_state(4) == 2


@pytest.mark.parametrize("text", [TRIPLES, TUPLES], ids=["triples", "tuples"])
@pytest.mark.parametrize("binary", [True, False])
def test_what_is_written_reads_back(text: bytes, binary: bool) -> None:
    model = TransitionModel.read(KaldiReader(text))
    again = TransitionModel.read(KaldiReader(written(model, binary)))
    np.testing.assert_array_equal(again.tuples, model.tuples)
    np.testing.assert_array_equal(again.log_probs, model.log_probs)
    np.testing.assert_array_equal(again.id2pdf, model.id2pdf)
    assert again.topology.entries == model.topology.entries


@pytest.mark.parametrize(
    ("name", "pdfs", "phones", "ids"),
    [("english/am/final.mdl", 1200, 166, 6680), ("english-gmm/final.mdl", 616, 166, 5002)],
)
def test_demo_models_read_and_write_byte_for_byte(
    models: Path, name: str, pdfs: int, phones: int, ids: int
) -> None:
    reader = KaldiReader.open(models / name)
    model = TransitionModel.read(reader)
    assert (model.num_pdfs(), model.num_phones(), model.num_transition_ids()) == (pdfs, phones, ids)
    assert set(model.id2pdf[1:].tolist()) == set(range(pdfs))
    assert written(model, True) == (models / name).read_bytes()[: reader.offset]


def test_arrays_are_read_only() -> None:
    model = TransitionModel.read(KaldiReader(TRIPLES))
    with pytest.raises(ValueError, match="read-only"):
        model.id2pdf[1] = 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"3 0 0\n", b"2 0 0\n", "expected a phone of the topology, found 2"),
        (b"3 0 0\n", b"3 2 0\n", "expected an HMM state of phone 3 below 2, found 2"),
        (b"3 0 0\n", b"1 0 0\n", "expected sorted transition-states"),
        (b"3 0 0\n", b"3 0 -1\n", "expected pdfs of at least 0, found -1"),
        (b"3 0 0\n", b"3 0 4294967296\n", "expected an integer of 32 bits, found 4294967296"),
        (b"<Triples> 3", b"<Triples> 1000000000", "expected a count of triples of at most"),
        (b"-0.5 -1 ]", b"-0.5 ]", "expected 7 log-probabilities, found 6"),
        (b"-0.5 -1 ]", b"-0.5 nan ]", "expected finite numbers in the log-probabilities, found nan at [6]"),
        (b"-0.5 -1 ]", b"-0.5 1 ]", "expected log-probabilities of at most 0, found 1.0"),
        (b"<Transition> 2 0.5", b"<Transition> 3 0.5", "expected a transition to a state below 3, found 3"),
        (b"<Transition> 2 0.5", b"<Transition> 2 -0.5", "expected a probability above 0 and up to 1"),
        (b"<State> 2 </State>", b"", "expected a last state without pdf and transitions"),
        (b"1 3\n", b"1 1\n", "expected a positive phone that has no entry yet, found 1"),
        (b"1 3\n", b"1 2000000000\n", "expected a count of phones of at most 1000000"),
        (b"<Topology>", b"<Nnet>", "expected '<Topology>', found '<Nnet>'"),
    ],
)
def test_a_damaged_model_is_refused_with_the_place(old: bytes, new: bytes, message: str) -> None:
    assert old in TRIPLES
    with pytest.raises(ModelFormatError, match=r"final\.mdl: at byte \d+: ") as raised:
        TransitionModel.read(KaldiReader(TRIPLES.replace(old, new), "final.mdl"))
    assert message in str(raised.value)
