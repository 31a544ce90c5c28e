"""Long recordings in parts: their borders, and how what was recognised is joined."""

import itertools
import math
import random
from dataclasses import replace

import pytest

from pykaldi_server.batch.parts import SHORTEST_PART_S, WARM_UP_S, WHOLE, Heard, Part, joined, plan_parts
from pykaldi_server.session.events import AlignedWord, Final, Hypothesis

BORDER_S = 300.0
LEFT, RIGHT = Part(0.0, BORDER_S), Part(BORDER_S, math.inf)


def final(*words: tuple[str, float, float], channel: int | None = None, pause_s: float = 0.5) -> Final:
    """A segment with words (text, start, end), which ends with a pause."""
    start_s, end_s = words[0][1] - 0.1, words[-1][2] + pause_s
    aligned = tuple(AlignedWord(text, begin - start_s, end - begin, 0.5) for text, begin, end in words)
    hypothesis = Hypothesis(" ".join(word[0] for word in words), -1.0, 0.5, aligned)
    return Final(7, start_s, end_s - start_s, end_s, (hypothesis,), channel=channel)


def words_of(finals: list[Final]) -> list[str]:
    return [word.word for final in finals for word in final.words]


@pytest.mark.parametrize("length_s", [0.0, 100.0, 2 * SHORTEST_PART_S - 1])
def test_short_recordings_stay_whole(length_s: float) -> None:
    assert plan_parts(length_s, 8) == [WHOLE]


@pytest.mark.parametrize(("length_s", "num_parts"), [(1800.0, 2), (7200.0, 4), (1800.0, 64)])
def test_parts_cost_about_the_same(length_s: float, num_parts: int) -> None:
    parts = plan_parts(length_s, num_parts)
    assert 2 <= len(parts) <= min(num_parts, length_s / SHORTEST_PART_S)
    assert parts[0].start_s == parts[0].first_s == 0.0
    assert parts[-1].end_s == math.inf
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(parts))
    costs_s = [min(part.end_s, length_s) - 0.95 * part.first_s for part in parts]
    assert max(costs_s) < 1.05 * min(costs_s), "passing over a second costs a twentieth of recognising it"
    for part in parts[1:]:
        assert part.first_s + WARM_UP_S == part.heard_from_s < part.start_s - 17
        assert part.first_s % 6 == 0


@pytest.mark.parametrize(("length_s", "num_parts"), [(1800.0, 2), (7200.0, 4)])
def test_parts_that_learn_from_all_before_them_cost_about_the_same(length_s: float, num_parts: int) -> None:
    parts = plan_parts(length_s, num_parts, learns_all=True)
    assert len(parts) == num_parts
    assert all(part.first_s == 0.0 for part in parts)
    assert all(part.heard_from_s % 6 == 0 for part in parts)
    costs_s = [min(part.end_s, length_s) - 0.78 * part.heard_from_s for part in parts]
    assert max(costs_s) < 1.05 * min(costs_s), "learning from a second costs less than a quarter of it"
    if num_parts == 2:
        assert length_s / max(costs_s) > 1.75


def test_parts_are_joined_where_segments_of_both_end() -> None:
    left = [final(("a", 10, 11)), final(("b", 298, 299)), final(("c", 303, 304))]
    right = [
        final(("x", 250, 251)),
        final(("b", 298, 299)),
        final(("c", 303.03, 304)),
        final(("d", 306, 307)),
    ]
    found = joined([(LEFT, Heard(tuple(left), 305.0)), (RIGHT, Heard(tuple(right), 400.0))])
    assert words_of(found) == ["a", "b", "c", "d"]
    assert [each.segment for each in found] == [0, 1, 2, 3]
    assert found[:2] == [replace(each, segment=i) for i, each in enumerate(left[:2])]


def test_a_segment_is_split_where_no_two_end_together() -> None:
    """Continuous speech, whose segments end at different words."""
    words = [(f"w{i}", 250 + 0.5 * i, 250.4 + 0.5 * i) for i in range(120)]
    left = [final(*words[start : start + 25], pause_s=0.0) for start in range(0, 110, 25)]
    right = [final(*words[start : start + 25], pause_s=0.0) for start in range(10, 120, 25)]
    found = joined([(LEFT, Heard(tuple(left), 312.0)), (RIGHT, Heard(tuple(right), 400.0))])
    assert words_of(found) == [text for text, _, _ in words]
    times = [(word.start_s, word.end_s) for each in found for word in each.words]
    assert times == [pytest.approx(word[1:]) for word in words]
    assert all(before.end_s <= after.start_s + 0.11 for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("seed", range(20))
def test_no_word_is_lost_and_none_is_there_twice(seed: int) -> None:
    """Times of the two sides differ by a frame or two, segments by anything; several parts."""
    chance = random.Random(seed)
    spoken, now_s = list[tuple[str, float, float]](), 0.0
    while now_s < 1000:
        end_s = now_s + chance.uniform(0.1, 0.6)
        spoken.append((f"w{len(spoken)}", now_s, end_s))
        now_s = end_s + chance.choice((0.05, 0.1, 0.2, 1.0, 3.0))
    parts = [Part(0.0, 300.0), Part(300.0, 650.0), Part(650.0, math.inf)]
    heard = []
    for part in parts:
        end_s = min(part.end_s + chance.uniform(0, 30), 2000.0)
        words = [
            (text, begin + chance.uniform(-0.02, 0.02), stop + chance.uniform(-0.02, 0.02))
            for text, begin, stop in spoken
            if begin >= part.heard_from_s and stop <= end_s
        ]
        cuts = sorted({0, len(words), *(chance.randrange(1, len(words)) for _ in range(len(words) // 9))})
        finals = (final(*words[i:j], pause_s=0.02) for i, j in itertools.pairwise(cuts))
        heard.append((part, Heard(tuple(finals), end_s)))
    assert words_of(joined(heard)) == [text for text, _, _ in spoken]


def test_each_channel_is_joined_by_itself() -> None:
    left = [final(("a", 10, 11), channel=0), final(("b", 299, 302), channel=1)]
    right = [final(("b", 299, 302), channel=1), final(("c", 311, 313), channel=0)]
    found = joined([(LEFT, Heard(tuple(left), 310.0)), (RIGHT, Heard(tuple(right), 400.0))])
    assert sorted((each.channel, each.segment, each.transcript) for each in found) == [
        (0, 0, "a"),
        (0, 1, "c"),
        (1, 0, "b"),
    ]


def test_a_recording_shorter_than_its_header_says() -> None:
    left = [final(("a", 10, 11))]
    found = joined([(LEFT, Heard(tuple(left), 20.0)), (RIGHT, Heard((), 20.0))])
    assert words_of(found) == ["a"]
