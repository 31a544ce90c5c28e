"""Silence weighting: revisions, repetitions, runs that are too long, and refusals."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import DecoderError
from pykaldi_server.kaldi._core import SilenceWeighting
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.online2 import OnlineSilenceWeighting, OnlineSilenceWeightingConfig
from pykaldi_server.kaldi.util.io import KaldiReader

SILENCE = np.array([False, True, False, False])  # transition-id 1 is silence
Ints = NDArray[np.int32]


@dataclass
class Segment:
    """What i-vector estimation has been told: the sum of all changes."""

    subsampling: int = 1
    max_state_duration: float = -1.0
    weights: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.core = SilenceWeighting(SILENCE, 0.25, self.max_state_duration, self.subsampling)

    def trace(self, ids: list[int], first: int = 0) -> None:
        self.core.set_traceback(first + len(ids), first, np.array(ids, np.int32))

    def take(self, num_frames_ready: int, first_input_frame: int = 0) -> list[int]:
        """Adds up the changes; returns the frames that they are of."""
        frames, deltas = self.core.get_delta_weights(num_frames_ready, first_input_frame)
        assert frames.dtype == np.int64
        assert deltas.dtype == np.float32
        for frame, delta in zip(frames.tolist(), deltas.tolist(), strict=True):
            self.weights[frame] = self.weights.get(frame, 0.0) + delta
        return [int(frame) for frame in frames]

    def known(self) -> list[float]:
        assert sorted(self.weights) == list(range(min(self.weights), max(self.weights) + 1))
        return [self.weights[frame] for frame in sorted(self.weights)]


def test_silence_weighs_less_and_the_last_weight_is_repeated() -> None:
    segment = Segment()
    segment.trace([2, 1, 1, 3])
    assert segment.take(6) == [0, 1, 2, 3, 4, 5]
    assert segment.known() == [1, 0.25, 0.25, 1, 1, 1]


def test_without_a_path_all_is_silence() -> None:
    segment = Segment()
    segment.take(3)
    assert segment.known() == [0.25] * 3
    segment.trace([2])
    segment.take(4)
    assert segment.known() == [1] * 4


def test_only_changes_are_told_and_the_newest_frame() -> None:
    segment = Segment()
    segment.trace([2, 2, 2, 2])
    segment.take(4)
    assert segment.take(4) == [3]
    segment.trace([1, 2], first=2)
    assert segment.take(4) == [2, 3]
    assert segment.known() == [1, 1, 0.25, 1]
    assert segment.take(0) == [3]


def test_a_decoder_frame_stands_for_several_input_frames() -> None:
    segment = Segment(subsampling=3)
    segment.trace([2, 1])
    assert segment.take(110, first_input_frame=100) == list(range(100, 112))
    assert segment.known() == [1, 1, 1] + [0.25] * 9


def test_long_runs_count_as_silence() -> None:
    segment = Segment(max_state_duration=3)
    segment.trace([2, 2, 3, 3, 3, 2, 2])
    segment.take(7)
    assert segment.known() == [1, 1, 0.25, 0.25, 0.25, 1, 1]


def test_frames_far_behind_are_not_revised() -> None:
    segment = Segment()
    segment.trace([2] * 100)
    segment.take(100)
    segment.trace([2] * 50, first=100)
    segment.take(150)
    segment.trace([1] * 150)
    segment.take(150)
    assert segment.known() == [1] * 50 + [0.25] * 100
    # Nothing of the window has a path: the weight before it goes on.
    later = Segment()
    later.trace([2])
    later.take(101)
    assert later.take(202)[0] == 101
    assert later.known() == [1] * 202


@pytest.mark.parametrize(
    ("num_frames", "first", "ids"), [(3, -1, [1]), (3, 2, [1, 1]), (-1, 0, []), (2**40, 0, []), (1, 0, [4])]
)
def test_paths_that_do_not_fit_are_refused(num_frames: int, first: int, ids: list[int]) -> None:
    with pytest.raises(DecoderError, match="silence weighting: expected"):
        Segment().core.set_traceback(num_frames, first, np.array(ids, np.int32))


@pytest.mark.parametrize(("ready", "first"), [(-1, 0), (5, -1), (2**40, 0), (2**62, 2**62)])
def test_frames_out_of_range_are_refused(ready: int, first: int) -> None:
    with pytest.raises(DecoderError, match="silence weighting: expected"):
        Segment().core.get_delta_weights(ready, first)


def test_a_decoder_that_has_not_moved_is_not_traced_again(models: Path) -> None:
    class Decoder:
        """Counts its tracebacks."""

        num_frames = 0
        tracebacks = 0

        def num_frames_decoded(self) -> int:
            return self.num_frames

        def traceback(self) -> tuple[int, Ints]:
            self.tracebacks += 1
            return 0, np.ones(self.num_frames, np.int32)

    trans_model = TransitionModel.read(KaldiReader.open(models / "english/am/final.mdl"))
    config = OnlineSilenceWeightingConfig(silence_phones_str="1", silence_weight=0.5)
    weighting, decoder = OnlineSilenceWeighting(trans_model, config), Decoder()
    for num_frames, expected in ((0, 0), (5, 1), (5, 1), (7, 2)):
        decoder.num_frames = num_frames
        weighting.compute_current_traceback(decoder)
        assert decoder.tracebacks == expected
    assert len(weighting.get_delta_weights(7)) == 7
