"""What programs that follow a telephone call hear, whichever protocol brings the call in.

    {"status": 0, "call": ID, "event": "start", "parameters": {...}}
    {"status": 0, "call": ID, "track": "inbound", "id": REQUEST, "segment": 0, "result": {...}}
    {"status": 0, "call": ID, "track": "inbound", "event": "dtmf", "digit": "5"}
    {"status": 9, "call": ID, "track": "inbound", "id": REQUEST, "message": "..."}
    {"status": 0, "call": ID, "event": "end"}

Results and errors are those of `protocols.gstreamer` with the call and its track added: the direction of the
speech, ``inbound`` from the caller, ``outbound`` to the caller.
"""

from collections import deque
from collections.abc import Mapping

from pykaldi_server.protocols.gstreamer import error_message, is_final, transcript_of
from pykaldi_server.protocols.messages import Message, Status

__all__ = ["INBOUND", "OUTBOUND", "Backlog", "call_message", "digit", "end", "error", "is_partial", "start"]

INBOUND = "inbound"
OUTBOUND = "outbound"


def start(call: str, parameters: Mapping[str, str]) -> Message:
    """A call has begun; the parameters are those that its protocol brings along."""
    return {"status": 0, "call": call, "event": "start", "parameters": dict(parameters)}


def end(call: str) -> Message:
    """A call has ended; nothing more comes of it."""
    return {"status": 0, "call": call, "event": "end"}


def digit(call: str, track: str, pressed: str) -> Message:
    """A key has been pressed (DTMF)."""
    return {"status": 0, "call": call, "track": track, "event": "dtmf", "digit": pressed}


def error(call: str, track: str, status: Status, text: str, request_id: str) -> Message:
    """The recognition of a track has failed."""
    return {**error_message(status, text, request_id), "call": call, "track": track}


def call_message(call: str, track: str, event: Message) -> Message | None:
    """A recogniser's event for those who follow the call; None for what is not a result."""
    if transcript_of(event) is None:
        return None
    return {**event, "call": call, "track": track}


def is_partial(message: Message) -> bool:
    """Whether a later result of the same track makes this message superfluous."""
    return "result" in message and not is_final(message)


def _track(message: Message) -> tuple[object, object]:
    return message.get("id"), message.get("track")


class Backlog:
    """Messages that a listener has not taken yet. A partial result gives way to the next one of its track.

    Args:
        limit: the number of messages that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> bool:
        """Adds a message; False when there are too many, and it is not added."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and is_partial(last) and "result" in message and _track(last) == _track(message):
            self._waiting.pop()
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(message)
        return True

    def take(self) -> Message:
        """Removes the oldest message."""
        return self._waiting.popleft()
