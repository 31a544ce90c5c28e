"""OpenAI's realtime API, for sessions that transcribe: what its clients say and hear over a WebSocket.

    client --session.update, input_audio_buffer.*--> Dialogue --messages of `gstreamer`--> recogniser
    client <--input_audio_buffer.*, items, text----- Dialogue <--events, positions-------- recogniser

The client's audio is cut into *items*, each of which has one transcript. With turn detection, items are the
segments of the recogniser, and a client may *commit* what comes after the last one. Without it all items are
what the client commits, which may be several segments: their texts are joined. A commit ends the segment by
a reset of the recogniser, and its item is complete when the recogniser has come as far as that: then all
words of the item are known, also if there are none. What is cleared ends by a reset, too, and its words are
dropped.

The recogniser may be behind the client. With turn detection a commit is therefore answered when it has come
to it: how fast the recogniser is does not decide which turns there are.

Text is sent while a person speaks, in pieces (*deltas*) that join to the transcript: only what the final
result is known to keep. There is none before the end of a segment if the model weighs words again there.

Source: the types and docstrings of OpenAI's Python client (``types/realtime``, ``types/beta/realtime``) and
OpenAI's guide "Realtime transcription".
"""

import base64
import binascii
import math
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import audio_messages, is_final, transcript_of
from pykaldi_server.protocols.messages import Message, Status, dumps, excerpt, message_bytes, parse_object
from pykaldi_server.protocols.openai import RequestError
from pykaldi_server.protocols.realtime_settings import ChooseModel, Settings
from pykaldi_server.protocols.transcript import Segment
from pykaldi_server.protocols.worker import Position

__all__ = ["MAX_AUDIO_BYTES", "Dialogue", "error_event"]

MAX_AUDIO_BYTES = 15 * 1024**2
"""Of one message, decoded."""

MAX_EVENT_ID_CHARACTERS = 512
RECOGNITION_DELAY_S = 0.3
"""A word appears in a partial result 0.3 to 0.6 s after it began (measured with the English model), and the
last position is up to 0.35 s (`protocols.worker.PIECE_BYTES`) before that."""
INCOMPLETE_FRAME_S = 0.1
"""The end of the audio that makes no frame, of any model, is shorter."""

_RESET = '{"reset": true}'
_LEAST_CONFIDENCE = 1e-6
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_CONVERSATION = (
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "output_audio_buffer.clear",
    "response.cancel",
    "response.create",
)
_UPDATES = ("session.update", "transcription_session.update")
_BUFFER = ("input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear")
# What a client can do something about, as opposed to failures of the server.
_CLIENTS_FAULTS = (Status.NO_SPEECH, Status.AUDIO_CAPTURE, Status.NOT_ALLOWED)


def error_event(
    message: str,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    client_event_id: str | None = None,
) -> Message:
    """An event that reports an error.

    Args:
        message: what is wrong.
        kind: ``invalid_request_error`` or ``server_error``.
        param: the field that is wrong.
        code: what is wrong, for programs.
        client_event_id: ``event_id`` of the client's message that caused it, if it had one.
    """
    error = {"type": kind, "code": code, "message": message, "param": param, "event_id": client_event_id}
    return {"type": "error", "event_id": _new_id("event"), "error": error}


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


@dataclass
class _Item:
    """A piece of the client's audio that gets one transcript.

    Attributes:
        id: its name.
        start_s: where it starts, in seconds of the stream.
        end_s: where it ends; 0.0 while that is not known.
        has_speech: the client knows that speech has begun.
        is_committed: the client knows that the item's audio is complete.
        segments: the final results that belong to it.
        told: the text that the client has.
    """

    id: str
    start_s: float
    end_s: float = 0.0
    has_speech: bool = False
    is_committed: bool = False
    segments: list[Segment] = field(default_factory=list)
    told: str = ""

    @property
    def transcript(self) -> str:
        return " ".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class _Boundary:
    """The end of an item that the recogniser has not come to yet.

    Attributes:
        num_bytes: the position after its reset.
        is_clear: the audio before it has been cleared.
        is_announced: the client knows of the item before it.
        next_item: what the audio after it belongs to.
    """

    num_bytes: int
    is_clear: bool
    is_announced: bool
    next_item: _Item


