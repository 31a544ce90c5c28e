"""Damaged networks are refused by name, when they are read or when a plan is made; nothing hangs."""

import re
from pathlib import Path

import pytest
from damage import damaged, limited_memory, refuses_or_reads
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetSimpleLoopedInfo,
    Nnet,
    NnetSimpleLoopedComputationOptions,
    read_raw_nnet,
)
from pykaldi_server.kaldi.util.io import KaldiReader

NAMES = "hand-components hand-descriptors fast-lstmp gru attention stats cnn-tdnn res2-block"
NUMBERS = ["0", "1", "-1", "3", "255", "1000", "65536", "1000000", "2147483647", "-2147483648", "1e9", "nan"]
_NAME = re.compile(rb"[(=, ]([A-Za-z][\w.-]+)(?=[,)\n (])")


@st.composite
def damaged_config(draw: st.DrawFn, data: bytes) -> bytes:
    """Another number, name or word somewhere in the lines that describe the nodes."""
    for _ in range(draw(st.integers(1, 3))):
        end = data.index(b"<NumComponents>")
        kind = draw(st.sampled_from(["number", "name", "swap lines", "drop line"]))
        if kind == "number":
            places = [match.span() for match in re.finditer(rb"-?\d+", data[:end])]
            start, stop = draw(st.sampled_from(places))
            data = data[:start] + draw(st.sampled_from(NUMBERS)).encode() + data[stop:]
        elif kind == "name":
            names = [match.span(1) for match in _NAME.finditer(data[:end])]
            (start, stop), (other, other_stop) = draw(st.sampled_from(names)), draw(st.sampled_from(names))
            data = data[:start] + data[other:other_stop] + data[stop:]
        else:
            lines = data[:end].split(b"\n")
            first, second = draw(st.integers(1, len(lines) - 3)), draw(st.integers(1, len(lines) - 3))
            if kind == "swap lines":
                lines[first], lines[second] = lines[second], lines[first]
            else:
                del lines[first]
            data = b"\n".join(lines) + data[end:]
            if b"<NumComponents>" not in data:
                break
    return data


def read_and_plan(reader: KaldiReader) -> None:
    nnet = Nnet.read(reader)
    assert nnet.info()
    DecodableNnetSimpleLoopedInfo(NnetSimpleLoopedComputationOptions(), nnet)


@pytest.mark.parametrize("name", NAMES.split())
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_damaged_files(golden: Path, name: str, data: st.DataObject) -> None:
    whole = (golden / f"networks/{name}.raw").read_bytes()
    refuses_or_reads(Nnet.read, data.draw(damaged(whole)))


@pytest.mark.parametrize("name", NAMES.split())
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_damaged_descriptions(golden: Path, name: str, data: st.DataObject) -> None:
    whole = (golden / f"networks/{name}.raw").read_bytes()
    refuses_or_reads(read_and_plan, data.draw(damaged_config(whole)))


@pytest.mark.parametrize("name", ["fast-lstmp", "stats"])
def test_truncations(golden: Path, name: str) -> None:
    whole = (golden / f"networks/{name}.raw").read_bytes().rstrip()
    for length in range(0, len(whole) - len("</Nnet3>"), 97):
        with pytest.raises(ModelFormatError, match="damaged"):
            Nnet.read(KaldiReader(whole[:length], "damaged"))


def network(*lines: str, components: str = "<NumComponents> 0 ") -> KaldiReader:
    config = "\n".join(["input-node name=input dim=2", *lines])
    return KaldiReader(f"<Nnet3> \n{config}\n\n{components} </Nnet3> ".encode(), "damaged", binary=False)


def refusal(reader: KaldiReader) -> str:
    """Reads and plans what must be refused; returns what the error says."""
    with limited_memory(), pytest.raises(ModelFormatError) as caught:
        read_and_plan(reader)
    return str(caught.value)


LINEAR = "<NumComponents> 1 <ComponentName> c <LinearComponent> <Params> [ 1 0\n0 1 ] </LinearComponent>"


