"""Events of a session as messages of the protocol, and back.

These functions are apart from `protocols.gstreamer` so that a master needs no recogniser.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import ADAPTATION_STATE_TYPE, encode_adaptation_state
from pykaldi_server.protocols.messages import Message, Status, dumps, excerpt
from pykaldi_server.session.events import (
    AdaptationState,
    AlignedPhone,
    AlignedWord,
    Event,
    Final,
    Hypothesis,
    Partial,
    shifted,
)

__all__ = ["event_message", "final_from_message"]

T = TypeVar("T")


def event_message(event: Event, request_id: str, now: datetime | None = None) -> Message:
    """Makes the message for an event of a session.

    Args:
        event: what the session returned.
        request_id: id of the request.
        now: the time to put on an adaptation state; None is the current local time.
    """
    match event:
        case Partial():
            return _partial(event, request_id)
        case Final():
            return _final(event, request_id) if event.message is None else dict(event.message)
        case AdaptationState():
            from pykaldi_server.session.adaptation import split_state  # with NumPy

            # The channel is inside, too, so that a client may send back what it gets as it is.
            channel = _channel(event)
            value, cmvn_state = split_state(event.value)
            state = {
                "id": request_id,
                "value": encode_adaptation_state(value),
                "type": ADAPTATION_STATE_TYPE,
                "time": (now or datetime.now()).strftime("%Y-%m-%dT%H:%M:%S"),
                **channel,
            }
            if cmvn_state is not None:
                state["cmvn_state"] = encode_adaptation_state(cmvn_state)
            return {
                "status": int(Status.SUCCESS),
                "id": request_id,
                **channel,
                "adaptation_state": state,
            }


def final_from_message(message: Message, original: Final, request_id: str) -> Final:
    """Reads what a program has made of the message of a final result.

    Args:
        message: the program's answer, which is to be sent as it is. Fields outside ``hypotheses`` that it
            lacks are completed.
        original: the result that the program was given.
        request_id: id of the request.

    Raises:
        ProtocolError: the answer is not the message of a final result.
    """
    result = message.get("result")
    hypotheses = result.get("hypotheses") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(hypotheses, list) or not hypotheses:
        raise ProtocolError(f"expected hypotheses of a result, found {excerpt(message)}")
    for hypothesis in hypotheses:
        if not isinstance(hypothesis, dict) or not isinstance(hypothesis.get("transcript"), str):
            raise ProtocolError(f"expected a transcript in a hypothesis, found {excerpt(hypothesis)}")
    completed = {**_final(original, request_id), **message, "result": {**result, "final": True}}
    if completed["status"] != Status.SUCCESS or result.get("final", True) is not True:
        raise ProtocolError(f"expected status 0 and a final result, found {excerpt(message)}")
    completed["status"] = int(Status.SUCCESS)
    for hypothesis, given in zip(hypotheses, original.hypotheses, strict=False):
        hypothesis.setdefault("original-transcript", given.transcript)
    try:
        dumps(completed)
    except ValueError as error:
        raise ProtocolError(f"expected numbers that JSON has, found {error}") from None
    read = tuple(_read_hypothesis(each, original.hypotheses[0].likelihood) for each in hypotheses)
    return replace(original, hypotheses=read, message=completed)


def _partial(partial: Partial, request_id: str) -> Message:
    """A partial result; only one with words says where its segment starts, from which their times count."""
    hypothesis: Message = {"transcript": partial.transcript}
    message: Message = {
        "status": int(Status.SUCCESS),
        "segment": partial.segment,
        "id": request_id,
        **_channel(partial),
    }
    if partial.stable_prefix:
        hypothesis["stable-prefix"] = partial.stable_prefix
    if partial.final_prefix:
        hypothesis["final-prefix"] = partial.final_prefix
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


def _final(final: Final, request_id: str) -> Message:
    return {
        "status": int(Status.SUCCESS),
        "segment": final.segment,
        "id": request_id,
        **_channel(final),
        "segment-start": _seconds(final.start_s),
        "segment-length": _seconds(final.length_s),
        "total-length": _seconds(final.total_length_s),
        "result": {"hypotheses": [_hypothesis(each) for each in final.hypotheses], "final": True},
    }


def _channel(event: Event) -> Message:
    """The number of an event's channel, where each channel is recognised by itself."""
    return {} if event.channel is None else {"channel": event.channel}


def _hypothesis(hypothesis: Hypothesis) -> Message:
    message: Message = {"transcript": hypothesis.transcript, "likelihood": hypothesis.likelihood}
    if hypothesis.confidence is not None:
        message["confidence"] = hypothesis.confidence
    if hypothesis.original_transcript is not None:
        message["original-transcript"] = hypothesis.original_transcript
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


def _read_hypothesis(message: Mapping[str, Any], likelihood: float) -> Hypothesis:
    """A hypothesis with what a program has left of it; what has another form than ours is left out."""
    original = message.get("original-transcript")
    return Hypothesis(
        transcript=message["transcript"],
        likelihood=_number(message.get("likelihood"), likelihood),
        confidence=_number(message.get("confidence"), None),
        words=_read_words(message.get("word-alignment", [])),
        phones=_read_phones(message.get("phone-alignment", [])),
        original_transcript=original if isinstance(original, str) else None,
    )


def _read_words(alignment: Any) -> tuple[AlignedWord, ...]:
    try:
        return tuple(AlignedWord(str(each["word"]), *_place(each)) for each in alignment)
    except (LookupError, TypeError, ValueError):
        return ()


def _read_phones(alignment: Any) -> tuple[AlignedPhone, ...]:
    try:
        return tuple(AlignedPhone(str(each["phone"]), *_place(each)) for each in alignment)
    except (LookupError, TypeError, ValueError):
        return ()


def _place(message: Mapping[str, Any]) -> tuple[float, float, float]:
    return float(message["start"]), float(message["length"]), float(message["confidence"])


def _number(value: Any, default: T) -> float | T:
    return float(value) if isinstance(value, int | float) else default


def _seconds(value: float) -> float:
    """Times to the millisecond: 1.47, not 1.4700000000000002."""
    return round(value, 3)
