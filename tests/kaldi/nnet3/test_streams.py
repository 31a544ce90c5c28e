"""Streams that take turns give what each gives alone; so do several threads and all kinds of kernels, and
priors and scale do what they say."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import available_cpu_kernels
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetSimpleLoopedInfo,
    LoopedStream,
    NnetSimpleLoopedComputationOptions,
    read_raw_nnet,
)

FloatArray = NDArray[np.float32]

# One network of each kind of layer.
NAMES = (
    "tdnnf tdnn-relu-renorm lstm fast-lstmp fast-lstmp-dropout lstmb cnn-tdnn gru pgru opgru fast-opgru "
    "attention attention-batchnorm stats stats-count res-block res2-block hand-components "
    "hand-descriptors hand-conv hand-distribute hand-conv-optional"
)
NUM_CHUNKS = 6

# The same products in another order of summation.
TOLERANCE = 1e-4


def make_info(folder: Path, name: str) -> DecodableNnetSimpleLoopedInfo:
    entry = json.loads((folder / "networks.json").read_text())[name]
    options = NnetSimpleLoopedComputationOptions(
        frame_subsampling_factor=entry["subsampling"], acoustic_scale=1.0
    )
    return DecodableNnetSimpleLoopedInfo(options, read_raw_nnet(folder / f"{name}.raw"))


def make_inputs(
    info: DecodableNnetSimpleLoopedInfo, folder: Path, seed: int
) -> list[tuple[FloatArray, FloatArray | None]]:
    """Chunks of real frames in an order of the stream's own, and i-vectors of its own."""
    inputs = np.load(folder / "features.npz")
    random = np.random.default_rng(seed)
    chunks = []
    for chunk in range(NUM_CHUNKS):
        begin, end = info.input_frames(chunk)
        frames = inputs["features"][random.integers(0, len(inputs["features"]), end - begin)]
        ivector = inputs["ivectors"][random.integers(0, len(inputs["ivectors"]))]
        chunks.append((frames, ivector if info.ivector_dim else None))
    return chunks


@pytest.mark.parametrize("name", NAMES.split())
def test_streams_in_turn_and_all_kernels(
    golden_network: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make_info(golden_network, name)
    inputs = [make_inputs(info, golden_network, seed) for seed in range(3)]
    expected = []
    for chunks in inputs:
        stream = LoopedStream(info)
        expected.append([stream.compute_chunk(*chunk) for chunk in chunks])
    for kernels in available_cpu_kernels():
        monkeypatch.setenv("PYKALDI_SERVER_KERNELS", kernels)
        other = make_info(golden_network, name)
        assert other.kernels == kernels
        # Stream number n starts n chunks after the first one.
        streams = [LoopedStream(other) for _ in inputs]
        for step in range(NUM_CHUNKS + len(streams) - 1):
            for n in range(max(0, step - NUM_CHUNKS + 1), min(step + 1, len(streams))):
                found = streams[n].compute_chunk(*inputs[n][step - n])
                if kernels == info.kernels:
                    np.testing.assert_array_equal(found, expected[n][step - n])
                else:
                    np.testing.assert_allclose(found, expected[n][step - n], atol=TOLERANCE, rtol=0)


def test_threads_share_a_plan(golden: Path) -> None:
    folder = golden / "networks"
    info = make_info(folder, "fast-lstmp")
    inputs = [make_inputs(info, folder, seed) for seed in range(8)]

    def run(chunks: list[tuple[FloatArray, FloatArray | None]]) -> FloatArray:
        stream = LoopedStream(info)
        return np.vstack([stream.compute_chunk(*chunk) for chunk in chunks])

    expected = [run(chunks) for chunks in inputs]
    with ThreadPoolExecutor(4) as threads:
        for found, alone in zip(threads.map(run, inputs), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_an_input_given_once_is_not_changed_or_kept(golden: Path) -> None:
    info = make_info(golden / "networks", "tdnnf")
    chunks = make_inputs(info, golden / "networks", 0)
    first, second = LoopedStream(info), LoopedStream(info)
    expected = [first.compute_chunk(*chunk) for chunk in chunks]
    frames = np.empty((0, 40), np.float32)
    for (features, ivector), output in zip(chunks, expected, strict=True):
        frames[...] = 1e6
        frames = features.copy()
        np.testing.assert_array_equal(second.compute_chunk(frames, ivector), output)
        np.testing.assert_array_equal(frames, features)


def test_priors_are_subtracted_and_the_scale_applied(golden: Path) -> None:
    nnet = read_raw_nnet(golden / "networks/attention.raw")
    priors = np.linspace(0.01, 0.06, 30, dtype=np.float32)
    plain, scaled = (
        DecodableNnetSimpleLoopedInfo(
            NnetSimpleLoopedComputationOptions(acoustic_scale=scale), AmNnetSimple(nnet, 0, 0, given)
        )
        for scale, given in [(1.0, priors[:0]), (0.1, priors)]
    )
    chunks = make_inputs(plain, golden / "networks", 0)[:1]
    expected = 0.1 * (LoopedStream(plain).compute_chunk(*chunks[0]) - np.log(priors))
    np.testing.assert_allclose(LoopedStream(scaled).compute_chunk(*chunks[0]), expected, atol=1e-6, rtol=0)


def test_inputs_of_the_wrong_shape_are_refused(golden: Path) -> None:
    info = make_info(golden / "networks", "tdnnf")
    stream = LoopedStream(info)
    (features, ivector), *_ = make_inputs(info, golden / "networks", 0)
    with pytest.raises(ValueError, match="expected features of 42 x 40, found"):
        stream.compute_chunk(features[1:], ivector)
    with pytest.raises(ValueError, match="expected an i-vector of 20, found"):
        stream.compute_chunk(features, np.zeros(21, np.float32))
    assert stream.chunks == 0
