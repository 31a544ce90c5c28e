"""A long recording in parts that are recognised side by side, and joined as if it had been one.

Each part but the first begins with a *warm-up*: audio that teaches the recogniser the speaker, see `hearing`.
It is all audio before the part where streams of the model remember that much, else the last minute.
Results begin some seconds before the part, and those of each part but the last go on until a segment ends
after the part does; so neighbours have heard the same seconds:

    part 0  |--------------------------------|---|
    part 1               |~~~~~~~~~~~~~~~|---|----------------------------|
            time -->     ^ warm-up           ^ the parts' border

They are joined in a pause that both have heard: where segments of both end if possible, else in the longest
one, which may split a segment of either. Words before it are those of the earlier part, words after it those
of the later one; so no word is lost, and none is there twice.

What a part knows of the speaker is almost what one run would know there; so hardly any word differs from
those of one run.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pykaldi_server.session.events import Final, shifted

__all__ = [
    "LONGEST_OVERRUN_S",
    "SHORTEST_PART_S",
    "WARM_UP_S",
    "WHOLE",
    "Heard",
    "Part",
    "joined",
    "plan_parts",
]

WARM_UP_S = 60.0
"""Audio that teaches a recogniser the speaker if it remembers only the last minute."""
SHORTEST_PART_S = 4 * WARM_UP_S
"""Shorter parts would spend too much of their time on warming up."""
LONGEST_OVERRUN_S = 30.0
"""A part ends this long after its border at the latest."""

_GRID_S = 6.0  # parts begin at multiples of all the steps of a recogniser: quanta, frames, chunks
_SKIP_COST = 0.05  # to decode audio up to a part without recognising it, relative to recognising it
_LEARNING_COST = 0.22  # to learn from it, likewise
_OVERLAP_S = 18.0  # results of a part begin so long before it does
_IN_STEP_S = 6.0  # results are not used before so much audio: the first word may be cut
_CLEAR_PAUSE_S = 0.1  # the least at which segments of both sides can be taken to end


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a recording.

    Attributes:
        start_s: where it starts; its warm-up is before that.
        end_s: where it ends; infinite for the end of the recording.
        warm_up_s: length of its warm-up; infinite for all that is before it.
    """

    start_s: float = 0.0
    end_s: float = math.inf
    warm_up_s: float = WARM_UP_S

    @property
    def first_s(self) -> float:
        """Where its warm-up starts."""
        return 0.0 if math.isinf(self.warm_up_s) else _on_grid_s(self.heard_from_s - self.warm_up_s)

    @property
    def heard_from_s(self) -> float:
        """Where its warm-up ends; results begin there."""
        return _on_grid_s(self.start_s - _OVERLAP_S)


def _on_grid_s(time_s: float) -> float:
    return max(0.0, math.floor(time_s / _GRID_S) * _GRID_S)


WHOLE = Part()


@dataclass(frozen=True, slots=True)
class Heard:
    """What was recognised of a part.

    Attributes:
        finals: its final results, with times from the start of the recording.
        end_s: how far it has heard.
    """

    finals: tuple[Final, ...]
    end_s: float


def plan_parts(length_s: float, num_parts: int, learns_all: bool = False) -> list[Part]:
    """Cuts a recording into parts that cost about the same.

    Later parts are shorter: the audio before them costs something, although it is not recognised.

    Args:
        length_s: its length, which may be wrong: the last part goes to the end, wherever that is.
        num_parts: how many parts there should be; fewer if they would be shorter than `SHORTEST_PART_S`.
        learns_all: the warm-up of a part is to be all that is before it.
    """
    warm_up_s = math.inf if learns_all else WARM_UP_S
    before_cost = _LEARNING_COST if learns_all else _SKIP_COST
    fixed_cost_s = _OVERLAP_S if learns_all else WARM_UP_S + _OVERLAP_S
    num_parts = max(1, min(num_parts, int(length_s / SHORTEST_PART_S)))

    def ends_at(cost_s: float) -> list[float]:
        ends_s = [cost_s]
        while len(ends_s) < num_parts:
            ends_s.append(cost_s - fixed_cost_s + (1 - before_cost) * ends_s[-1])
        return ends_s

    low_s, high_s = 0.0, 2 * length_s + num_parts * WARM_UP_S
    while high_s - low_s > 1e-3:
        middle_s = (low_s + high_s) / 2
        if ends_at(middle_s)[-1] < length_s:
            low_s = middle_s
        else:
            high_s = middle_s
    borders_s = [0.0, *ends_at(high_s)[:-1], math.inf]
    return [Part(start_s, end_s, warm_up_s) for start_s, end_s in pairwise(borders_s)]


