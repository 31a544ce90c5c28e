"""What a session tells: partial results, final results and the adaptation state.

All times are seconds of audio. Start times in alignments count from the start of the segment.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One word of a final result."""

    word: str
    start_s: float
    length_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class AlignedPhone:
    """One phone of a final result."""

    phone: str
    start_s: float
    length_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One reading of a segment, the best one first in `Final.hypotheses`.

    Attributes:
        transcript: the words, joined by single spaces.
        likelihood: the negated cost (graph plus scaled acoustic cost); only differences mean something.
        confidence: mean of the word confidences, 0..1; None where word confidences are not computed.
        words: times and confidences of the words; empty where the model has no word boundaries.
        phones: times of the phones; empty unless the configuration asks for them.
    """

    transcript: str
    likelihood: float
    confidence: float | None = None
    words: tuple[AlignedWord, ...] = ()
    phones: tuple[AlignedPhone, ...] = ()


@dataclass(frozen=True, slots=True)
class Partial:
    """The best reading of the segment so far; it may still change."""

    segment: int
    transcript: str


@dataclass(frozen=True, slots=True)
class Final:
    """The result of a segment that has ended.

    Attributes:
        segment: number of the segment, from 0; segments without words have no result and are not counted.
        start_s: where the segment starts in the stream.
        length_s: how long it is.
        total_length_s: length of the stream up to the end of this segment.
        hypotheses: at least one, the best first.
    """

    segment: int
    start_s: float
    length_s: float
    total_length_s: float
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True, slots=True)
class AdaptationState:
    """What the model has learned about the speaker, in Kaldi's text form, to start a later session with."""

    value: str


Event = Partial | Final | AdaptationState
