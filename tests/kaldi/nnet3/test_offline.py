"""Whole recordings against nnet3-compute."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.nnet3 import NnetComputer, NnetSimpleComputationOptions, read_raw_nnet

NAMES = (
    "tdnn-relu-batchnorm tdnn-relu-renorm tdnnf lstm lstmp fast-lstm fast-lstmp fast-lstmp-dropout lstmb "
    "cnn-tdnn gru pgru norm-pgru opgru norm-opgru fast-gru fast-pgru fast-norm-pgru fast-opgru "
    "fast-norm-opgru attention attention-batchnorm stats stats-count res-block res2-block blstm misc-layers "
    "tdnn-collapse tdnn-collapse3 hand-components hand-dropout hand-descriptors hand-conv hand-distribute "
    "hand-conv-optional"
)
WHOLE = (
    "lstm fast-lstm fast-lstmp gru fast-norm-pgru fast-opgru stats blstm hand-descriptors hand-conv-optional"
)
TEXT = "tdnn-relu-batchnorm lstmb norm-opgru hand-components hand-dropout"

# Rounding in single precision; with statistics, a difference of two near-equal numbers.
TOLERANCE = 1e-4


def compute(folder: Path, name: str, frames_per_chunk: int, suffix: str = "raw") -> NDArray[np.float32]:
    entry = json.loads((folder / "networks.json").read_text())[name]
    inputs = np.load(folder / "features.npz")
    options = NnetSimpleComputationOptions(
        frame_subsampling_factor=entry["subsampling"], frames_per_chunk=frames_per_chunk, acoustic_scale=1.0
    )
    computer = NnetComputer(options, read_raw_nnet(folder / f"{name}.{suffix}"))
    assert (computer.left_context, computer.right_context) == (entry["left_context"], entry["right_context"])
    return computer.compute(inputs["features"], inputs["ivectors"] if entry["ivector_dim"] else None)


@pytest.mark.parametrize("name", NAMES.split())
def test_chunks_of_50_frames_as_nnet3_compute(golden_network: Path, name: str) -> None:
    expected = np.load(golden_network / f"{name}.offline.npy")
    np.testing.assert_allclose(compute(golden_network, name, 50), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", WHOLE.split())
def test_one_chunk_as_nnet3_compute(golden_network: Path, name: str) -> None:
    expected = np.load(golden_network / f"{name}.whole.npy")
    np.testing.assert_allclose(compute(golden_network, name, 300), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", TEXT.split())
def test_text_form_is_the_same_network(golden_network: Path, name: str) -> None:
    found = compute(golden_network, name, 50, suffix="txt")
    # Kaldi's text form keeps 7 digits.
    np.testing.assert_allclose(found, np.load(golden_network / f"{name}.offline.npy"), atol=1e-3, rtol=0)


def test_no_frames_give_no_output(golden: Path) -> None:
    nnet = read_raw_nnet(golden / "networks/attention.raw")
    found = NnetComputer(NnetSimpleComputationOptions(), nnet).compute(np.zeros((0, 40), np.float32))
    assert found.shape == (0, 30)


def test_inputs_of_the_wrong_shape_are_refused(golden: Path) -> None:
    computer = NnetComputer(NnetSimpleComputationOptions(), read_raw_nnet(golden / "networks/tdnnf.raw"))
    frames, ivectors = np.zeros((30, 40), np.float32), np.zeros((3, 20), np.float32)
    with pytest.raises(ValueError, match="features of 40 columns"):
        computer.compute(frames[:, :13], ivectors)
    with pytest.raises(ValueError, match="expected i-vectors"):
        computer.compute(frames)
    with pytest.raises(ValueError, match="i-vectors of 20 columns"):
        computer.compute(frames, ivectors[:, :5])


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="frames-per-chunk: expected 1 to"):
        NnetSimpleComputationOptions(frames_per_chunk=0).validate()
