"""The results of a whole request: segments with words, in the times of the stream.

Where the text is not the words that have times, because a post-processor has changed it, its words share the
time of the segment. Where each channel is recognised by itself, segments are in the order in which their
first words begin, and text names the channel: ``Channel 1: ...``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import channel_of, is_final, transcript_of
from pykaldi_server.protocols.messages import Message, excerpt

__all__ = ["Segment", "Transcript", "Word", "channel_name", "labelled"]

T = TypeVar("T")

_LONGEST_S = 1e7  # a third of a year
_KINDS: Mapping[type[Any], str] = {list: "a list", int: "a whole number", str: "text"}


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word; times are seconds from the start of the stream."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that has words; times are seconds from the start of the stream.

    Attributes:
        text: the best transcript.
        start_s, end_s: where the segment is.
        confidence: mean of the words' confidences; None where there are none.
        words: those of the best hypothesis; empty where the model has no times.
        alternatives: further transcripts, the best first.
        channel: number of the channel, from 0, where each channel is recognised by itself; else None.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    alternatives: tuple[str, ...] = ()
    channel: int | None = None

    @classmethod
    def from_event(cls, event: Message) -> "Segment | None":
        """Reads a final result; None if it has no words, or if the event is something else."""
        text = transcript_of(event)
        if not text or not is_final(event):
            return None
        best, *others = event["result"]["hypotheses"]
        start_s = _number(event.get("segment-start"), 0.0)
        length_s = _number(event.get("segment-length"), 0.0)
        return cls(
            text=text,
            start_s=start_s,
            end_s=_number(event.get("total-length"), start_s + length_s),
            confidence=_number(best.get("confidence"), None),
            words=_words(best.get("word-alignment"), start_s),
            alternatives=tuple(str(each["transcript"]) for each in others),
            channel=channel_of(event),
        )

    @classmethod
    def from_message(cls, message: object) -> "Segment":
        """Reads what `message` has made; ``start``, ``end``, ``confidence`` and so on may be absent.

        Raises:
            ProtocolError: a field has another type; the text names it.
        """
        if not isinstance(message, Mapping):
            raise ProtocolError(f"segment: expected an object, found {excerpt(message)}")
        start_s = _time(message, "start", 0.0)
        words = _field(message, "words", list, [])
        channel = _field(message, "channel", int, None)
        return cls(
            text=_field(message, "text", str, " ".join(_word_text(word) for word in words)),
            start_s=start_s,
            end_s=_time(message, "end", start_s),
            words=tuple(
                Word(_word_text(word), _time(word, "start", None), _time(word, "end", None)) for word in words
            ),
            channel=channel,
        )

    def speech_start_s(self) -> float:
        """Where the first word begins, as far as that is known: a segment may begin with silence."""
        return self.words[0].start_s if self.words else self.start_s

    def timed_words(self) -> tuple[Word, ...]:
        """The words of `text` with their times, estimated where only the segment has any."""
        if self.text.split() == [word.text for word in self.words]:
            return self.words
        texts = self.text.split()
        start_s = self.words[0].start_s if self.words else self.start_s
        end_s = self.words[-1].end_s if self.words else self.end_s
        step_s = (end_s - start_s) / max(1, len(texts))
        return tuple(
            Word(text, start_s + index * step_s, start_s + (index + 1) * step_s)
            for index, text in enumerate(texts)
        )

    def message(self) -> Message:
        """The segment as an object of an answer: times in seconds, rounded to milliseconds."""
        message: Message = {} if self.channel is None else {"channel": self.channel}
        message |= {"start": _ms(self.start_s), "end": _ms(self.end_s), "text": self.text}
        if self.confidence is not None:
            message["confidence"] = self.confidence
        if self.alternatives:
            message["alternatives"] = list(self.alternatives)
        message["words"] = [_word_message(word) for word in self.words]
        return message


@dataclass
class Transcript:
    """Collects the events of a request.

    Attributes:
        arrived: the final results so far that have words, in the order in which they came.
    """

    arrived: list[Segment] = field(default_factory=list)
    _partials: dict[int | None, str] = field(default_factory=dict)  # by channel

    def add(self, event: Message) -> None:
        """Notes a partial or final result; nothing else is part of the transcript."""
        text = transcript_of(event)
        if text is None:
            return
        segment = Segment.from_event(event)
        if segment is not None:
            self.arrived.append(segment)
        self._partials[channel_of(event)] = "" if is_final(event) else text

    @property
    def segments(self) -> list[Segment]:
        """The final results so far that have words; those of several channels in the order of time."""
        return sorted(self.arrived, key=Segment.speech_start_s) if self.has_channels else self.arrived

    @property
    def has_channels(self) -> bool:
        """Whether each channel is recognised by itself."""
        return any(segment.channel is not None for segment in self.arrived)

    @property
    def text(self) -> str:
        """All final results, joined by spaces."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def partial(self) -> str:
        """The last partial result of a segment that has no final one, of each channel that has one."""
        return " ".join(text for text in self._partials.values() if text)


def channel_name(channel: int) -> str:
    """What people call a channel; they count from 1."""
    return f"Channel {channel + 1}"


def labelled(text: str, channel: int | None) -> str:
    """The text with the name of its channel, if it has one."""
    return text if channel is None else f"{channel_name(channel)}: {text}"


def _words(alignment: object, start_s: float) -> tuple[Word, ...]:
    """The words of a hypothesis; none where a post-processor has made something else of them."""
    try:
        words = tuple(
            Word(
                str(each["word"]),
                start_s + float(each["start"]),
                start_s + float(each["start"]) + float(each["length"]),
                float(each["confidence"]),
            )
            for each in (alignment if isinstance(alignment, list | tuple) else ())
        )
    except (LookupError, TypeError, ValueError):
        return ()
    return words if all(math.isfinite(word.start_s + word.end_s) for word in words) else ()


def _field(message: Mapping[str, Any], name: str, kind: type[T], default: T | None) -> Any:
    value = message.get(name, default)
    if not isinstance(value, kind) and not (value is None and default is None):
        raise ProtocolError(f"{name}: expected {_KINDS[kind]}, found {excerpt(value)}")
    return value


def _time(message: Mapping[str, Any], name: str, default: float | None) -> float:
    value = message.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_S:
        raise ProtocolError(f"{name}: expected a time in seconds, found {excerpt(value)}")
    return float(value)


def _word_text(word: object) -> str:
    if not isinstance(word, Mapping) or not isinstance(word.get("word"), str):
        raise ProtocolError(f"words: expected objects with word, start and end, found {excerpt(word)}")
    return str(word["word"])


def _number(value: object, default: T) -> float | T:
    """A number of a result; the default where a post-processor has made something else of it."""
    return float(value) if isinstance(value, int | float) else default


def _word_message(word: Word) -> dict[str, Any]:
    message: dict[str, Any] = {"word": word.text, "start": _ms(word.start_s), "end": _ms(word.end_s)}
    return message if word.confidence is None else {**message, "confidence": word.confidence}


def _ms(time_s: float) -> float:
    return round(time_s, 3)
