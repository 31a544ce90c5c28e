"""What a session returns: partial results, final results and the adaptation state.

All times are seconds of audio. Those of a `Hypothesis` count from the start of its segment, as in the
protocol of kaldi-gstreamer-server; those of `Partial.words` and `Final.words` from the start of the stream.

Where each channel of the audio is recognised by itself, events have the number of their channel. Segments are
numbered per channel.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = [
    "AdaptationState",
    "AlignedPhone",
    "AlignedWord",
    "Event",
    "Final",
    "Hypothesis",
    "Partial",
    "in_order_of_time",
    "shifted",
    "time_s",
]


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """A word with its place and the probability, 0..1, that it was said there."""

    word: str
    start_s: float
    length_s: float
    confidence: float

    @property
    def end_s(self) -> float:
        """Where the word ends."""
        return self.start_s + self.length_s


@dataclass(frozen=True, slots=True)
class AlignedPhone:
    """A phone with its place and the probability, 0..1, that it was said there."""

    phone: str
    start_s: float
    length_s: float
    confidence: float

    @property
    def end_s(self) -> float:
        """Where the phone ends."""
        return self.start_s + self.length_s


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One reading of a segment.

    Attributes:
        transcript: the words, joined by single spaces.
        likelihood: the negated cost (graph plus scaled acoustic cost); only differences have a meaning.
        confidence: mean of the word confidences, 0..1; None if word confidences are not computed.
        words: times, from the start of the segment, and confidences of the words; empty if the model has no
            word boundaries or the options turn them off.
        phones: the same for phones; empty unless the options ask for them.
        original_transcript: the transcript before a text processor changed it; None without one.
    """

    transcript: str
    likelihood: float
    confidence: float | None = None
    words: tuple[AlignedWord, ...] = ()
    phones: tuple[AlignedPhone, ...] = ()
    original_transcript: str | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """The best reading of the current segment so far; it may still change.

    Attributes:
        segment: number of the segment, the one that its final result will have.
        transcript: the words, joined by single spaces; empty while nothing has been recognised.
        words: times, from the start of the stream, and confidences of the words, if the option
            ``partial-words`` asks for them and the model has word boundaries.
        start_s: where the segment starts in the stream; 0.0 while nothing of it has been decoded.
        stable_prefix: the beginning of the transcript, whole words, that the search will not change any more:
            later partial results of the segment start with it.
        final_prefix: the beginning of the transcript with which the final result will start, too. It is the
            stable prefix, or empty where the words are weighed again at the end of the segment: by
            adaptation of a GMM, a larger language model, minimum Bayes risk or other scales.
        channel: number of the channel, from 0, if each channel is recognised by itself; else None.
    """

    segment: int
    transcript: str
    words: tuple[AlignedWord, ...] = ()
    start_s: float = 0.0
    stable_prefix: str = ""
    final_prefix: str = ""
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """The result of a segment that has ended.

    Attributes:
        segment: number of the segment, from 0; segments without words have no result and are not counted.
        start_s: where the segment starts in the stream.
        length_s: how long it is.
        total_length_s: length of the stream up to the end of this segment.
        hypotheses: at least one, the best one first.
        message: what a text processor wants to be sent to clients in place of the other fields, in the form
            of their protocol; None without one.
        channel: number of the channel, from 0, if each channel is recognised by itself; else None.
    """

    segment: int
    start_s: float
    length_s: float
    total_length_s: float
    hypotheses: tuple[Hypothesis, ...]
    message: Mapping[str, Any] | None = field(default=None, compare=False)
    channel: int | None = None

    @property
    def transcript(self) -> str:
        """The words of the best hypothesis."""
        return self.hypotheses[0].transcript

    @property
    def confidence(self) -> float | None:
        """The confidence of the best hypothesis."""
        return self.hypotheses[0].confidence

    @property
    def words(self) -> tuple[AlignedWord, ...]:
        """The words of the best hypothesis, with times from the start of the stream."""
        return shifted(self.hypotheses[0].words, self.start_s)

    @property
    def end_s(self) -> float:
        """Where the segment ends in the stream."""
        return self.total_length_s


@dataclass(frozen=True, slots=True)
class AdaptationState:
    """What the model has learned about the speaker, in Kaldi's text form, for a later session.

    Attributes:
        value: the text.
        channel: number of the speaker's channel, from 0, if each channel is recognised by itself; else None.
    """

    value: str
    channel: int | None = None


Event = Partial | Final | AdaptationState
"""What the methods of a session return."""


def shifted(words: tuple[AlignedWord, ...], by_s: float) -> tuple[AlignedWord, ...]:
    """Returns words at later times."""
    return tuple(replace(word, start_s=word.start_s + by_s) for word in words)


def in_order_of_time(events: Iterable[Event]) -> Iterator[Event]:
    """Passes events on; with several channels, final results at the end, in the order of time."""
    finals: list[Final] = []
    others: list[Event] = []
    for event in events:
        if isinstance(event, Final) and event.channel is not None:
            finals.append(event)
        elif isinstance(event, AdaptationState) and event.channel is not None:
            others.append(event)
        else:
            yield event
    yield from sorted(finals, key=time_s)
    yield from others


def time_s(event: Event) -> float:
    """Where an event belongs: a segment may begin with silence, so its first word counts, if it has times."""
    match event:
        case Final(hypotheses=(best, *_)) if best.words:
            return event.start_s + best.words[0].start_s
        case AdaptationState():
            return 0.0
        case _:
            return event.start_s
