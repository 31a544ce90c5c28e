"""nnet3 networks whose i-vectors come from weighted frames."""

from pathlib import Path

import numpy as np
from golden_data import read_wav

from pykaldi_server.session import Final, Model
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics
from pykaldi_server.session.transcribe import transcribe


def test_silence_that_weighs_nothing_may_last_long(models: Path, golden: Path) -> None:
    """A silence weight of 0, which Kaldi's users set, leaves i-vectors without a frame for minutes."""
    model = Model.load(models / "english:graph-digits")
    assert isinstance(model.acoustics, Nnet3Acoustics)
    model.acoustics.features.silence_weighting_config.silence_weight = 0.0
    _, speech = read_wav(golden / "wav" / "ps-tidigits-2934z.wav")
    silence = np.random.default_rng(1).normal(0.0, 8.0, 45 * 16_000).astype(np.float32)
    events = transcribe(model, np.concatenate([silence, speech, silence, speech]))
    words = [event.transcript for event in events if isinstance(event, Final)]
    assert words == ["two nine three four zero"] * 2
