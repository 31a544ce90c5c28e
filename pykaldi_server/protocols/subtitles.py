"""Subtitles that can be read, from the words of a transcript and their times: SRT, WebVTT and TTML.

A *cue* is text of one or two lines that is shown for some time. The words of a channel, across the borders of
segments, are cut into cues so that

* a line has at most 42 characters, and a cue two lines (wide characters, as in Chinese, count as two);
* a cue is shown for 1 to 7 seconds, and no two cues of a channel overlap;
* every word is in exactly one cue, whole;
* a pause of a second always ends a cue. Otherwise cues end at the longest pauses and after punctuation, and
  lines are about equally long.

A cue appears with its first word and disappears after its last; if a pause follows it stays until it can be
read. Of all ways to cut that keep these limits the one with the lowest sum of costs is taken, by dynamic
programming over the words (as Knuth and Plass break paragraphs, Software: Practice and Experience 11, 1981).

Not everything that is said can keep the limits. What gives way then, in this order:

* the second of least duration, where speech is so fast that 84 characters take less;
* the length of a line, for a single word longer than it, which has the line to itself. Text without spaces in
  a script that has none is cut between characters instead; its parts share the time of the word.

A word that lasts longer than seven seconds is shown for the first seven. Words without times of their own
share the time of their segment. SRT: https://matroska.org/technical/subtitles.html; WebVTT:
https://www.w3.org/TR/webvtt1; TTML: https://www.w3.org/TR/ttml2.
"""

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from xml.sax.saxutils import escape

from pykaldi_server.protocols.transcript import Segment, Word, channel_name, labelled

__all__ = ["SUBTITLE_WRITERS", "Cue", "cues", "srt", "ttml", "vtt"]

LINE_CHARACTERS = 42
SHORTEST_MS = 1000
LONGEST_MS = 7000
PAUSE_MS = 1000
"""A pause of this length always ends a cue."""
READING_CHARACTERS_PER_S = 17
"""How fast people read; where a pause allows, a cue is shown as long as that takes."""

# Costs, in cues: one cue more costs 1.
UNPAUSED_BREAK = 1.0  # to end a cue where no pause is; nothing where the pause is a clear one
CLEAR_PAUSE_MS = 400
INNER_PAUSE_PER_S = 3.0  # to have a pause within a cue
CLAUSE_BREAK = 0.4  # the part of UNPAUSED_BREAK that remains after a comma
LITTLE_TEXT = 0.6  # a cue that is almost empty; less with the square of its filling
TOO_SHORT_PER_S = 1000.0  # a cue that is too short, for each second that it lacks

SENTENCE_ENDS = frozenset(".?!…。？！؟।")
CLAUSE_ENDS = frozenset(",;:、，；：،—–")
WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "IDEOGRAPHIC")
"""How the Unicode names of characters begin between which a line may be broken."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: text of one or two lines, shown from ``start_ms`` to ``end_ms``."""

    start_ms: int
    end_ms: int
    text: str
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class _Atom:
    """What is never cut: a word, or a part of one; ``space`` is 1 if a space comes before it."""

    text: str
    start_ms: int
    end_ms: int
    width: int
    space: int = 1


def cues(segments: Iterable[Segment]) -> list[Cue]:
    """Cuts the words of segments into subtitles.

    Args:
        segments: those of each channel in the order of time.

    Returns:
        Cues in the order of time; those of several channels may overlap.
    """
    words: dict[int | None, list[Word]] = {}
    for segment in segments:
        words.setdefault(segment.channel, []).extend(segment.timed_words())
    found = [cue for channel in words for cue in _cues_of_channel(words[channel], channel)]
    return sorted(found, key=lambda cue: cue.start_ms)


def srt(segments: Iterable[Segment]) -> str:
    """Subtitles in SubRip's form; where channels are split, text names them."""
    blocks = (
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        f"{labelled(cue.text, cue.channel)}\n"
        for number, cue in enumerate(cues(segments), 1)
    )
    return "\n".join(blocks)


