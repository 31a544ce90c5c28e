"""Looped computation against Kaldi's DecodableNnetSimpleLooped."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.nnet3 import (
    DecodableNnetSimpleLoopedInfo,
    LoopedStream,
    Nnet,
    NnetSimpleLoopedComputationOptions,
    read_raw_nnet,
)
from pykaldi_server.kaldi.nnet3.resolve import Resolver
from pykaldi_server.kaldi.util.io import KaldiReader

FloatArray = NDArray[np.float32]

# networks.json of the golden data says which there are; a clone has some of them, the full set is beside it.
NAMES = (
    "tdnn-relu-batchnorm tdnn-relu-renorm tdnnf lstm lstmp fast-lstm fast-lstmp fast-lstmp-dropout lstmb "
    "cnn-tdnn gru pgru norm-pgru opgru norm-opgru fast-gru fast-pgru fast-norm-pgru fast-opgru "
    "fast-norm-opgru attention attention-batchnorm stats stats-count res-block res2-block misc-layers "
    "tdnn-collapse tdnn-collapse3 hand-components hand-dropout hand-descriptors hand-conv hand-distribute "
    "hand-conv-optional"
)

# Rounding in single precision; with statistics, a difference of two near-equal numbers.
TOLERANCE = 1e-4


def make_info(folder: Path, name: str, frames_per_chunk: int, **more: bool) -> DecodableNnetSimpleLoopedInfo:
    entry = json.loads((folder / "networks.json").read_text())[name]
    options = NnetSimpleLoopedComputationOptions(
        frame_subsampling_factor=entry["subsampling"], frames_per_chunk=frames_per_chunk, acoustic_scale=1.0
    )
    return DecodableNnetSimpleLoopedInfo(options, read_raw_nnet(folder / f"{name}.raw"), **more)


def chunk_inputs(
    info: DecodableNnetSimpleLoopedInfo, folder: Path, chunk: int
) -> tuple[FloatArray, FloatArray | None]:
    """What DecodableNnetSimpleLooped feeds: frames with copies at both ends, the i-vector one past the last
    frame."""
    inputs = np.load(folder / "features.npz")
    features, ivectors = inputs["features"], inputs["ivectors"]
    begin, end = info.input_frames(chunk)
    frames = features[np.clip(np.arange(begin, end), 0, len(features) - 1)]
    return frames, ivectors[min(end // 10, len(ivectors) - 1)] if info.ivector_dim else None


def compute(info: DecodableNnetSimpleLoopedInfo, folder: Path, num_frames: int) -> FloatArray:
    stream = LoopedStream(info)
    blocks: list[FloatArray] = []
    while len(blocks) * info.frames_per_chunk < num_frames:
        blocks.append(stream.compute_chunk(*chunk_inputs(info, folder, len(blocks))))
    return np.vstack(blocks)[: -(-num_frames // info.opts.frame_subsampling_factor)]


@pytest.mark.parametrize("frames_per_chunk", [20, 50])
@pytest.mark.parametrize("name", NAMES.split())
def test_network_as_kaldi(golden_network: Path, name: str, frames_per_chunk: int) -> None:
    info = make_info(golden_network, name, frames_per_chunk)
    expected = np.load(golden_network / f"{name}.looped{frames_per_chunk}.npy")
    entry = json.loads((golden_network / "networks.json").read_text())[name]
    assert (info.frames_left_context, info.frames_right_context) == (
        entry["left_context"],
        entry["right_context"],
    )
    assert info.frames_per_chunk == entry["chunks"][str(frames_per_chunk)]
    assert (info.input_dim, info.ivector_dim, info.output_dim) == (40, entry["ivector_dim"], 30)
    found = compute(info, golden_network, 203)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", NAMES.split())
def test_networks_without_recurrence_are_planned_as_others_are(
    golden_network: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at each value once finds the same rows as the search that recurrences need."""
    planned = make_info(golden_network, name, 20)
    prepare = Resolver.__post_init__

    def prepare_search(resolver: Resolver) -> None:
        prepare(resolver)
        resolver._order = None

    monkeypatch.setattr(Resolver, "__post_init__", prepare_search)
    searched = make_info(golden_network, name, 20)
    assert planned.matrix_products == searched.matrix_products
    np.testing.assert_array_equal(compute(planned, golden_network, 60), compute(searched, golden_network, 60))


def test_without_collapsing_each_descriptor_sees_the_newest_ivector(golden: Path) -> None:
    folder = golden / "networks"
    info = make_info(folder, "tdnn-collapse3", 20, collapse=False)
    expected = np.load(folder / "tdnn-collapse3.looped20-nocollapse.npy")
    np.testing.assert_allclose(compute(info, folder, 203), expected, atol=TOLERANCE, rtol=0)


def test_rows_at_a_later_fixed_time_are_read_once_they_exist(golden: Path) -> None:
    """Long after the time it no longer matters which chunk had it: the first, or one of many equal ones."""
    data = (golden / "networks" / "hand-components.raw").read_bytes()
    plain, later = b"component=softmax input=bnb", b"Sum(bnb, IfDefined(ReplaceIndex(bnb, t, 60)))"
    assert data.count(plain) == 1
    nnet = Nnet.read(KaldiReader(data.replace(plain, b"component=softmax input=" + later)))
    long, short = (
        DecodableNnetSimpleLoopedInfo(NnetSimpleLoopedComputationOptions(frames_per_chunk=frames), nnet)
        for frames in (80, 5)
    )
    expected, found = (compute(info, golden / "networks", 160) for info in (long, short))
    np.testing.assert_allclose(found[80:], expected[80:], atol=TOLERANCE, rtol=0)
    # The short chunks before that time are computed without.
    assert np.abs(found[:60] - expected[:60]).max() > TOLERANCE


def test_bidirectional_recurrence_is_refused(shared_golden: Path) -> None:
    with pytest.raises(ModelFormatError, match="depends on its own future"):
        make_info(shared_golden / "networks", "blstm", 20)


@pytest.mark.parametrize(
    "options",
    [
        {"frames_per_chunk": 0},
        {"frame_subsampling_factor": 0},
        {"extra_left_context_initial": -1},
        {"acoustic_scale": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).replace("_", "-")):
        NnetSimpleLoopedComputationOptions(**options).validate()  # type: ignore[arg-type]
