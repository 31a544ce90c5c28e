"""Transcripts as files: every format against what its readers expect."""

import csv
import io
import json

import pytest

from pykaldi_server.protocols.subtitles import srt
from pykaldi_server.protocols.transcript import Segment, Word
from pykaldi_server.protocols.transcript_formats import CSV_COLUMNS, TRANSCRIPT_WRITERS

WORDS = (Word("two", 0.5, 0.9, 0.75), Word("nine", 1.0, 1.41, 1.0))
SEGMENT = Segment("two nine", 0.0, 2.0, 0.875, WORDS, ("two mine",))
WITHOUT_TIMES = Segment('20 "€", yes\nindeed', 2.0, 4.0)


def written(ending: str, *segments: Segment, name: str = "a b.wav") -> str:
    return TRANSCRIPT_WRITERS[ending](segments, name)


def test_formats_are_those_of_the_command_line() -> None:
    assert list(TRANSCRIPT_WRITERS) == ["txt", "srt", "vtt", "ttml", "json", "ctm", "stm", "csv"]
    assert written("srt", SEGMENT) == srt([SEGMENT])


def test_text_has_one_line_per_segment() -> None:
    assert written("txt", SEGMENT, WITHOUT_TIMES) == 'two nine\n20 "€", yes indeed\n'
    assert written("txt", Segment("yes", 0, 1, channel=1)) == "Channel 2: yes\n"


def test_json_is_one_object_with_everything() -> None:
    text = written("json", SEGMENT, WITHOUT_TIMES)
    assert text.count("\n") == 1
    answer = json.loads(text)
    assert (answer["file"], answer["text"]) == ("a b.wav", 'two nine 20 "€", yes\nindeed')
    assert answer["segments"][0] == SEGMENT.message()


def test_ctm_has_one_line_per_word() -> None:
    lines = written("ctm", SEGMENT, WITHOUT_TIMES).splitlines()
    assert lines[:2] == ["a_b 1 0.500 0.400 two 0.750", "a_b 1 1.000 0.410 nine 1.000"]
    assert [line.split(" ")[2:] for line in lines[2:]] == [
        ["2.000", "0.500", "20"],
        ["2.500", "0.500", '"€",'],
        ["3.000", "0.500", "yes"],
        ["3.500", "0.500", "indeed"],
    ]


@pytest.mark.parametrize("ending", ["ctm", "stm"])
def test_tables_of_speech_research_are_sorted_by_channel(ending: str) -> None:
    segments = [Segment(text, at, at + 1, channel=channel) for text, at, channel in
                (("a", 0.0, 1), ("b", 1.0, 0), ("c", 2.0, 1))]  # fmt: skip
    lines = written(ending, *segments).splitlines()
    assert [(line.split()[1], line.split()[-1]) for line in lines] == [("1", "b"), ("2", "a"), ("2", "c")]


def test_stm_has_one_line_per_segment() -> None:
    assert written("stm", SEGMENT, WITHOUT_TIMES).splitlines() == [
        "a_b 1 a_b-1 0.500 1.410 two nine",
        'a_b 1 a_b-1 2.000 4.000 20 "€", yes indeed',
    ]


def test_csv_can_be_read_back() -> None:
    one_side = Segment("no", 4.0, 5.0, channel=1)
    rows = list(csv.DictReader(io.StringIO(written("csv", SEGMENT, WITHOUT_TIMES, one_side))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[0] == dict(
        zip(CSV_COLUMNS, ("a b.wav", "", "0.500", "1.410", "0.875", "two nine"), strict=True)
    )
    assert rows[1]["text"] == WITHOUT_TIMES.text
    assert (rows[1]["confidence"], rows[2]["channel"]) == ("", "2")


@pytest.mark.parametrize("ending", list(TRANSCRIPT_WRITERS))
def test_nothing_recognised(ending: str) -> None:
    text = written(ending)
    assert "two" not in text
    expected = {"txt": "", "ctm": "", "stm": "", "srt": "", "csv": ",".join(CSV_COLUMNS) + "\n"}
    assert text == expected.get(ending, text)
