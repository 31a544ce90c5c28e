"""The English chain model against the log-likelihoods that Kaldi's decoder saw."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK
from numpy.typing import NDArray

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import FrameBuffer, OnlineFeatureInterface
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetLoopedOnline,
    DecodableNnetSimpleLoopedInfo,
    LoopedStream,
    NnetSimpleLoopedComputationOptions,
)
from pykaldi_server.kaldi.util.io import KaldiReader

RECORDINGS = ["ps-librivox-0880", "ps-tidigits-2934z"]

# The i-vectors are Kaldi's own, so only rounding in single precision is left.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def info(models: Path) -> DecodableNnetSimpleLoopedInfo:
    reader = KaldiReader.open(models / "english/am/final.mdl")
    TransitionModel.read(reader)
    model = AmNnetSimple.read(reader)
    reader.expect_end()
    options = NnetSimpleLoopedComputationOptions(
        frame_subsampling_factor=3, acoustic_scale=1.0, frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK
    )
    return DecodableNnetSimpleLoopedInfo(options, model)


class LiveFeature(OnlineFeatureInterface):
    """Frames that come bit by bit; old ones are gone soon."""

    def __init__(self, dim: int):
        self._buffer = FrameBuffer(dim, history=60)
        self._dim = dim
        self.finished = False

    def append(self, frames: NDArray[np.float32]) -> None:
        self._buffer.append(frames)

    def dim(self) -> int:
        return self._dim

    def num_frames_ready(self) -> int:
        return self._buffer.end

    def is_last_frame(self, frame: int) -> bool:
        return self.finished and frame == self._buffer.end - 1

    def get_frames(self, begin: int, end: int) -> NDArray[np.float32]:
        return self._buffer.get(begin, end)


class GoldenIvectors(OnlineFeatureInterface):
    """The i-vectors that Kaldi's network got, one after the other."""

    def __init__(self, ivectors: NDArray[np.float32]):
        self._ivectors = list(ivectors)

    def dim(self) -> int:
        return 40

    def num_frames_ready(self) -> int:
        return 1

    def is_last_frame(self, frame: int) -> bool:
        return False

    def get_frames(self, begin: int, end: int) -> NDArray[np.float32]:
        ivector: NDArray[np.float32] = self._ivectors.pop(0)[np.newaxis]
        return ivector


def test_plan(info: DecodableNnetSimpleLoopedInfo) -> None:
    assert info.frames_per_chunk == 21
    assert (info.frames_left_context, info.frames_right_context) == (17, 17)
    assert (info.input_dim, info.ivector_dim, info.output_dim) == (40, 40, 1200)
    assert info.log_priors is None


@pytest.mark.parametrize("piece", [1, 18, 1000])
@pytest.mark.parametrize("recording", RECORDINGS)
def test_live_stream_as_kaldi(
    info: DecodableNnetSimpleLoopedInfo, golden: Path, recording: str, piece: int
) -> None:
    frames = np.load(golden / "digits/features.npz")[recording]
    expected = np.load(golden / "digits/loglikes.npz")[recording]
    features = LiveFeature(40)
    ivectors = GoldenIvectors(np.load(golden / "digits/ivectors.npz")[recording])
    decodable = DecodableNnetLoopedOnline(info, features, ivectors)
    blocks = []
    for start in range(0, len(frames), piece):
        features.append(frames[start : start + piece])
        features.finished = start + piece >= len(frames)
        ready = decodable.num_frames_ready()
        blocks.append(decodable.advance())
        assert sum(map(len, blocks)) == ready
    found = np.vstack(blocks)
    assert decodable.is_last_frame(len(found) - 1)
    assert not decodable.is_last_frame(len(found) - 2)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_streams_in_turn_give_what_each_gives_alone(
    info: DecodableNnetSimpleLoopedInfo, golden: Path
) -> None:
    expected = np.load(golden / "digits/loglikes.npz")
    ivectors = np.load(golden / "digits/ivectors.npz")
    frames = np.load(golden / "digits/features.npz")
    features = [LiveFeature(40) for _ in RECORDINGS]
    decodables = [
        DecodableNnetLoopedOnline(info, feature, GoldenIvectors(ivectors[name]))
        for name, feature in zip(RECORDINGS, features, strict=True)
    ]
    blocks: list[list[NDArray[np.float32]]] = [[] for _ in RECORDINGS]
    for start in range(0, 300, 30):
        for name, feature in zip(RECORDINGS, features, strict=True):
            feature.append(frames[name][start : start + 30])
            feature.finished = start + 30 >= len(frames[name])
        for found, decodable in zip(blocks, decodables, strict=True):
            found.append(decodable.advance())
    for name, found in zip(RECORDINGS, blocks, strict=True):
        np.testing.assert_allclose(np.vstack(found), expected[name], atol=TOLERANCE, rtol=0)


def test_an_empty_stream_gives_nothing(info: DecodableNnetSimpleLoopedInfo) -> None:
    features = LiveFeature(40)
    decodable = DecodableNnetLoopedOnline(info, features, GoldenIvectors(np.zeros((0, 40), np.float32)))
    assert decodable.advance().shape == (0, 1200)
    features.finished = True
    assert decodable.advance().shape == (0, 1200)
    assert decodable.is_last_frame(-1)


def test_features_of_another_dimension_are_refused(info: DecodableNnetSimpleLoopedInfo) -> None:
    with pytest.raises(ModelFormatError, match="features of dimension 40, found 13"):
        DecodableNnetLoopedOnline(info, LiveFeature(13), LiveFeature(40))
    with pytest.raises(ModelFormatError, match="i-vectors of dimension 40, found 0"):
        DecodableNnetLoopedOnline(info, LiveFeature(40), None)


def test_a_stream_keeps_little(info: DecodableNnetSimpleLoopedInfo) -> None:
    stream = LoopedStream(info)
    for _ in range(3):
        begin, end = info.input_frames(stream.chunks)
        stream.compute_chunk(np.zeros((end - begin, 40), np.float32), None)
    assert sum(array.nbytes for array in stream.state) < 1_000_000
