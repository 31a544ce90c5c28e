"""The results of a whole request: segments with words, in the times of the stream, and their forms as text.

Subtitles (SRT; WebVTT, W3C) are cut at pauses between words and at lengths that can be read: two lines of 42
characters, seven seconds. Where the text is not the words that have times, because a post-processor has
changed it, its words share the time of the segment.

Where each channel is recognised by itself, segments are in the order in which their first words begin, and
text names the channel: ``Channel 1: ...``; WebVTT has voice spans for this, ``<v Channel 1>``.
"""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pykaldi_server.protocols.gstreamer import channel_of, is_final, transcript_of
from pykaldi_server.protocols.messages import Message

__all__ = ["Cue", "Segment", "Transcript", "Word", "cues", "labelled", "srt", "vtt"]

T = TypeVar("T")

LINE_CHARACTERS = 42
LINES = 2
LONGEST_CUE_S = 7.0
PAUSE_S = 1.0


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


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: text of one or two lines, shown from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    text: str
    channel: int | None = None


def labelled(text: str, channel: int | None) -> str:
    """The text with the name of its channel; people count from 1."""
    return text if channel is None else f"{_channel_name(channel)}: {text}"


def cues(segments: Iterable[Segment]) -> Iterator[Cue]:
    """Cuts segments into subtitles, in the order of time."""
    unordered = [cue for segment in segments for cue in _cues_of(segment)]
    yield from sorted(unordered, key=lambda cue: cue.start_s)


def _cues_of(segment: Segment) -> Iterator[Cue]:
    held: list[Word] = []
    for word in segment.timed_words():
        if held and not _fits(held, word):
            yield _cue(held, segment.channel)
            held = []
        held.append(word)
    if held:
        yield _cue(held, segment.channel)


def srt(segments: Iterable[Segment]) -> str:
    """Subtitles in SubRip's form."""
    blocks = (
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n"
        f"{labelled(cue.text, cue.channel)}\n"
        for number, cue in enumerate(cues(segments), 1)
    )
    return "\n".join(blocks)


def vtt(segments: Iterable[Segment]) -> str:
    """Subtitles in the form WebVTT."""
    blocks = (
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n"
        f"{_voice(cue.channel)}{_escaped(cue.text)}\n"
        for cue in cues(segments)
    )
    return "\n".join(("WEBVTT\n", *blocks))


def _words(alignment: object, start_s: float) -> tuple[Word, ...]:
    """The words of a hypothesis; none where a post-processor has made something else of them."""
    try:
        return tuple(
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


def _number(value: object, default: T) -> float | T:
    """A number of a result; the default where a post-processor has made something else of it."""
    return float(value) if isinstance(value, int | float) else default


def _fits(held: list[Word], word: Word) -> bool:
    lines = _lines([*held, word])
    is_short = word.end_s - held[0].start_s <= LONGEST_CUE_S
    return len(lines) <= LINES and is_short and word.start_s - held[-1].end_s < PAUSE_S


def _lines(words: list[Word]) -> list[str]:
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _cue(words: list[Word], channel: int | None) -> Cue:
    return Cue(words[0].start_s, words[-1].end_s, "\n".join(_lines(words)), channel)


def _channel_name(channel: int) -> str:
    return f"Channel {channel + 1}"


def _voice(channel: int | None) -> str:
    """The start of a voice span of WebVTT, which lasts to the end of its cue."""
    return "" if channel is None else f"<v {_channel_name(channel)}>"


def _clock(time_s: float, separator: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    seconds, milliseconds = divmod(round(1000 * time_s), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{milliseconds:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _word_message(word: Word) -> dict[str, Any]:
    message: dict[str, Any] = {"word": word.text, "start": _ms(word.start_s), "end": _ms(word.end_s)}
    return message if word.confidence is None else {**message, "confidence": word.confidence}


def _ms(time_s: float) -> float:
    return round(time_s, 3)
