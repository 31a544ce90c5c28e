"""The events of OpenAI's realtime API, checked against the models of OpenAI's own package."""

import base64
import json
from collections.abc import Iterable
from typing import Any, get_args

from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)
from pydantic import BaseModel

Event = dict[str, Any]
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def _models(union: Any) -> dict[str, type[BaseModel]]:
    """The models of a union by the type of their events."""
    members = get_args(get_args(union)[0])
    return {get_args(each.model_fields["type"].annotation)[0]: each for each in members}


MODELS = _models(RealtimeServerEvent)
BETA_MODELS = _models(BetaServerEvent)
# What the server sends as the first event of a session, which the package has no model of.
BETA_MODELS["transcription_session.created"] = BETA_MODELS["transcription_session.updated"]
# Described in the package's docstrings; its models leave them out.
ALLOWED_EXTRAS = {"session.id", "session.object", "session.turn_detection.eagerness"}
BETA_EXTRAS = {"session.id", "session.object", "session.include", "session.input_audio_noise_reduction"}


def _extras(model: object, where: str = "") -> Iterable[str]:
    """Where a parsed event has fields that its model does not know."""
    if isinstance(model, BaseModel):
        prefix = f"{where}." if where else ""
        yield from (prefix + name for name in model.model_extra or ())
        for name in type(model).model_fields:
            yield from _extras(getattr(model, name), prefix + name)
    elif isinstance(model, list):
        for each in model:
            yield from _extras(each, where)


def check_event(event: Event, is_beta: bool = False) -> None:
    """Fails on an event that is not exactly one of the package's."""
    kind = event["type"]
    checked = dict(event)
    if kind.startswith("transcription_session."):
        is_beta = True
        # The server says null over WebSockets, and so says the package's docstring; its model wants a key.
        assert checked["session"]["client_secret"] is None
        key = {"value": "ek_x", "expires_at": 1}
        checked |= {"session": {**checked["session"], "client_secret": key}, "type": kind[:-7] + "updated"}
    models, allowed = (BETA_MODELS, BETA_EXTRAS) if is_beta else (MODELS, ALLOWED_EXTRAS)
    parsed = models[kind].model_validate_json(json.dumps(checked), strict=True)
    assert set(_extras(parsed)) <= allowed, kind
    if kind in ("session.created", "session.updated") and not is_beta:
        session = RealtimeTranscriptionSessionCreateResponse.model_validate(event["session"], strict=True)
        assert set(_extras(session)) <= {"audio.input.turn_detection.eagerness"}


def check_events(events: Iterable[Event], is_beta: bool = False) -> list[Event]:
    """Checks events of a session one by one and their order: what every session keeps to."""
    checked = list(events)
    for event in checked:
        check_event(event, is_beta)
    assert len({event["event_id"] for event in checked}) == len(checked)
    committed = [event for event in checked if event["type"] == "input_audio_buffer.committed"]
    ids = [event["item_id"] for event in committed]
    assert len(set(ids)) == len(ids)
    assert [event["previous_item_id"] for event in committed] == [None, *ids][: len(ids)]
    completed = [event for event in checked if event["type"] == f"{TRANSCRIPTION}.completed"]
    assert [event["item_id"] for event in completed] == ids[: len(completed)]
    for event in completed:
        assert "".join(deltas_of(checked, event["item_id"])) == event["transcript"]
    return checked


def deltas_of(events: Iterable[Event], item_id: str) -> list[str]:
    """The pieces of text of an item."""
    return [
        event["delta"]
        for event in events
        if event["type"] == f"{TRANSCRIPTION}.delta" and event["item_id"] == item_id
    ]


def transcripts_of(events: Iterable[Event]) -> list[str]:
    """The transcripts of the items that are complete."""
    return [event["transcript"] for event in events if event["type"] == f"{TRANSCRIPTION}.completed"]


def types_of(events: Iterable[Event]) -> list[str]:
    """The types of events, without the common beginning."""
    return [event["type"].removeprefix(f"{TRANSCRIPTION}.") for event in events]


def append(audio: bytes, **fields: Any) -> Event:
    """The client's event with audio."""
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode(), **fields}


COMMIT: Event = {"type": "input_audio_buffer.commit"}
CLEAR: Event = {"type": "input_audio_buffer.clear"}


def update(**audio_input: Any) -> Event:
    """The client's event with settings of the audio."""
    session = {"type": "transcription", "audio": {"input": audio_input}}
    return {"type": "session.update", "session": session}
