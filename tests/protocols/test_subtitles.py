"""Subtitles: limits of cues, words that are never lost, and the three forms."""

import itertools
import random
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.protocols.subtitles import SUBTITLE_WRITERS, Cue, cues, srt, ttml, vtt
from pykaldi_server.protocols.transcript import Segment, Word

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def segment(*words: Word, channel: int | None = None) -> Segment:
    text = " ".join(word.text for word in words)
    return Segment(text, words[0].start_s, words[-1].end_s, words=words, channel=channel)


def evenly(text: str, start_s: float = 0.0, word_s: float = 0.3) -> list[Word]:
    """Words one right after the other."""
    return [
        Word(each, start_s + index * word_s, start_s + (index + 1) * word_s)
        for index, each in enumerate(text.split())
    ]


def words_of(found: list[Cue]) -> list[str]:
    return " ".join(cue.text for cue in found).split()


def speech(seed: int, length_s: float, pause_chance: float) -> list[Word]:
    """Random words as people speak them: 8 to 22 characters per second, pauses here and there."""
    chance, words, now_s = random.Random(seed), list[Word](), 0.0
    while now_s < length_s:
        text = "".join(chance.choices(LETTERS, k=chance.choice((1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 14, 20))))
        end_s = now_s + max(0.09, len(text) / chance.uniform(8, 22))
        words.append(Word(text, now_s, end_s))
        now_s = end_s + (chance.expovariate(2) if chance.random() < pause_chance else 0)
    return words


def check_order(found: list[Cue]) -> None:
    assert all(cue.start_ms < cue.end_ms for cue in found)
    assert all(cue.end_ms <= following.start_ms for cue, following in itertools.pairwise(found))
    assert all(cue.text.count("\n") <= 1 for cue in found)


@pytest.mark.parametrize(("seed", "pause_chance"), [(0, 0.0), (1, 0.1), (2, 0.4)])
def test_every_cue_of_an_hour_is_within_the_limits(seed: int, pause_chance: float) -> None:
    """Also where segments end by their length only, in the middle of what is said."""
    words = speech(seed, 3600, pause_chance)
    segments = [segment(*words[start : start + 60]) for start in range(0, len(words), 60)]
    found = cues(segments)
    check_order(found)
    assert words_of(found) == [word.text for word in words]
    for cue in found:
        assert all(len(line) <= 42 for line in cue.text.split("\n"))
        assert 1000 <= cue.end_ms - cue.start_ms <= 7000
    first_words = {cue.start_ms for cue in found}
    assert first_words <= {round(1000 * word.start_s) for word in words}
    for word, following in itertools.pairwise(words):
        if following.start_s - word.end_s > 1.001:
            assert round(1000 * following.start_s) in first_words


@given(
    st.lists(
        st.tuples(st.text("abc-.,", min_size=1, max_size=50), st.floats(0, 3), st.floats(0, 9)), min_size=1
    ),
    st.integers(1, 20),
)
def test_no_word_is_lost_however_long_or_fast_it_is(drawn: list[tuple[str, float, float]], size: int) -> None:
    words, now_s = [], 0.0
    for text, gap_s, length_s in drawn:
        words.append(Word(text, now_s + gap_s, now_s + gap_s + length_s))
        now_s += gap_s + length_s
    found = cues(segment(*words[start : start + size]) for start in range(0, len(words), size))
    check_order(found)
    assert words_of(found) == [word.text for word in words]
    for cue in found:
        assert cue.end_ms - cue.start_ms <= 7000
        assert all(len(line) <= 42 or " " not in line for line in cue.text.split("\n"))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40))
def test_times_in_any_order_lose_no_word_either(times: list[float]) -> None:
    words = [Word(f"w{index}", time, time - 1) for index, time in enumerate(times)]
    found = cues([segment(*words)])
    check_order(found)
    assert words_of(found) == [word.text for word in words]


def test_what_is_said_too_fast_is_shown_as_long_as_it_lasts() -> None:
    found = cues([segment(*evenly(" ".join(["antidisestablishmentarianism"] * 20), word_s=0.1))])
    check_order(found)
    assert [cue.text.count(" ") + cue.text.count("\n") for cue in found] == [1] * 10
    assert [cue.end_ms - cue.start_ms for cue in found[:-1]] == [200] * 9


def test_a_word_longer_than_a_line_has_the_line_to_itself() -> None:
    word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk"
    found = cues([segment(*evenly(f"das {word} ist gross", word_s=0.8))])
    assert word in "\n".join(cue.text for cue in found).split("\n")
    assert words_of(found) == ["das", word, "ist", "gross"]


