"""Weights that keep silence out of the i-vector (``online2/online-ivector-feature.cc``).

After each block of audio, the decoder's best path shows which frames are silence. The weights of new frames
and of frames that have changed are passed to i-vector estimation as differences. One object serves one
segment.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi._core import SilenceWeighting
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.finite import require_finite_options
from pykaldi_server.kaldi.util.options import Options, option, parse_int_list

__all__ = ["DeltaWeights", "OnlineSilenceWeighting", "OnlineSilenceWeightingConfig", "TracebackDecoder"]


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
        self._config = config
        self._core = SilenceWeighting(
            np.isin(trans_model.id2phone, silence),
            config.silence_weight,
            config.max_state_duration,
            frame_subsampling_factor,
        )
        self._num_frames_traced = 0

    def active(self) -> bool:
        """True if not all weights would be 1."""
        return self._config.active()

    def compute_current_traceback(self, decoder: TracebackDecoder) -> None:
        """Updates the copy of the decoder's best path."""
        num_frames = decoder.num_frames_decoded()
        if num_frames == self._num_frames_traced:  # of a decoder that has not moved
            return
        self._num_frames_traced = num_frames
        self._core.set_traceback(num_frames, *decoder.traceback())

    def get_delta_weights(self, num_frames_ready: int, first_decoder_frame: int = 0) -> DeltaWeights:
        """Returns the changes in weights since the last call.

        Args:
            num_frames_ready: input frames of the stream that are ready.
            first_decoder_frame: the input frame at which the segment starts.
        """
        return DeltaWeights(*self._core.get_delta_weights(num_frames_ready, first_decoder_frame))