def joined(parts: Sequence[tuple[Part, Heard]]) -> list[Final]:
    """Joins what was recognised of all parts of a recording, in order.

    Returns:
        Final results in the order of time, of each channel by itself, with segments numbered anew.
    """
    channels = sorted(
        {final.channel for _, heard in parts for final in heard.finals}, key=lambda each: each or 0
    )
    return [final for channel in channels for final in _joined_channel(parts, channel)]


def _joined_channel(parts: Sequence[tuple[Part, Heard]], channel: int | None) -> list[Final]:
    whole: list[Final] = []
    previous: Heard | None = None
    for part, heard in parts:
        finals = [final for final in heard.finals if final.channel == channel]
        if previous is not None:
            zone_s = part.heard_from_s + (_IN_STEP_S if part.heard_from_s else 0), previous.end_s
            border_s = _best_border_s(whole, finals, *zone_s)
            before = (_cut(final, -math.inf, border_s) for final in whole)
            after = (_cut(final, border_s, math.inf) for final in finals)
            whole = [final for final in (*before, *after) if final is not None]
        else:
            whole = finals
        previous = heard
    return [replace(final, segment=number) for number, final in enumerate(whole)]


def _best_border_s(left: Iterable[Final], right: Iterable[Final], start_s: float, end_s: float) -> float:
    """The middle of the pause in which two parts are joined, between two times."""
    spans = [
        span for final in (*left, *right) for span in _spans(final) if span[1] > start_s and span[0] < end_s
    ]
    pauses, now_s = [], start_s
    for begin_s, stop_s in sorted(spans):
        if begin_s > now_s:
            pauses.append((now_s, begin_s))
        now_s = max(now_s, stop_s)
    if now_s < end_s:
        pauses.append((now_s, end_s))
    segments = [(words[0][0], words[-1][1]) for final in (*left, *right) if (words := _spans(final))]
    clear = [
        pause
        for pause in pauses
        if pause[1] - pause[0] >= _CLEAR_PAUSE_S
        and not any(begin_s < pause[0] and stop_s > pause[1] for begin_s, stop_s in segments)
    ]
    if not pauses:
        return end_s
    pause = clear[-1] if clear else max(pauses, key=lambda pause: pause[1] - pause[0])
    return (pause[0] + pause[1]) / 2


def _spans(final: Final) -> list[tuple[float, float]]:
    """Where the words of a segment are; where it is, if its words have no times."""
    return [(word.start_s, word.end_s) for word in final.words] or [(final.start_s, final.end_s)]


def _cut(final: Final, from_s: float, to_s: float) -> Final | None:
    """What of a segment is between two times: itself, if that is all of it, or None.

    A segment that is split keeps its best hypothesis only.
    """
    kept = [from_s <= (begin_s + stop_s) / 2 < to_s for begin_s, stop_s in _spans(final)]
    if all(kept):
        return final
    if not any(kept):
        return None
    best = final.hypotheses[0]
    start_s, end_s = max(final.start_s, from_s), min(final.end_s, to_s)
    words = tuple(word for word, is_kept in zip(best.words, kept, strict=True) if is_kept)
    hypothesis = replace(
        best,
        transcript=" ".join(word.word for word in words),
        confidence=sum(word.confidence for word in words) / len(words),
        words=shifted(words, final.start_s - start_s),
        phones=tuple(
            replace(phone, start_s=phone.start_s + final.start_s - start_s)
            for phone in best.phones
            if from_s <= final.start_s + (phone.start_s + phone.end_s) / 2 < to_s
        ),
    )
    return replace(
        final, start_s=start_s, length_s=end_s - start_s, total_length_s=end_s, hypotheses=(hypothesis,)
    )
