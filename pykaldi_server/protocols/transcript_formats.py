"""Transcripts as files: text, subtitles, JSON, and the tables of speech research and spreadsheets.

======  ====================================================================================================
txt     one line per segment
srt     subtitles, see `protocols.subtitles`; so are vtt and ttml
json    one object: ``file``, ``text`` and ``segments`` with their words
ctm     one line per word: recording, channel, start, duration, word, confidence
stm     one line per segment: recording, channel, speaker, start, end, text
csv     one line per segment, under a line with the names of the columns: file, channel, start, end,
        confidence, text
======  ====================================================================================================

Times are seconds. CTM and STM are the formats of NIST's scoring toolkit (sctk, ``doc/infmts.htm``): fields
are separated by spaces; a recording is named by its file without folder and ending, with underscores for
spaces; channels are numbered from 1; a confidence that is not known is left out; lines are in the order of
channel and time.
"""

import csv as csv_module
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath

from pykaldi_server.protocols.messages import dumps
from pykaldi_server.protocols.subtitles import SUBTITLE_WRITERS
from pykaldi_server.protocols.transcript import Segment, labelled

__all__ = ["CSV_COLUMNS", "TRANSCRIPT_WRITERS", "TranscriptWriter", "csv", "ctm", "json", "stm", "txt"]

CSV_COLUMNS = ("file", "channel", "start", "end", "confidence", "text")

TranscriptWriter = Callable[[Sequence[Segment], str], str]
"""Makes the text of a file from the segments of a recording, in the order of time, and its name."""


def txt(segments: Iterable[Segment], name: str) -> str:
    """One line per segment; where channels are split, text names them."""
    return "".join(f"{labelled(_one_line(each.text), each.channel)}\n" for each in segments)


def json(segments: Iterable[Segment], name: str) -> str:
    """One object on one line, with the segments that HTTP answers have as well."""
    segments = list(segments)
    text = " ".join(segment.text for segment in segments)
    answer = {"file": name, "text": text, "segments": [segment.message() for segment in segments]}
    return f"{dumps(answer)}\n"


def ctm(segments: Iterable[Segment], name: str) -> str:
    """One line per word; words without times of their own share the time of their segment."""
    lines = []
    for segment in sorted(segments, key=_channel):
        for word in segment.timed_words():
            fields = [
                *_place(name, segment),
                _time(word.start_s),
                _time(word.end_s - word.start_s),
                word.text,
            ]
            lines.append(" ".join(fields + ([] if word.confidence is None else [f"{word.confidence:.3f}"])))
    return "".join(f"{line}\n" for line in lines)


def stm(segments: Iterable[Segment], name: str) -> str:
    """One line per segment, from its first word to its last; the speaker is the recording's channel."""
    lines = []
    for segment in sorted(segments, key=_channel):
        recording, channel = _place(name, segment)
        start_s, end_s = _extent_s(segment)
        speaker = f"{recording}-{channel}"
        lines.append(
            f"{recording} {channel} {speaker} {_time(start_s)} {_time(end_s)} {_one_line(segment.text)}\n"
        )
    return "".join(lines)


def csv(segments: Iterable[Segment], name: str) -> str:
    """One line per segment, as RFC 4180 quotes them, but with the line ends of this system."""
    file = io.StringIO()
    writer = csv_module.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for segment in segments:
        start_s, end_s = _extent_s(segment)
        confidence = "" if segment.confidence is None else f"{segment.confidence:.3f}"
        channel = "" if segment.channel is None else segment.channel + 1
        writer.writerow((name, channel, _time(start_s), _time(end_s), confidence, segment.text))
    return file.getvalue()


def _subtitles(write: Callable[[Iterable[Segment]], str]) -> TranscriptWriter:
    return lambda segments, name: write(segments)


TRANSCRIPT_WRITERS: dict[str, TranscriptWriter] = {
    "txt": txt,
    **{ending: _subtitles(write) for ending, write in SUBTITLE_WRITERS.items()},
    "json": json,
    "ctm": ctm,
    "stm": stm,
    "csv": csv,
}
"""The formats of transcripts by the usual endings of their files."""


def _place(name: str, segment: Segment) -> Iterator[str]:
    """Recording and channel, as they begin the lines of CTM and STM."""
    yield re.sub(r"\s", "_", PurePath(name).stem) or "-"
    yield str(_channel(segment) + 1)


def _channel(segment: Segment) -> int:
    return segment.channel or 0


def _extent_s(segment: Segment) -> tuple[float, float]:
    """Where a segment's words are: it may begin and end with silence."""
    if segment.words:
        return segment.words[0].start_s, segment.words[-1].end_s
    return segment.start_s, segment.end_s


def _time(seconds: float) -> str:
    return f"{max(0.0, seconds):.3f}"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