class Dialogue:
    """One session.

    Args:
        settings: what holds until the client changes it.
        choose_model: see `ChooseModel`.
        is_beta: the client expects the events of the beta.

    Attributes:
        id: name of the session.
        settings: what the client has set.
        started_with: the settings when the first audio came, with which the recogniser works; None before.
    """

    def __init__(self, settings: Settings, choose_model: ChooseModel, is_beta: bool = False) -> None:
        self.id = _new_id("sess")
        self.settings = settings
        self.started_with: Settings | None = None
        self._choose_model = choose_model
        self._is_beta = is_beta
        self._replies: list[Message] = []
        self._sent_bytes = 0  # to the recogniser, resets included
        self._audio_bytes = 0
        self._position_s = 0.0  # how far the recogniser has come
        self._item = _Item(_new_id("item"), 0.0)  # the one at which the recogniser is
        self._boundaries: deque[_Boundary] = deque()  # between that and the one at which the client is
        self._last_item_id: str | None = None

    def begin(self) -> None:
        """The client has connected."""
        kind = "transcription_session.created" if self._is_beta else "session.created"
        self._reply(kind, session=self._session_object(self._is_beta))

    def receive(self, message: str | bytes) -> list[str | bytes]:
        """Takes a message of the client; what is wrong with it is among the replies.

        Returns:
            The messages of `protocols.gstreamer` that are to be sent to the recogniser. The first ones begin
            a request with `settings`.
        """
        event: Message = {}
        try:
            if isinstance(message, bytes):
                raise ProtocolError(f"an event: expected a text, found {len(message)} bytes of binary data")
            event = parse_object(message, "an event")
            return self._handle(event)
        except RequestError as error:
            self._refuse(event, str(error), error.param, error.code)
        except ProtocolError as error:
            self._refuse(event, str(error), None, "invalid_event")
        return []

    def hear(self, event: Message) -> None:
        """Takes an event of the recogniser."""
        text = transcript_of(event)
        if text is None or (self._boundaries and self._boundaries[0].is_clear):
            return
        item = self._item
        finds_turns = self.settings.turn_detection is not None and not item.is_committed
        if not is_final(event):
            if finds_turns and text:
                self._begin_speech(item, self._position_s - RECOGNITION_DELAY_S)
            prefix = event["result"]["hypotheses"][0].get("final-prefix")
            if isinstance(prefix, str) and prefix:
                self._tell(item, " ".join(filter(None, (item.transcript, prefix))))
            return
        end_s = self._position_s
        segment = Segment.from_event(event)  # None where a post-processor has taken all words away
        if segment is not None:
            end_s = segment.end_s
            item.segments.append(segment)
            if finds_turns:
                self._begin_speech(item, segment.words[0].start_s if segment.words else segment.start_s)
            self._tell(item, item.transcript)
        if finds_turns and item.has_speech and not self._is_committed_at(end_s):
            self._end_turn(item, end_s)

    def _is_committed_at(self, end_s: float) -> bool:
        """Whether a segment that ends there has been ended by the commit that comes next."""
        return bool(self._boundaries) and end_s > self._boundaries[0].next_item.start_s - INCOMPLETE_FRAME_S

    def consumed(self, position: Position) -> None:
        """Notes how far the recogniser has come. Events that belong to the position have been heard."""
        self._position_s = position.audio_s
        while self._boundaries and self._boundaries[0].num_bytes <= position.num_bytes:
            boundary = self._boundaries.popleft()
            item, self._item = self._item, boundary.next_item
            if not boundary.is_clear:
                item.end_s = self._item.start_s
                self._commit_item(item)
                self._complete(item)

    def fail(self, status: Status, message: str, code: str | None = None) -> None:
        """The recogniser has ended: fails what is not complete."""
        kind = "invalid_request_error" if status in _CLIENTS_FAULTS else "server_error"
        for item in (self._item, *(boundary.next_item for boundary in self._boundaries)):
            if item.is_committed or item.has_speech or item.told:
                error = {"type": kind, "code": code, "message": message, "param": None}
                self._reply(f"{_TRANSCRIPTION}.failed", item_id=item.id, content_index=0, error=error)
        self._boundaries.clear()
        self._replies.append(error_event(message, kind, code=code))

    def replies(self) -> list[str]:
        """The events for the client since the last call, in order."""
        replies, self._replies = self._replies, []
        return [dumps(each) for each in replies]

    # From the client

    def _handle(self, event: Message) -> list[str | bytes]:
        event_id = event.get("event_id")
        if event_id is not None and (
            not isinstance(event_id, str) or len(event_id) > MAX_EVENT_ID_CHARACTERS
        ):
            expected = f"a text of at most {MAX_EVENT_ID_CHARACTERS} characters"
            raise RequestError(
                f"event_id: expected {expected}, found {excerpt(event_id)}", "event_id", "invalid_value"
            )
        match event.get("type"):
            case "input_audio_buffer.append":
                return self._append(event)
            case "input_audio_buffer.commit":
                return self._commit()
            case "input_audio_buffer.clear":
                return self._clear()
            case "session.update" | "transcription_session.update" as kind:
                self._update(event, kind)
                return []
            case kind if kind in _CONVERSATION:
                text = f"type: this session transcribes audio and holds no conversation; {kind} is not served"
                raise RequestError(text, "type", "unsupported_event")
        known = ", ".join((*_UPDATES, *_BUFFER))
        text = f"type: expected one of {known}, found {excerpt(event.get('type'))}"
        raise RequestError(text, "type", "invalid_value")

    def _update(self, event: Message, kind: str) -> None:
        settings = self.settings.updated(event.get("session"), self._choose_model)
        if self.started_with is not None:
            _check_unchanged(self.started_with, settings)
        self.settings = settings
        is_beta = self._is_beta or kind == "transcription_session.update"
        self._reply(f"{kind}d", session=self._session_object(is_beta))

    def _append(self, event: Message) -> list[str | bytes]:
        audio = event.get("audio")
        if not isinstance(audio, str):
            found = excerpt(audio)
            raise RequestError(f"audio: expected base64, found {found}", "audio", "invalid_type")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            text = f"audio: expected base64, found {excerpt(audio)}"
            raise RequestError(text, "audio", "invalid_base64") from None
        if len(data) > MAX_AUDIO_BYTES:
            text = f"audio: expected at most {MAX_AUDIO_BYTES} bytes in one event, found {len(data)}"
            raise RequestError(text, "audio", "audio_too_large")
        if data and self.started_with is None:
            self.started_with = self.settings
        self._audio_bytes += len(data)
        return self._sending(*audio_messages(data))

    def _commit(self) -> list[str | bytes]:
        item = self._client_item
        if self._appended_s <= item.start_s:
            text = "the input audio buffer: expected audio to commit, found none"
            raise RequestError(text, None, "input_audio_buffer_commit_empty")
        is_first = all(boundary.is_clear or boundary.is_announced for boundary in self._boundaries)
        if self.settings.turn_detection is None and is_first:
            self._commit_item(item)
        return self._end_item(is_clear=False)

    def _clear(self) -> list[str | bytes]:
        self._reply("input_audio_buffer.cleared")
        has_audio = self._appended_s > self._client_item.start_s
        return self._end_item(is_clear=True) if has_audio else []

    def _end_item(self, is_clear: bool) -> list[str | bytes]:
        """Has the recogniser finish the audio so far, and begins another item."""
        is_announced = self._client_item.is_committed
        half_sample = self._audio_bytes % self.settings.audio_format.value.sample_bytes
        self._audio_bytes += half_sample
        messages = self._sending(*([b"\0"] if half_sample else []), _RESET)
        next_item = _Item(_new_id("item"), self._appended_s)
        self._boundaries.append(_Boundary(self._sent_bytes, is_clear, is_announced, next_item))
        return messages

    @property
    def _client_item(self) -> _Item:
        """What the client's next audio belongs to, unless a turn ends before it."""
        return self._boundaries[-1].next_item if self._boundaries else self._item

    def _sending(self, *messages: str | bytes) -> list[str | bytes]:
        self._sent_bytes += sum(map(message_bytes, messages))
        return list(messages)

    @property
    def _appended_s(self) -> float:
        """Length of the audio that has come."""
        return self._audio_bytes / self.settings.audio_format.bytes_per_s

    # To the client

    def _session_object(self, is_beta: bool) -> Message:
        settings = self.settings
        return settings.beta_session_object(self.id) if is_beta else settings.session_object(self.id)

    def _reply(self, kind: str, **fields: Any) -> None:
        self._replies.append({"type": kind, "event_id": _new_id("event"), **fields})

    def _refuse(self, event: Message, message: str, param: str | None, code: str | None) -> None:
        event_id = event.get("event_id")
        is_usable = isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID_CHARACTERS
        client_event_id = str(event_id) if is_usable else None
        self._replies.append(error_event(message, "invalid_request_error", param, code, client_event_id))

    def _begin_speech(self, item: _Item, start_s: float) -> None:
        if item.has_speech:
            return
        item.has_speech = True
        padded_s = max(item.start_s, start_s - self.settings.prefix_padding_ms / 1000)
        self._reply(
            "input_audio_buffer.speech_started", audio_start_ms=round(1000 * padded_s), item_id=item.id
        )

    def _tell(self, item: _Item, text: str) -> None:
        """Sends what is new of an item's text."""
        # A final result that is not what was promised: what has been sent cannot be taken back.
        if len(text) <= len(item.told) or not text.startswith(item.told):
            return
        delta, item.told = text[len(item.told) :], text
        self._reply(f"{_TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=delta)

    def _end_turn(self, item: _Item, end_s: float) -> None:
        """The recogniser has found the end of an item."""
        item.end_s = min(end_s, self._appended_s)
        self._reply(
            "input_audio_buffer.speech_stopped", audio_end_ms=round(1000 * item.end_s), item_id=item.id
        )
        self._commit_item(item)
        self._complete(item)
        self._item = _Item(_new_id("item"), item.end_s)

    def _commit_item(self, item: _Item) -> None:
        """Says that the item's audio is complete, and that it is part of the conversation."""
        if item.is_committed:
            return
        item.is_committed = True
        self._reply("input_audio_buffer.committed", item_id=item.id, previous_item_id=self._last_item_id)
        content = {"type": "input_audio", "transcript": None}
        fields = {
            "previous_item_id": self._last_item_id,
            "item": {
                "id": item.id,
                "object": "realtime.item",
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [content],
            },
        }
        kinds = ("created",) if self._is_beta else ("added", "done")
        for kind in kinds:
            self._reply(f"conversation.item.{kind}", **fields)
        self._last_item_id = item.id

    def _complete(self, item: _Item) -> None:
        fields: Message = {
            "item_id": item.id,
            "content_index": 0,
            "transcript": item.transcript,
            "usage": {"type": "duration", "seconds": round(item.end_s - item.start_s, 3)},
        }
        logprobs = _logprobs(item.segments) if self.settings.wants_logprobs else None
        if logprobs is not None:
            fields["logprobs"] = logprobs
        self._reply(f"{_TRANSCRIPTION}.completed", **fields)


def _check_unchanged(before: Settings, after: Settings) -> None:
    """Refuses changes of what a recogniser is started with.

    Raises:
        RequestError: something of that has changed; the text names it.
    """

    def check(where: str, old: object, new: object) -> None:
        if old != new:
            expected = f"{excerpt(old)}, because audio has come already"
            raise RequestError(f"{where}: expected {expected}, found {excerpt(new)}", where, "invalid_value")

    old, new = before.audio_format.value.media_type, after.audio_format.value.media_type
    check("session.audio.input.format.type", old, new)
    check("session.audio.input.transcription.model", before.model, after.model)
    if after.turn_detection is not None:
        where = "session.audio.input.turn_detection.silence_duration_ms"
        check(where, before.silence_duration_ms, after.silence_duration_ms)


def _logprobs(segments: list[Segment]) -> list[Message] | None:
    """The logarithms of the words' confidences; None where words have none, or are not those of the text."""
    logprobs: list[Message] = []
    for segment in segments:
        words = segment.words
        if segment.text.split() != [word.text for word in words]:
            return None
        for word in words:
            if word.confidence is None:
                return None
            token = f" {word.text}" if logprobs else word.text
            logprob = math.log(min(1.0, max(_LEAST_CONFIDENCE, word.confidence)))
            logprobs.append({"token": token, "bytes": list(token.encode()), "logprob": logprob})
    return logprobs