def vtt(segments: Iterable[Segment]) -> str:
    """Subtitles as WebVTT; where channels are split, each is a voice."""
    blocks = (
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        f"{_voice(cue.channel)}{escape(cue.text)}\n"
        for cue in cues(segments)
    )
    return "\n".join(("WEBVTT\n", *blocks))


def ttml(segments: Iterable[Segment]) -> str:
    """Subtitles as TTML; where channels are split, text names them."""
    paragraphs = (
        f'      <p begin="{_clock(cue.start_ms, ".")}" end="{_clock(cue.end_ms, ".")}">'
        f"{_xml_text(labelled(cue.text, cue.channel))}</p>\n"
        for cue in cues(segments)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="">\n  <body>\n    <div>\n'
        f"{''.join(paragraphs)}    </div>\n  </body>\n</tt>\n"
    )


SUBTITLE_WRITERS: dict[str, Callable[[Iterable[Segment]], str]] = {"srt": srt, "vtt": vtt, "ttml": ttml}
"""The forms of subtitles by the usual endings of their files."""


def _cues_of_channel(words: Iterable[Word], channel: int | None) -> Iterator[Cue]:
    label_width = _width(labelled("", channel))
    layout = _Layout(list(_atoms(words)), LINE_CHARACTERS - label_width)
    start = 0
    for end in layout.breaks():
        yield Cue(
            layout.atoms[start].start_ms, layout.shown_until_ms(start, end), layout.text(start, end), channel
        )
        start = end


def _atoms(words: Iterable[Word]) -> Iterator[_Atom]:
    """The words in milliseconds, each starting after the one before; long ones without spaces are cut."""
    earliest_ms = 0
    for word in words:
        start_ms = max(earliest_ms, round(1000 * word.start_s))
        end_ms = max(start_ms, round(1000 * word.end_s))
        parts = _parts(word.text) if _width(word.text) > LINE_CHARACTERS else [word.text]
        step_ms = (end_ms - start_ms) / len(parts)
        for index, part in enumerate(parts):
            part_start_ms = max(earliest_ms, start_ms + round(index * step_ms))
            part_end_ms = max(part_start_ms, start_ms + round((index + 1) * step_ms))
            yield _Atom(part, part_start_ms, part_end_ms, _width(part), int(index == 0))
            earliest_ms = part_start_ms + 1


def _parts(text: str) -> list[str]:
    """Cuts text where a script without spaces allows it; marks stay with the character before them."""
    parts = [text[0]]
    for before, character in pairwise(text):
        is_mark = unicodedata.category(character)[0] in "MP"
        if not is_mark and (_has_no_spaces(before) or _has_no_spaces(character)):
            parts.append(character)
        else:
            parts[-1] += character
    return parts


def _has_no_spaces(character: str) -> bool:
    return unicodedata.name(character, "").startswith(WITHOUT_SPACES)