@pytest.mark.parametrize(
    ("input_of_c", "expected"),
    [
        ("c", "depends on itself without a delay"),
        ("Offset(c, -1)", "reads the past without end"),
        ("Offset(c, 1)", "depends on its own future"),
        ("IfDefined(Offset(c, -1))", "reads the past without end"),
        ("Failover(Offset(c, -1), input)", "without end"),
        ("Offset(input, -2147483648)", "no output frame can be computed"),
        ("Sum(input, Offset(input, -500), Offset(input, 500))", "no output frame can be computed"),
        ("Round(input, 2147483647)", "modulo"),
        ("Append(input, input)", "gives 4 columns"),
        ("Sum(input, Const(1, 3))", "parts with"),
        ("Append(input, other)", "reads 'other'"),
        ("Offset(input)", "expected ','"),
        ("Scale(x, input)", "expected a number"),
        ("Const(1, 99999999999)", "expected an integer"),
        ("ReplaceIndex(input, y, 0)", "expected t or x"),
        ("Blend(input, 1)", "expected a kind of descriptor"),
        ("Switch(input, Sum(input, input))", "Switch over sums"),
        ("Sum(Append(input, input), input)", "different numbers"),
        ("Offset(" * 100 + "input" + ", 1)" * 100, "levels deep"),
        ("input input", "end of a descriptor"),
        ("", "expected a descriptor"),
    ],
)
def test_impossible_networks(input_of_c: str, expected: str) -> None:
    reader = network(
        f"component-node name=c component=c input={input_of_c}",
        "output-node name=output input=c",
        components=LINEAR,
    )
    text = refusal(reader)
    assert text.startswith("damaged: ")
    assert expected in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("output-node name=output input=output", "not a node that can be read"),
        ("output-node name=output", "no input="),
        ("output-node name=input input=input", "different names"),
        ("dim-range-node name=d input-node=input dim-offset=1 dim=2", "takes 2 columns from 1 of 2"),
        ("dim-range-node name=d input-node=none dim-offset=0 dim=2", "not a node with columns"),
        ("component-node name=c component=none input=input", "which does not exist"),
        ("input-node name=x dim=0", "without columns"),
        ("input-node name=x dim=-3", "dim=-3"),
        ("other-node name=x", "other-node"),
        ("input-node name=x dim=3\noutput-node name=output input=input", "expected the inputs"),
        ("", "expected the inputs"),
    ],
)
def test_impossible_nodes(line: str, expected: str) -> None:
    assert expected in refusal(network(*filter(None, line.split("\n"))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<NoSuchComponent> </NoSuchComponent>", "a component type that this runtime knows"),
        ("<SigmoidComponent> <Surprise> 1 </SigmoidComponent>", "a known field in SigmoidComponent"),
        ("<SigmoidComponent> </SigmoidComponent>", "a field <Dim>"),
        ("<SigmoidComponent> <Dim> 0 </SigmoidComponent>", "<Dim> between 1"),
        ("<SigmoidComponent> <Dim> 99999999 </SigmoidComponent>", "<Dim> between 1"),
        ("<LinearComponent> <Params> [ ] </LinearComponent>", "<Params> with some rows"),
        (
            "<FixedAffineComponent> <LinearParams> [ 1 ] <BiasParams> [ 1 2 ] </FixedAffineComponent>",
            "<BiasParams>",
        ),
        ("<FixedBiasComponent> <Bias> [ 1 nan ] </FixedBiasComponent>", "<Bias> with finite numbers"),
        ("<FixedScaleComponent> <Scales> [ 1e39 ] </FixedScaleComponent>", "<Scales> with finite numbers"),
        ("<PermuteComponent> <ColumnMap> [ 0 0 ] </PermuteComponent>", "a permutation"),
        ("<SumGroupComponent> <Sizes> [ 1 -1 ] </SumGroupComponent>", "positive group sizes"),
        ("<PnormComponent> <InputDim> 5 <OutputDim> 2 </PnormComponent>", "whole blocks"),
        (
            "<BatchNormComponent> <Dim> 2 <BlockDim> 2 <Epsilon> 0.1 <TargetRms> 1 <TestMode> F <Count> 0 "
            "<StatsMean> [ 0 0 ] <StatsVar> [ 1 1 ] </BatchNormComponent>",
            "statistics of training data",
        ),
        (
            "<TdnnComponent> <TimeOffsets> [ 0 1 ] <LinearParams> [ 1 2 3 ] <BiasParams> [ ] "
            "</TdnnComponent>",
            "offsets",
        ),
        ("<CompositeComponent> <NumComponents> 0 </CompositeComponent>", "one or more row-wise"),
        ("<CompositeComponent> <NumComponents> 9999 </CompositeComponent>", "a count of components"),
        ("<CompositeComponent> <NumComponents> 1 " * 3, "a known field in CompositeComponent"),
    ],
)
def test_impossible_components(text: str, expected: str) -> None:
    assert expected in refusal(network(components=f"<NumComponents> 1 <ComponentName> c {text}"))


def test_files_of_another_kind(golden: Path, models: Path) -> None:
    with pytest.raises(ModelFormatError, match="expected '<Nnet3>', found '<Nnet>'"):
        read_raw_nnet(golden / "networks/nnet2-pnorm.raw")
    with pytest.raises(ModelFormatError, match="expected '<Nnet3>', found '<TransitionModel>'"):
        read_raw_nnet(models / "english/am/final.mdl")
    with pytest.raises(ModelFormatError, match="found a directory"):
        read_raw_nnet(golden)
    with pytest.raises(FileNotFoundError):
        read_raw_nnet(golden / "none")


def test_a_raw_network_is_no_acoustic_model(golden: Path) -> None:
    with pytest.raises(ModelFormatError, match="expected a token, found the end of the file"):
        AmNnetSimple.read(KaldiReader.open(golden / "networks/stats.raw"))
