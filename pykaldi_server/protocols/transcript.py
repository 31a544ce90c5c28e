"""The results of a whole request: segments with words, in the times of the stream, and their forms as text.

Subtitles (SRT; WebVTT, W3C) are cut at pauses between words and at lengths that can be read: two lines of 42
characters, seven seconds. Where the text is not the words that have times, because a post-processor has
changed it, its words share the time of the segment.
"""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pykaldi_server.protocols.gstreamer import is_final, transcript_of
from pykaldi_server.protocols.messages import Message

__all__ = ["Cue", "Segment", "Transcript", "Word", "cues", "srt", "vtt"]

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
    """

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    alternatives: tuple[str, ...] = ()

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
        )

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
        message: Message = {"start": _ms(self.start_s), "end": _ms(self.end_s), "text": self.text}
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
        segments: the final results so far that have words.
        partial: the last partial result of a segment that has no final one.
    """

    segments: list[Segment] = field(default_factory=list)
    partial: str = ""

    def add(self, event: Message) -> None:
        """Notes a partial or final result; nothing else is part of the transcript."""
        text = transcript_of(event)
        if text is None:
            return
        segment = Segment.from_event(event)
        if segment is not None:
            self.segments.append(segment)
        self.partial = "" if is_final(event) else text

    @property
    def text(self) -> str:
        """All final results, joined by spaces."""
        return " ".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: text of one or two lines, shown from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    text: str


def cues(segments: Iterable[Segment]) -> Iterator[Cue]:
    """Cuts segments into subtitles."""
    for segment in segments:
        held: list[Word] = []
        for word in segment.timed_words():
            if held and not _fits(held, word):
                yield _cue(held)
                held = []
            held.append(word)
        if held:
            yield _cue(held)


def srt(segments: Iterable[Segment]) -> str:
    """Subtitles in SubRip's form."""
    blocks = (
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(segments), 1)
    )
    return "\n".join(blocks)


def vtt(segments: Iterable[Segment]) -> str:
    """Subtitles in the form WebVTT."""
    blocks = (
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{_escaped(cue.text)}\n"
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


def _cue(words: list[Word]) -> Cue:
    return Cue(words[0].start_s, words[-1].end_s, "\n".join(_lines(words)))


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