def _width(text: str) -> int:
    """Characters, where wide ones count as two."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


class _Layout:
    """Where the words of one channel may be cut, and what that costs.

    Ranges of atoms are given by the first and one past the last.

    Args:
        atoms: the words.
        first_line_characters: room in the first line of a cue, which may name the channel.
    """

    def __init__(self, atoms: Sequence[_Atom], first_line_characters: int) -> None:
        self.atoms = atoms
        self._room = first_line_characters
        self._columns = [0, *accumulate(atom.width + atom.space for atom in atoms)]
        following = [atom.start_ms for atom in atoms[1:]]
        self._pauses_ms = [
            max(0, next_ms - atom.end_ms) for atom, next_ms in zip(atoms, following, strict=False)
        ]
        self._next_ms: list[float] = [*following, math.inf]
        self._inner_costs = [0.0, *accumulate(INNER_PAUSE_PER_S * ms / 1000 for ms in self._pauses_ms)]
        self._break_costs = [*map(self._break_cost, range(len(self._pauses_ms))), 0.0]

    def breaks(self) -> list[int]:
        """The ends of cues that cost least, in order."""
        best = [0.0, *(math.inf for _ in self.atoms)]  # costs of the words before an end
        starts = [0] * len(best)  # of the last cue before that end
        for start in range(len(self.atoms)):
            for end in self._possible_ends(start):
                cost = best[start] + self._cost(start, end)
                if cost < best[end]:
                    best[end], starts[end] = cost, start
        found = []
        end = len(self.atoms)
        while end > 0:
            found.append(end)
            end = starts[end]
        return found[::-1]

    def shown_until_ms(self, start: int, end: int) -> int:
        """When a cue disappears: with its last word; if a pause follows, not before it can be read."""
        start_ms = self.atoms[start].start_ms
        reading_ms = 1000 * self._width(start, end) // READING_CHARACTERS_PER_S
        wanted_ms = max(self.atoms[end - 1].end_ms, start_ms + max(SHORTEST_MS, reading_ms))
        return int(min(wanted_ms, start_ms + LONGEST_MS, self._next_ms[end - 1]))

    def text(self, start: int, end: int) -> str:
        """The text of a cue, in one line if it fits, else in two of about the same length."""
        if self._fits(start, end, self._room):
            return self._line(start, end)
        middle = min(
            (each for each in range(start + 1, end) if self._are_lines(start, each, end)),
            key=lambda each: (
                abs(self._width(start, each) - self._width(each, end)) + 8 * self._break_costs[each - 1]
            ),
            default=end,
        )
        return "\n".join(filter(None, (self._line(start, middle), self._line(middle, end))))

    def _possible_ends(self, start: int) -> Iterator[int]:
        """The ends of cues that keep the limits; that after the first word always."""
        middle = start + 1  # where the second line begins, with as much as possible in the first
        for end in range(start + 1, len(self.atoms) + 1):
            if self._fits(start, end, self._room):
                middle = end
            is_short = self.atoms[end - 1].end_ms - self.atoms[start].start_ms <= LONGEST_MS
            if end > start + 1 and not (is_short and self._are_lines(start, middle, end)):
                return
            yield end
            if end < len(self.atoms) and self._pauses_ms[end - 1] >= PAUSE_MS:
                return

    def _cost(self, start: int, end: int) -> float:
        lacking_ms = SHORTEST_MS - (self._next_ms[end - 1] - self.atoms[start].start_ms)
        emptiness = max(0.0, 1 - self._width(start, end) / (2 * LINE_CHARACTERS))
        return (
            1.0
            + self._break_costs[end - 1]
            + self._inner_costs[end - 1]
            - self._inner_costs[start]
            + LITTLE_TEXT * emptiness**2
            + TOO_SHORT_PER_S * max(0.0, lacking_ms) / 1000
        )

    def _break_cost(self, index: int) -> float:
        """What it costs to end a cue, or a line, after an atom."""
        last = self.atoms[index].text[-1:]
        if last in SENTENCE_ENDS:
            return 0.0
        cost = UNPAUSED_BREAK * max(0.0, 1 - self._pauses_ms[index] / CLEAR_PAUSE_MS)
        return CLAUSE_BREAK * cost if last in CLAUSE_ENDS else cost

    def _width(self, start: int, end: int) -> int:
        """Characters of a line."""
        return self._columns[end] - self._columns[start] - self.atoms[start].space if end > start else 0

    def _fits(self, start: int, end: int, room: int) -> bool:
        """Whether atoms fit in a line; a single one has to."""
        return end - start == 1 or self._width(start, end) <= room

    def _are_lines(self, start: int, middle: int, end: int) -> bool:
        second_fits = middle == end or self._fits(middle, end, LINE_CHARACTERS)
        return self._fits(start, middle, self._room) and second_fits

    def _line(self, start: int, end: int) -> str:
        return "".join(" " * atom.space + atom.text for atom in self.atoms[start:end]).strip()


def _voice(channel: int | None) -> str:
    """The start of a voice span of WebVTT, which lasts to the end of its cue."""
    return "" if channel is None else f"<v {channel_name(channel)}>"


def _clock(time_ms: int, separator: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{milliseconds:03}"


def _xml_text(text: str) -> str:
    """Text in XML, which has no control characters."""
    printable = "".join(each for each in text if each.isprintable() or each == "\n")
    return escape(printable).replace("\n", "<br/>")
