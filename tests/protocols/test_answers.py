"""Answers to uploads, in every form."""

import json
from typing import Any

import pytest

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.answers import Answer, AnswerFormat, AnswerRequest
from pykaldi_server.protocols.gstreamer import parse_query
from pykaldi_server.protocols.messages import Status

WORD = {"word": "one", "start": 0.5, "length": 0.25, "confidence": 0.75}


def final(text: str, **fields: Any) -> dict[str, Any]:
    result = {"hypotheses": [{"transcript": text, **fields}], "final": True}
    return {"status": 0, "segment-start": 1.0, "total-length": 3.0, "result": result}


def partial(text: str) -> dict[str, Any]:
    return {"status": 0, "result": {"hypotheses": [{"transcript": text}], "final": False}}


def answer(query: str = "", *events: dict[str, Any]) -> Answer:
    collected = Answer("some-id", AnswerRequest.from_fields(parse_query(query)))
    for event in events:
        collected.add(event)
    return collected


def json_of(collected: Answer, *end: Any) -> Any:
    content_type, body = collected.content(*end)
    assert content_type == "application/json; charset=UTF-8"
    return json.loads(body)


def test_the_originals_object_joins_finals() -> None:
    collected = answer("", partial("one"), final("one two"), final(""), final("three"))
    assert json_of(collected, Status.SUCCESS) == {
        "status": 0,
        "id": "some-id",
        "hypotheses": [{"utterance": "one two three"}],
    }
    assert json_of(answer(), Status.SUCCESS)["hypotheses"] == [{"utterance": ""}]


def test_an_error_carries_what_was_recognised() -> None:
    assert json_of(answer(), Status.NO_SPEECH, "silence") == {
        "status": 1,
        "id": "some-id",
        "message": "silence",
    }
    for query in ("", "format=srt"):
        collected = answer(query, final("one"), partial("tw"))
        assert json_of(collected, Status.ABORTED, "cut off") == {
            "status": 2,
            "id": "some-id",
            "message": "cut off",
            "hypotheses": [{"utterance": "one"}],
            "partial": "tw",
        }


def test_words_and_alternatives() -> None:
    event = final("one", confidence=0.75, **{"word-alignment": [WORD]})
    event["result"]["hypotheses"].append({"transcript": "won"})
    segment = {
        "start": 1.0,
        "end": 3.0,
        "text": "one",
        "confidence": 0.75,
        "alternatives": ["won"],
        "words": [{"word": "one", "start": 1.5, "end": 1.75, "confidence": 0.75}],
    }
    for query in ("words=1", "nbest=2", "words=true&nbest=2"):
        assert json_of(answer(query, event), Status.SUCCESS)["segments"] == [segment]
    assert "segments" not in json_of(answer("words=0&nbest=1", event), Status.SUCCESS)


@pytest.mark.parametrize(
    ("name", "content_type", "body"),
    [
        ("text", "text/plain; charset=UTF-8", "one\ntwo\n"),
        ("SRT", "application/x-subrip; charset=UTF-8", "1\n00:00:01,000 --> 00:00:03,000\none two\n"),
        ("vtt", "text/vtt; charset=UTF-8", "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\none two\n"),
        ("ttml", "application/ttml+xml; charset=UTF-8", '<?xml version="1.0" encoding="UTF-8"?>\n<tt '),
    ],
)
def test_forms_of_text(name: str, content_type: str, body: str) -> None:
    found_type, found = answer(f"format={name}", final("one"), final("two")).content(Status.SUCCESS)
    assert found_type == content_type
    assert found.startswith(body)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("format=xml", "format: expected one of json, text, srt, vtt, ttml, found 'xml'"),
        ("words=many", "words: expected 0 or 1, found 'many'"),
        ("nbest=0", "nbest: expected a number above 0, found '0'"),
        ("nbest=-1", "nbest: expected a number above 0, found '-1'"),
        ("nbest=²", "nbest: expected a number above 0, found '²'"),
    ],
)
def test_invalid_wishes_are_refused_by_name(query: str, error: str) -> None:
    with pytest.raises(ProtocolError, match=error):
        AnswerRequest.from_fields(parse_query(query))


def test_fields_of_others_are_not_read() -> None:
    assert AnswerRequest.from_fields({}) == AnswerRequest(AnswerFormat.JSON)
