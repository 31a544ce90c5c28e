"""What a session tells, as messages. Apart from `protocol`, so that a master needs no recogniser."""

from collections.abc import Iterable
from datetime import datetime

from pykaldi_server.protocols.gstreamer import ADAPTATION_STATE_TYPE, encode_adaptation_state
from pykaldi_server.protocols.messages import Message, Status
from pykaldi_server.session.events import (
    AdaptationState,
    AlignedWord,
    Event,
    Final,
    Hypothesis,
    Partial,
    shifted,
)


def event_message(event: Event, request_id: str, now: datetime | None = None) -> Message:
    """The message that tells an event of a session.

    Args:
        event: what the session told.
        request_id: id of the request.
        now: the time to put on an adaptation state; None is the present local time.
    """
    match event:
        case Partial():
            return _partial(event, request_id)
        case Final():
            hypotheses = [_hypothesis(hypothesis) for hypothesis in event.hypotheses]
            return {
                "status": int(Status.SUCCESS),
                "segment": event.segment,
                "id": request_id,
                "segment-start": _seconds(event.start_s),
                "segment-length": _seconds(event.length_s),
                "total-length": _seconds(event.total_length_s),
                "result": {"hypotheses": hypotheses, "final": True},
            }
        case AdaptationState():
            state = {
                "id": request_id,
                "value": encode_adaptation_state(event.value),
                "type": ADAPTATION_STATE_TYPE,
                "time": (now or datetime.now()).strftime("%Y-%m-%dT%H:%M:%S"),
            }
            return {"status": int(Status.SUCCESS), "id": request_id, "adaptation_state": state}


def _partial(partial: Partial, request_id: str) -> Message:
    """A partial result; only one with words says where its segment starts, from which their times count."""
    hypothesis: Message = {"transcript": partial.transcript}
    message: Message = {"status": int(Status.SUCCESS), "segment": partial.segment, "id": request_id}
    if partial.words:
        message["segment-start"] = _seconds(partial.start_s)
        hypothesis["word-alignment"] = _words(shifted(partial.words, -partial.start_s))
    return {**message, "result": {"hypotheses": [hypothesis], "final": False}}


def _words(words: Iterable[AlignedWord]) -> list[Message]:
    return [
        {
            "word": each.word,
            "start": _seconds(each.start_s),
            "length": _seconds(each.length_s),
            "confidence": each.confidence,
        }
        for each in words
    ]


def _hypothesis(hypothesis: Hypothesis) -> Message:
    message: Message = {"transcript": hypothesis.transcript, "likelihood": hypothesis.likelihood}
    if hypothesis.confidence is not None:
        message["confidence"] = hypothesis.confidence
    if hypothesis.words:
        message["word-alignment"] = _words(hypothesis.words)
    if hypothesis.phones:
        message["phone-alignment"] = [
            {
                "phone": p.phone,
                "start": _seconds(p.start_s),
                "length": _seconds(p.length_s),
                "confidence": p.confidence,
            }
            for p in hypothesis.phones
        ]
    return message


def _seconds(value: float) -> float:
    """Times to the millisecond: 1.47, not 1.4700000000000002."""
    return round(value, 3)
