"""Decides when an utterance has ended (``online2/online-endpoint.cc``).

An endpoint is detected if any of five rules applies. A rule applies if all of the following hold:

* the best path contains something other than silence, or the rule does not require that;
* the silence at the end of the best path is at least ``min_trailing_silence`` seconds long;
* the relative cost of final states is at most ``max_relative_cost``: 0 when the best token is final,
  infinite when no final state is active;
* at least ``min_utterance_length`` seconds have been decoded.

The defaults: 5 s of silence in any case; after words, 0.5 s, 1 s or 2 s of silence, less the likelier the
path is a complete sentence; and 20 s of utterance.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.options import Options, group, option, parse_int_list

__all__ = [
    "EndpointDecoder",
    "EndpointDetector",
    "OnlineEndpointConfig",
    "OnlineEndpointRule",
    "decoding_endpoint_detected",
    "endpoint_detected",
]


class EndpointDecoder(Protocol):
    """The part of a decoder that endpointing needs."""

    def num_frames_decoded(self) -> int:
        """Frames decoded since the start of the segment."""

    def trailing_silence_length(self, is_silence: NDArray[np.uint8]) -> int:
        """Frames of silence at the end of the best path."""

    def final_relative_cost(self) -> float:
        """Cost of the best final token, relative to the best token."""


@dataclass
class OnlineEndpointRule(Options):
    """One rule; times are in seconds."""

    must_contain_nonsilence: bool = option(True, "Apply only if something other than silence was decoded.")
    min_trailing_silence: float = option(
        1.0, "Shortest trailing silence (s); longer ends utterances later and splits fewer."
    )
    max_relative_cost: float = option(
        math.inf, "Highest relative cost of final states; lower requires a more complete sentence."
    )
    min_utterance_length: float = option(0.0, "Shortest utterance (s).")

    def applies(self, trailing_silence_s: float, relative_cost: float, utterance_length_s: float) -> bool:
        """Returns whether the rule applies."""
        contains_nonsilence = utterance_length_s > trailing_silence_s
        return (
            (contains_nonsilence or not self.must_contain_nonsilence)
            and trailing_silence_s >= self.min_trailing_silence
            and relative_cost <= self.max_relative_cost
            and utterance_length_s >= self.min_utterance_length
        )


@dataclass
class OnlineEndpointConfig(Options):
    """The rules, and which phones are silence. Kaldi's option names start with ``endpoint.``."""

    silence_phones: str = option(
        "", "Phones that count as silence: integers separated by colons.", name="endpoint.silence-phones"
    )
    rule1: OnlineEndpointRule = group(
        lambda: OnlineEndpointRule(False, 5.0, math.inf, 0.0), prefix="endpoint.rule1."
    )
    rule2: OnlineEndpointRule = group(
        lambda: OnlineEndpointRule(True, 0.5, 2.0, 0.0), prefix="endpoint.rule2."
    )
    rule3: OnlineEndpointRule = group(
        lambda: OnlineEndpointRule(True, 1.0, 8.0, 0.0), prefix="endpoint.rule3."
    )
    rule4: OnlineEndpointRule = group(
        lambda: OnlineEndpointRule(True, 2.0, math.inf, 0.0), prefix="endpoint.rule4."
    )
    rule5: OnlineEndpointRule = group(
        lambda: OnlineEndpointRule(False, 0.0, math.inf, 20.0), prefix="endpoint.rule5."
    )

    def rules(self) -> list[OnlineEndpointRule]:
        """All rules in order."""
        return [self.rule1, self.rule2, self.rule3, self.rule4, self.rule5]

    def validate(self) -> None:
        parse_int_list(self.silence_phones, "endpoint.silence-phones")


class EndpointDetector:
    """Applies the rules to the decoders of one model. Created once, shared by all sessions; immutable."""

    def __init__(
        self, config: OnlineEndpointConfig, trans_model: TransitionModel, frame_shift_in_seconds: float
    ):
        """Finds the transition-ids of silence.

        Args:
            config: the rules.
            trans_model: maps transition-ids to phones.
            frame_shift_in_seconds: time between frames of the decoder, after subsampling.

        Raises:
            ConfigError: no silence phones are given, or the model has none of them.
        """
        phones = parse_int_list(config.silence_phones, "endpoint.silence-phones")
        if not phones:
            raise ConfigError("endpoint.silence-phones: expected phones, as endpointing is on, found none")
        self._config = config
        self._frame_shift_s = frame_shift_in_seconds
        self.is_silence: NDArray[np.uint8] = np.isin(trans_model.id2phone, phones).astype(np.uint8)
        if not self.is_silence.any():
            raise ConfigError(f"endpoint.silence-phones: expected phones of the model, found {phones}")

    def detected(self, decoder: EndpointDecoder) -> bool:
        """Returns whether the decoder's utterance has ended; False before the first frame."""
        num_frames = decoder.num_frames_decoded()
        if num_frames == 0:
            return False
        frames = num_frames, decoder.trailing_silence_length(self.is_silence)
        # The cost takes a look at all tokens, which is needed only where a rule applies if it is low enough.
        return endpoint_detected(self._config, *frames, self._frame_shift_s, -math.inf) and endpoint_detected(
            self._config, *frames, self._frame_shift_s, decoder.final_relative_cost()
        )

    def in_silence(self, decoder: EndpointDecoder) -> bool:
        """Returns whether the best path ends in silence, however short."""
        return decoder.num_frames_decoded() > 0 and decoder.trailing_silence_length(self.is_silence) > 0


def endpoint_detected(
    config: OnlineEndpointConfig,
    num_frames_decoded: int,
    trailing_silence_frames: int,
    frame_shift_in_seconds: float,
    final_relative_cost: float,
) -> bool:
    """Returns whether any rule applies.

    Args:
        config: the rules.
        num_frames_decoded: frames of the decoder since the utterance began.
        trailing_silence_frames: frames of silence at the end of the best path.
        frame_shift_in_seconds: time between frames of the decoder.
        final_relative_cost: `LatticeFasterOnlineDecoder.final_relative_cost`.
    """
    # Single precision, as in Kaldi, so that comparisons at the limits have the same result.
    shift_s = np.float32(frame_shift_in_seconds)
    length_s = float(np.float32(num_frames_decoded) * shift_s)
    silence_s = float(np.float32(trailing_silence_frames) * shift_s)
    return any(rule.applies(silence_s, final_relative_cost, length_s) for rule in config.rules())


def decoding_endpoint_detected(
    config: OnlineEndpointConfig,
    trans_model: TransitionModel,
    frame_shift_in_seconds: float,
    decoder: EndpointDecoder,
) -> bool:
    """PyKaldi's name of `EndpointDetector.detected`; for repeated use, keep an `EndpointDetector`."""
    return EndpointDetector(config, trans_model, frame_shift_in_seconds).detected(decoder)
