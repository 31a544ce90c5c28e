"""Online CMVN against a direct form of its definition."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykaldi_server.errors import ConfigError, DecoderError, ModelFormatError
from pykaldi_server.kaldi._core import OnlineCmvn as CoreOnlineCmvn
from pykaldi_server.kaldi.feat import OnlineCmvn, OnlineCmvnOptions, OnlineCmvnState, OnlineMatrixFeature
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

DIM = 3


def stats_of(frames: np.ndarray) -> np.ndarray:
    doubles = frames.astype(np.float64)
    stats = np.zeros((2, DIM + 1))
    stats[0, :DIM], stats[1, :DIM], stats[0, DIM] = doubles.sum(0), np.square(doubles).sum(0), len(frames)
    return stats


def frames_of(count: int, seed: int, offset: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(offset, 2.0, (count, DIM))).astype(np.float32)


def reference(frames: np.ndarray, t: int, opts: OnlineCmvnOptions, state: OnlineCmvnState) -> np.ndarray:
    """Frame t, normalised as the definition says, one frame at a time."""
    stats = stats_of(frames[max(0, t + 1 - opts.cmn_window) : t + 1])
    if state.speaker_cmvn_stats.size:
        prior = state.speaker_cmvn_stats
        count = min(opts.cmn_window - stats[0, DIM], opts.speaker_frames, prior[0, DIM])
        if count > 0:
            stats = stats + count / prior[0, DIM] * prior
    count = min(opts.cmn_window - stats[0, DIM], opts.global_frames)
    if count > 0:
        stats = stats + count / state.global_cmvn_stats[0, DIM] * state.global_cmvn_stats
    mean = stats[0, :DIM] / stats[0, DIM]
    variance = stats[1, :DIM] / stats[0, DIM] - mean**2
    normalised: np.ndarray = (frames[t] - mean) / (np.sqrt(variance) if opts.normalize_variance else 1.0)
    return normalised


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60),
    window=st.integers(3, 40),
    speaker=st.integers(0, 30),
    most=st.tuples(st.integers(0, 50), st.integers(1, 50)),
    variance=st.booleans(),
    blocks=st.lists(st.integers(1, 20), min_size=4, max_size=60),
)
def test_equals_the_definition(
    count: int, window: int, speaker: int, most: tuple[int, int], variance: bool, blocks: list[int]
) -> None:
    frames = frames_of(count, 1, 5.0)
    opts = OnlineCmvnOptions(window, *most, normalize_variance=variance)
    state = OnlineCmvnState(global_cmvn_stats=stats_of(frames_of(100, 2)))
    if speaker:
        state.speaker_cmvn_stats = stats_of(frames_of(speaker, 3, 1.0))
    cmvn = OnlineCmvn(opts, state, OnlineMatrixFeature(frames))
    begin = 0
    for size in blocks:
        end = min(count, begin + size)
        for t, found in enumerate(cmvn.get_frames(begin, end), begin):
            assert np.allclose(found, reference(frames, t, opts, state), rtol=1e-3, atol=1e-3)
        begin = end


@settings(max_examples=20, deadline=None)
@given(blocks=st.lists(st.integers(1, 20), min_size=5, max_size=40), variance=st.booleans())
def test_blocks_do_not_change_a_bit(blocks: list[int], variance: bool) -> None:
    frames = frames_of(sum(blocks), 1, 5.0)
    opts = OnlineCmvnOptions(30, 20, 10, normalize_variance=variance)
    state = OnlineCmvnState(global_cmvn_stats=stats_of(frames_of(100, 2)))
    whole = OnlineCmvn(opts, state, OnlineMatrixFeature(frames))
    cmvn = OnlineCmvn(opts, state, OnlineMatrixFeature(frames), history=0)
    expected = whole.get_frames(0, len(frames))
    begin = 0
    for size in blocks:
        assert np.array_equal(cmvn.get_frames(begin, begin + size), expected[begin : begin + size])
        cmvn.get_state(begin + size // 2)
        begin += size
    last = len(frames) - 1
    assert np.array_equal(cmvn.get_state(last).speaker_cmvn_stats, whole.get_state(last).speaker_cmvn_stats)


def test_state_sums_all_frames_since_the_start() -> None:
    frames = frames_of(50, 1)
    state = OnlineCmvnState(
        global_cmvn_stats=stats_of(frames_of(100, 2)), speaker_cmvn_stats=stats_of(frames_of(9, 3))
    )
    cmvn = OnlineCmvn(OnlineCmvnOptions(10, 10, 5), state, OnlineMatrixFeature(frames))
    cmvn.get_frames(0, 20)
    found = cmvn.get_state(49).speaker_cmvn_stats
    assert np.allclose(found, stats_of(frames) + stats_of(frames_of(9, 3)))


def test_frozen_statistics_apply_to_all_frames() -> None:
    frames = frames_of(30, 1, 4.0)
    opts = OnlineCmvnOptions(10, 10, 5)
    state = OnlineCmvnState(global_cmvn_stats=stats_of(frames_of(100, 2)))
    cmvn = OnlineCmvn(opts, state, OnlineMatrixFeature(frames))
    at_freezing = cmvn.get_frame(19) - frames[19]
    cmvn.freeze(19)
    assert np.allclose(cmvn.get_frames(0, 30) - frames, at_freezing, atol=1e-5)
    assert cmvn.get_state(29).frozen_state.shape == (2, DIM + 1)


def test_skipped_dimensions_stay_as_they_are() -> None:
    frames = frames_of(5, 1, 9.0)
    opts = OnlineCmvnOptions(skip_dims="1")
    state = OnlineCmvnState(global_cmvn_stats=stats_of(frames_of(100, 2)))
    found = OnlineCmvn(opts, state, OnlineMatrixFeature(frames)).get_frames(0, 5)
    assert np.array_equal(found[:, 1], frames[:, 1])
    assert not np.allclose(found[:, 0], frames[:, 0])


@pytest.mark.parametrize("binary", [True, False])
def test_state_survives(binary: bool) -> None:
    state = OnlineCmvnState(
        global_cmvn_stats=stats_of(frames_of(10, 1)), speaker_cmvn_stats=stats_of(frames_of(4, 2))
    )
    file = io.BytesIO()
    state.write(KaldiWriter(file, binary))
    found = OnlineCmvnState.read(KaldiReader(file.getvalue()))
    assert np.allclose(found.speaker_cmvn_stats, state.speaker_cmvn_stats)
    assert np.allclose(found.global_cmvn_stats, state.global_cmvn_stats)
    assert found.frozen_state.size == 0


def test_wrong_statistics_are_refused() -> None:
    src = OnlineMatrixFeature(frames_of(5, 1))
    with pytest.raises(ConfigError, match=r"expected shape \(2, 4\), found \(2, 3\)"):
        OnlineCmvn(OnlineCmvnOptions(), OnlineCmvnState(global_cmvn_stats=np.ones((2, 3))), src)
    with pytest.raises(ConfigError, match="expected global statistics"):
        OnlineCmvn(OnlineCmvnOptions(), OnlineCmvnState(), src)
    text = b"<OnlineCmvnState> <SpeakerCmvnStats> [ 1 nan\n 1 1 ] "
    with pytest.raises(ModelFormatError, match=r"finite numbers in CMVN statistics, found nan at \[0, 1\]"):
        OnlineCmvnState.read(KaldiReader(text))


@pytest.mark.parametrize(
    "options",
    [
        OnlineCmvnOptions(cmn_window=0),
        OnlineCmvnOptions(speaker_frames=-1),
        OnlineCmvnOptions(global_frames=-1),
        OnlineCmvnOptions(normalize_mean=False, normalize_variance=True),
        OnlineCmvnOptions(skip_dims="a"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: OnlineCmvnOptions) -> None:
    with pytest.raises(ConfigError, match=r"expected|only together"):
        options.validate()


def core_cmvn(**changes: Any) -> CoreOnlineCmvn:
    arguments: dict[str, Any] = {
        "dim": DIM,
        "window": 2,
        "speaker_frames": 1,
        "global_frames": 1,
        "normalize_mean": True,
        "normalize_variance": False,
        "skip_dims": [],
        "global_stats": np.ones((2, DIM + 1)),
    }
    return CoreOnlineCmvn(**(arguments | changes))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dim": 0}, "dim: expected 1 to"),
        ({"window": 0}, "CMVN: expected a window of at least 1 frame"),
        ({"global_frames": -1}, "filled up with at least 0, found 2, 1 and -1"),
        ({"skip_dims": [DIM]}, f"skip-dims: expected dimensions below {DIM}, found {DIM}"),
        ({"skip_dims": [-1]}, f"skip-dims: expected dimensions below {DIM}, found -1"),
        ({"global_stats": np.zeros((2, DIM + 1))}, "global statistics with a count above 0, found 0"),
        ({"speaker_stats": np.ones((2, DIM))}, r"speaker_stats: expected statistics of shape \(2, 4\)"),
    ],
)
def test_what_the_core_refuses(change: dict[str, Any], text: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=text):
        core_cmvn(**change)


def test_frames_that_the_core_refuses() -> None:
    cmvn, one = core_cmvn(), np.ones((1, DIM), np.float32)
    with pytest.raises(ValueError, match="leaving: expected 0 frames, found 1"):
        cmvn.normalize(one, one)
    cmvn.normalize(np.ones((2, DIM), np.float32), one[:0])
    assert cmvn.leaving(1) == (0, 1)
    with pytest.raises(ValueError, match="leaving: expected 1 frames, found 0"):
        cmvn.normalize(one, one[:0])
    with pytest.raises(ValueError, match="frames: expected frames of dimension 3, found 2"):
        cmvn.count(np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="num_frames: expected 0 to"):
        cmvn.leaving(-1)
    with pytest.raises(DecoderError, match="expected frozen statistics, found none"):
        cmvn.apply_frozen(one)
