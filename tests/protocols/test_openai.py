"""OpenAI's forms and answers without a server."""

import json
from typing import Any

import pytest

from pykaldi_server.protocols.openai import (
    RequestError,
    Transcription,
    TranscriptionRequest,
    models_object,
    own_model,
)


def final(text: str, start_s: float, confidence: float = 0.5) -> dict[str, Any]:
    words = [{"word": "w", "start": 0.5, "length": 0.25, "confidence": confidence}]
    hypothesis = {"transcript": text, "confidence": confidence, "word-alignment": words}
    result = {"hypotheses": [hypothesis], "final": True}
    return {"status": 0, "segment-start": start_s, "total-length": start_s + 2, "result": result}


def transcription(*events: dict[str, Any]) -> Transcription:
    collected = Transcription()
    collected.duration_s = 5.0
    for event in events:
        collected.add(event)
    return collected


def test_fields_of_a_form() -> None:
    assert TranscriptionRequest.from_fields({}) == TranscriptionRequest("json", ("segment",), False, "")
    fields = {
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["word", "segment"],
        "stream": ["True"],
        "language": ["et"],
        "prompt": ["ignored"],
    }
    wanted = TranscriptionRequest("verbose_json", ("word", "segment"), True, "et")
    assert TranscriptionRequest.from_fields(fields) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [("response_format", "xml"), ("timestamp_granularities[]", "phone"), ("stream", "perhaps")],
)
def test_invalid_fields_are_named(name: str, value: str) -> None:
    param = name.removesuffix("[]")
    with pytest.raises(RequestError, match=f"{param}: expected .*, found '{value}'") as error:
        TranscriptionRequest.from_fields({name: [value]})
    assert error.value.param == param


def test_verbose_json_has_the_times_that_are_asked_for() -> None:
    collected = transcription(final("w", 0.0), final("w", 2.0, 0.0))
    content_type, body = collected.answer(TranscriptionRequest("verbose_json", ("word", "segment")))
    assert content_type == "application/json; charset=UTF-8"
    answer = json.loads(body)
    assert (answer["task"], answer["duration"], answer["text"]) == ("transcribe", 5.0, "w w")
    assert answer["words"] == [
        {"word": "w", "start": 0.5, "end": 0.75},
        {"word": "w", "start": 2.5, "end": 2.75},
    ]
    assert [(each["id"], each["seek"], each["start"], each["end"]) for each in answer["segments"]] == [
        (0, 0, 0.0, 2.0),
        (1, 200, 2.0, 4.0),
    ]
    assert answer["segments"][0]["avg_logprob"] == pytest.approx(-0.693, abs=1e-3)
    assert answer["segments"][1]["avg_logprob"] < -10  # finite, whatever the confidence
    only_words = json.loads(collected.answer(TranscriptionRequest("verbose_json", ("word",)))[1])
    assert "segments" not in only_words


def test_events_tell_each_text_once() -> None:
    collected = transcription(final("öö", 0.0))
    assert collected.new_events() == 'data: {"type": "transcript.text.delta", "delta": "öö"}\n\n'
    assert collected.new_events() == ""
    collected.add(final("tere", 2.0))
    assert collected.last_events() == (
        'data: {"type": "transcript.text.delta", "delta": " tere"}\n\n'
        'data: {"type": "transcript.text.done", "text": "öö tere"}\n\n'
        "data: [DONE]\n\n"
    )


def test_models() -> None:
    assert models_object(["english"], 7) == {
        "object": "list",
        "data": [{"id": "english", "object": "model", "created": 7, "owned_by": "pykaldi-server"}],
    }
    assert [own_model(name) for name in ("", "whisper-1", "gpt-4o-transcribe", "english")] == [
        None,
        None,
        None,
        "english",
    ]