@pytest.mark.parametrize("text", ["今天我们来讨论语音识别系统。" * 12, "สวัสดีครับผมชื่อสมชาย" * 12])
def test_text_without_spaces_is_cut_between_characters(text: str) -> None:
    """One hypothesis of a post-processor that removes the spaces: a single word of a minute."""
    found = cues([Segment(text, 0.0, 60.0)])
    check_order(found)
    assert "".join(cue.text.replace("\n", "") for cue in found) == text
    for cue in found:
        assert 1000 <= cue.end_ms - cue.start_ms <= 7000
        for line in cue.text.split("\n"):
            assert len(line) <= (21 if text.startswith("今") else 42)
            assert not line.startswith("。")


def test_words_without_times_share_the_time_of_their_segment() -> None:
    text = " ".join(["word"] * 60)
    found = cues([Segment(text, 10.0, 30.0), Segment(text, 30.0, 50.0)])
    check_order(found)
    assert len(words_of(found)) == 120
    assert (found[0].start_ms, found[-1].end_ms) == (10_000, 50_000)
    assert all(1000 <= cue.end_ms - cue.start_ms <= 7000 for cue in found)


def test_cues_end_at_pauses_and_after_sentences() -> None:
    before = evenly("we were talking about it the whole evening")
    after = evenly("and then she came back", before[-1].end_s + 0.5)
    assert [cue.text for cue in cues([segment(*before, *after)])] == [
        "we were talking about it the whole evening",
        "and then she came back",
    ]
    sentences = evenly(
        "It was late that evening when the bell rang. Nobody moved for a while, then she stood up."
    )
    assert [cue.text.replace("\n", " ") for cue in cues([segment(*sentences)])] == [
        "It was late that evening when the bell rang.",
        "Nobody moved for a while, then she stood up.",
    ]


def test_lines_are_about_equally_long() -> None:
    (cue,) = cues([segment(*evenly("there was no possibility of taking a walk that day", word_s=0.3))])
    assert cue.text == "there was no possibility\nof taking a walk that day"


def test_a_short_word_is_shown_for_a_second_and_a_long_text_until_it_is_read() -> None:
    yes = Word("yes", 1.0, 1.2)
    fast = evenly("there was no possibility of taking a walk that day", 5.0, 0.1)
    later = Word("so", 10.0, 19.0)
    found = cues([segment(yes), segment(*fast), segment(later)])
    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(1000, 2000), (5000, 7941), (10_000, 17_000)]


def test_forms() -> None:
    first = segment(Word("one", 3599.0, 3599.5), Word("<two>", 3599.5, 3600.0005))
    second = segment(Word("three", 3610, 3611), Word("&\x07", 3611, 3612), Word("four", 3613, 3614))
    assert srt([first]) == "1\n00:59:59,000 --> 01:00:00,000\none <two>\n"
    assert vtt([first]) == "WEBVTT\n\n00:59:59.000 --> 01:00:00.000\none &lt;two&gt;\n"
    numbered = re.findall(r"^(\d+)\n(.*) --> (.*)\n(.*)\n", srt([first, second]), re.MULTILINE)
    assert numbered == [
        ("1", "00:59:59,000", "01:00:00,000", "one <two>"),
        ("2", "01:00:10,000", "01:00:12,000", "three &\x07"),
        ("3", "01:00:13,000", "01:00:14,000", "four"),
    ]
    paragraphs = ElementTree.fromstring(ttml([first, second]).encode()).iter("{http://www.w3.org/ns/ttml}p")
    assert [(each.get("begin"), each.get("end"), each.text) for each in paragraphs] == [
        ("00:59:59.000", "01:00:00.000", "one <two>"),
        ("01:00:10.000", "01:00:12.000", "three &"),
        ("01:00:13.000", "01:00:14.000", "four"),
    ]
    assert "there was no possibility<br/>of taking" in ttml(
        [segment(*evenly("there was no possibility of taking a walk that day"))]
    )
    assert {name: write([]) for name, write in SUBTITLE_WRITERS.items() if name != "ttml"} == {
        "srt": "",
        "vtt": "WEBVTT\n",
    }
    assert not list(ElementTree.fromstring(ttml([]).encode()).iter("{http://www.w3.org/ns/ttml}p"))


def test_subtitles_name_the_channel_within_the_limits() -> None:
    one = segment(*evenly("one <two> three four five six seven eight nine ten", 1.0), channel=0)
    other = Segment("three", 0.5, 1.5, channel=1)
    assert srt([one, other]).splitlines() == [
        "1",
        "00:00:00,500 --> 00:00:01,500",
        "Channel 2: three",
        "",
        "2",
        "00:00:01,000 --> 00:00:04,000",
        "Channel 1: one <two> three four five",
        "six seven eight nine ten",
    ]
    assert vtt([one, other]).splitlines()[2:] == [
        "00:00:00.500 --> 00:00:01.500",
        "<v Channel 2>three",
        "",
        "00:00:01.000 --> 00:00:04.000",
        "<v Channel 1>one &lt;two&gt; three four five",
        "six seven eight nine ten",
    ]
    many = cues([segment(*speech(1, 600, 0.1), channel=0)])
    assert all(len(line) <= 42 for cue in many for line in f"Channel 1: {cue.text}".split("\n"))
