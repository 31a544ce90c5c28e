"""Weights that keep silence out of the i-vector (``online2/online-ivector-feature.cc``).

After each block of audio, the decoder's best path shows which frames are silence. The weights of new frames
and of frames that have changed are passed to i-vector estimation as differences. One object serves one
segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option, parse_int_list

__all__ = ["DeltaWeights", "OnlineSilenceWeighting", "OnlineSilenceWeightingConfig", "TracebackDecoder"]

# Number of decoder frames before the newest known one whose weights may still be revised.
_REVISED_FRAMES = 100
_NO_TRACEBACK = -1


class TracebackDecoder(Protocol):
    """The part of a decoder that silence weighting needs."""

    def num_frames_decoded(self) -> int:
        """Frames decoded since the start of the segment."""

    def traceback(self) -> tuple[int, NDArray[np.int32]]:
        """First frame whose transition-id has changed since the last call, and the ids from there on."""


@dataclass(frozen=True)
class DeltaWeights:
    """Differences of weights of input frames.

    Attributes:
        frames: numbers of input frames, (n,).
        deltas: changes of their weights, (n,), float32.
    """

    frames: NDArray[np.intp]
    deltas: NDArray[np.float32]

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[int, float]]) -> "DeltaWeights":
        """Creates them from (frame, delta) pairs."""
        frames = np.array([frame for frame, _ in pairs], np.intp)
        return cls(frames, np.array([delta for _, delta in pairs], np.float32))

    def __len__(self) -> int:
        return len(self.frames)


@dataclass
class OnlineSilenceWeightingConfig(Options):
    """Options of silence weighting."""

    silence_phones_str: str = option(
        "", "Silence phones: integers separated by colons.", name="silence-phones"
    )
    silence_weight: float = option(
        1.0, "Weight of silence frames in i-vectors, from 0 (ignored) to 1 (like speech)."
    )
    max_state_duration: float = option(
        -1.0, "Runs of one transition-id of at least this many decoder frames count as silence; -1 for never."
    )

    def active(self) -> bool:
        """True if not all weights would be 1."""
        return bool(self.silence_phones_str) and self.silence_weight != 1.0

    def validate(self) -> None:
        parse_int_list(self.silence_phones_str, "silence-phones")
        require_finite_options(self)
        if not 0.0 <= self.silence_weight <= 1.0:
            raise ConfigError(f"silence-weight: expected 0 to 1, found {self.silence_weight}")


class OnlineSilenceWeighting:
    """Turns tracebacks of one segment into differences of frame weights."""

    def __init__(
        self,
        trans_model: TransitionModel,
        config: OnlineSilenceWeightingConfig,
        frame_subsampling_factor: int = 1,
    ):
        silence = parse_int_list(config.silence_phones_str, "silence-phones")
        self._is_silence = np.isin(trans_model.id2phone, silence)
        self._config = config
        self._subsampling = frame_subsampling_factor
        # One entry per decoder frame of the segment; only the first `_size` are in use.
        self._transition_ids = np.full(256, _NO_TRACEBACK, np.int32)
        self._weights = np.zeros(256, np.float32)
        self._size = 0

    def active(self) -> bool:
        """True if not all weights would be 1."""
        return self._config.active()

    def compute_current_traceback(self, decoder: TracebackDecoder) -> None:
        """Updates the copy of the decoder's best path."""
        self._resize(decoder.num_frames_decoded())
        first, transition_ids = decoder.traceback()
        self._transition_ids[first : first + len(transition_ids)] = transition_ids

    def get_delta_weights(self, num_frames_ready: int, first_decoder_frame: int = 0) -> DeltaWeights:
        """Returns the changes in weights since the last call.

        Args:
            num_frames_ready: input frames of the stream that are ready.
            first_decoder_frame: the input frame at which the segment starts.
        """
        factor = self._subsampling
        begin = max(0, self._size - _REVISED_FRAMES)
        self._resize(-(-(num_frames_ready - first_decoder_frame) // factor))
        if begin == self._size:
            return DeltaWeights.from_pairs([])
        new = self._new_weights(begin)
        current = self._weights[begin : self._size]
        changes = new - current
        current[:] = new
        changed = changes != 0.0
        changed[-1] = True  # i-vector estimation must know the newest frame that has a weight
        frames = first_decoder_frame + (begin + np.flatnonzero(changed)) * factor
        spread = (frames[:, np.newaxis] + np.arange(factor)).reshape(-1)
        return DeltaWeights(spread, np.repeat(changes[changed], factor))

    def _new_weights(self, begin: int) -> NDArray[np.float32]:
        """Weights of the frames from ``begin`` on, (frames,), float32."""
        silence_weight = np.float32(self._config.silence_weight)
        transition_ids = self._transition_ids[begin : self._size]
        known = int(np.count_nonzero(transition_ids != _NO_TRACEBACK))
        weights = np.empty(len(transition_ids), np.float32)
        if known == 0:
            weights[:] = silence_weight if begin == 0 else self._weights[begin - 1]
            return weights
        traced = transition_ids[:known]
        weights[:known] = np.where(self._is_silence[traced], silence_weight, np.float32(1.0))
        if self._config.max_state_duration > 0:
            ends = np.append(np.flatnonzero(traced[1:] != traced[:-1]) + 1, known)
            starts = np.concatenate([[0], ends[:-1]])
            for start, end in zip(starts, ends, strict=True):
                if end - start >= self._config.max_state_duration:
                    weights[start:end] = silence_weight
        weights[known:] = weights[known - 1]
        return weights

    def _resize(self, size: int) -> None:
        if size > len(self._weights):
            more = max(size, 2 * len(self._weights)) - len(self._weights)
            self._weights = np.concatenate([self._weights, np.zeros(more, np.float32)])
            self._transition_ids = np.concatenate(
                [self._transition_ids, np.full(more, _NO_TRACEBACK, np.int32)]
            )
        self._size = max(self._size, size)
