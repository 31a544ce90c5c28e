"""What is read from a network file, and how it is described."""

from pathlib import Path

import pytest

from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, Nnet, read_raw_nnet
from pykaldi_server.kaldi.nnet3.descriptor import append_terms, parse_descriptor
from pykaldi_server.kaldi.util.io import KaldiReader


@pytest.fixture(scope="module")
def english(models: Path) -> AmNnetSimple:
    reader = KaldiReader.open(models / "english/am/final.mdl")
    TransitionModel.read(reader)
    return AmNnetSimple.read(reader)


def test_english_model(english: AmNnetSimple) -> None:
    assert (english.left_context, english.right_context) == (17, 17)
    assert english.log_priors is None
    summary = english.nnet.summary()
    assert summary.inputs == {"ivector": 40, "input": 40}
    assert summary.outputs == {"output": 1200}
    assert summary.num_parameters == 1_421_488
    assert summary.modulus == 1
    assert summary.component_counts["TdnnComponent"] == 16


def test_info_names_every_node_and_component(english: AmNnetSimple) -> None:
    info = english.nnet.info().splitlines()
    assert "num-parameters: 1421488" in info
    assert "input-node name=ivector dim=40" in info
    ivector = "ReplaceIndex(Scale(0.4, ivector), t, 0)"
    assert f"component-node name=input2 component=input2 input=Append(delta, {ivector})" in info
    assert (
        "component name=output.affine type=NaturalGradientAffineComponent, input-dim=128, output-dim=1200, "
        "num-parameters=154800" in info
    )
    assert len(info) == 2 + len(english.nnet.nodes) + len(english.nnet.components)


def test_modulus_and_dimensions(golden: Path) -> None:
    nnet = read_raw_nnet(golden / "networks/hand-descriptors.raw")
    assert nnet.modulus == 12  # Switch over three nodes, Round to four frames
    assert nnet.node_dim("fo_part") == 16
    assert nnet.input_dim("ivector") == 20
    assert nnet.input_dim("none") == 0
    assert nnet.output_dim("output") == 30
    assert nnet.is_simple()


def test_binary_and_text_form_have_the_same_nodes(golden: Path) -> None:
    folder = golden / "networks"
    binary, text = (
        read_raw_nnet(folder / "hand-components.raw"),
        read_raw_nnet(folder / "hand-components.txt"),
    )
    assert binary.nodes == text.nodes
    assert binary.summary() == text.summary()


def test_components_of_any_kaldi_version() -> None:
    """Fields come and go between versions of Kaldi; those of training are read past."""
    lines = "input-node name=input dim=2\ncomponent-node name=n component=n input=input\n"
    old = "<NormalizeComponent> <Dim> 2 <ValueAvg> [ ] <DerivAvg> [ ] <Count> 0 </NormalizeComponent>"
    text = f"<Nnet3> \n{lines}\n<NumComponents> 1 <ComponentName> n {old} </Nnet3> "
    assert Nnet.read(KaldiReader(text.encode())).node_dim("n") == 2


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("a", ["a"]),
        ("Append(a, Append(b, c))", ["a", "b", "c"]),
        ("Offset(Append(a, b), -1)", ["Offset(a, -1)", "Offset(b, -1)"]),
        ("Sum(Append(a, b), Append(c, d))", ["Sum(a, c)", "Sum(b, d)"]),
        ("Scale( 0.5,Failover(a ,b))", ["Scale(0.5, Failover(a, b))"]),
        ("Switch(a, IfDefined(Round(b, 3)))", ["Switch(a, IfDefined(Round(b, 3)))"]),
        ("ReplaceIndex(Offset(a, 1, 2), x, 0)", ["ReplaceIndex(Offset(a, 1, 2), x, 0)"]),
        ("Const(0.25, 3)", ["Const(0.25, 3)"]),
    ],
)
def test_descriptors(text: str, terms: list[str]) -> None:
    assert [str(term) for term in append_terms(parse_descriptor(text))] == terms
