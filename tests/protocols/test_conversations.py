"""Conversations that nobody has thought of: clients send anything while the recogniser reports anything.

State machines, which take any steps in any order. A codec refuses what it does not understand with a
`ProtocolError` and otherwise keeps to what clients may rely on.
"""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols import audiosocket, realtime, vosk, wyoming
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.realtime_settings import Settings
from pykaldi_server.protocols.worker import Position

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("1" * 400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)
FIELDS = st.sampled_from(
    [
        *("config", "sample_rate", "words", "max_alternatives", "eof", "reset"),
        *("type", "audio", "session", "event_id", "format", "turn_detection"),
    ]
)
EVENT_TYPES = st.sampled_from(
    [
        *("input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear"),
        *("session.update", "transcription_session.update", "response.create", "conversation.item.create"),
    ]
)
OBJECTS = st.dictionaries(FIELDS | st.text(max_size=5), ANYTHING, max_size=4)
TEXTS = st.text(max_size=20) | ANYTHING.map(json.dumps) | OBJECTS.map(json.dumps)
AUDIO = st.sampled_from([b"", bytes(1), bytes(640), bytes(9600)])
WORDS = st.lists(st.sampled_from(["five", "two", "é"]), max_size=4).map(" ".join)


def result(text: str, is_final: bool, start_s: float, length_s: float) -> dict[str, Any]:
    """An event of the recogniser."""
    times = {"segment-start": start_s, "segment-length": length_s, "total-length": start_s + length_s}
    hypotheses = [{"transcript": text, "confidence": 0.5, "final-prefix": text}]
    body: dict[str, Any] = {"result": {"hypotheses": hypotheses, "final": is_final}}
    return {"status": 0, "segment": 0, **(times if is_final else {}), **body}


class VoskConversation(RuleBasedStateMachine):
    """Each message but a configuration gets exactly one reply, in order, when it has been recognised."""

    def __init__(self) -> None:
        super().__init__()
        self.dialogue = vosk.Dialogue(vosk.Configuration())
        self.due = self.replies = self.sent_bytes = self.consumed_bytes = 0

    @rule(message=AUDIO | TEXTS)
    def say(self, message: str | bytes) -> None:
        was_over = self.dialogue.is_over
        try:
            parsed = vosk.parse_client_message(message)
            sent = self.dialogue.receive(parsed)
        except ProtocolError:
            return
        self.sent_bytes += sum(len(each if isinstance(each, bytes) else each.encode()) for each in sent)
        is_answered = isinstance(parsed, vosk.Audio | vosk.Reset)
        self.due += is_answered and not was_over

    @rule(text=WORDS, is_final=st.booleans())
    def hear(self, text: str, is_final: bool) -> None:
        self.dialogue.hear(result(text, is_final, 0.0, 1.0))

    @rule(part=st.floats(0, 1))
    def progress(self, part: float) -> None:
        self.consumed_bytes += int(part * (self.sent_bytes - self.consumed_bytes))
        self.dialogue.consumed(self.consumed_bytes)
        self.count(self.dialogue.replies())

    def count(self, replies: list[str]) -> None:
        assert all(isinstance(json.loads(reply), dict) for reply in replies)
        self.replies += len(replies)

    @invariant()
    def no_reply_is_one_too_many(self) -> None:
        assert self.replies <= self.due

    def teardown(self) -> None:
        self.count(self.dialogue.last_replies())
        assert self.replies == self.due + 1


def no_model(name: str, language: str) -> str | None:
    return name or None


class RealtimeConversation(RuleBasedStateMachine):
    """What is committed is completed or has failed once, in order; every event has a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dialogue = realtime.Dialogue(Settings.default(), no_model)
        self.dialogue.begin()
        self.sent_bytes = self.consumed_bytes = 0
        self.audio_s = 0.0
        self.events: list[dict[str, Any]] = []

    def say_text(self, message: str | bytes) -> None:
        sent = self.dialogue.receive(message)
        self.sent_bytes += sum(len(each if isinstance(each, bytes) else each.encode()) for each in sent)

    @rule(message=AUDIO | TEXTS)
    def say(self, message: str | bytes) -> None:
        self.say_text(message)

    @rule(kind=EVENT_TYPES | ANYTHING, fields=OBJECTS)
    def send(self, kind: object, fields: dict[str, Any]) -> None:
        self.say_text(json.dumps({**fields, "type": kind}))

    @rule(audio=st.sampled_from(["AAAA" * 800, "AA==", "A", "", "é"]), commits=st.booleans())
    def speak(self, audio: str, commits: bool) -> None:
        self.say_text(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        if commits:
            self.say_text(json.dumps({"type": "input_audio_buffer.commit"}))

    @rule(text=WORDS, is_final=st.booleans(), part=st.floats(0, 1))
    def recognise(self, text: str, is_final: bool, part: float) -> None:
        self.dialogue.hear(result(text, is_final, self.audio_s, 0.1))
        self.consumed_bytes += int(part * (self.sent_bytes - self.consumed_bytes))
        self.audio_s += 0.1
        self.dialogue.consumed(Position(self.consumed_bytes, self.audio_s))

    def teardown(self) -> None:
        """The recogniser is lost."""
        self.dialogue.fail(Status.ABORTED, "The recogniser was lost")
        self.events_are_sound()
        assert self.events[-1]["type"] == "error"
        committed, ended = self.items()
        assert set(committed) <= set(ended)

    def items(self) -> tuple[list[str], list[str]]:
        """The items that have been committed, and those that have been transcribed or have failed."""
        committed = [e["item_id"] for e in self.events if e["type"] == "input_audio_buffer.committed"]
        ended = [e["item_id"] for e in self.events if e["type"].endswith((".completed", ".failed"))]
        return committed, ended

    @invariant()
    def events_are_sound(self) -> None:
        self.events += [json.loads(reply) for reply in self.dialogue.replies()]
        names = [event["event_id"] for event in self.events]
        assert len(set(names)) == len(names)
        committed, ended = self.items()
        assert len(set(committed)) == len(committed)
        assert len(set(ended)) == len(ended)
        completed = [e["item_id"] for e in self.events if e["type"].endswith(".completed")]
        assert completed == committed[: len(completed)]


class Bytes(RuleBasedStateMachine):
    """A stream of bytes means the same wherever the network cuts it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.ends: set[int] = set()

    @rule(event=st.sampled_from(["audio-start", "audio-chunk", "describe", "x"]), payload=AUDIO, data=OBJECTS)
    def add_event(self, event: str, payload: bytes, data: dict[str, Any]) -> None:
        self.data += wyoming.Event(event, data, payload).encode()

    @rule(kind=st.sampled_from([0, 1, 3, 0x10, 0x18, 0x77, 0xFF]), payload=st.binary(max_size=20))
    def add_message(self, kind: int, payload: bytes) -> None:
        self.data += bytes([kind]) + len(payload).to_bytes(2, "big") + payload

    @rule(at=st.integers(0, 10**6))
    def cut(self, at: int) -> None:
        self.ends.add(at % (len(self.data) + 1))

    def teardown(self) -> None:
        for reader in (lambda: wyoming.EventReader(10_000), audiosocket.MessageReader):
            in_pieces, is_refused = read(reader(), self.data, sorted(self.ends))
            at_once, is_refused_at_once = read(reader(), self.data, [])
            assert is_refused == is_refused_at_once
            if not is_refused:
                assert in_pieces == at_once


def read(reader: Any, data: bytes, ends: list[int]) -> tuple[list[Any], bool]:
    """What a reader makes of data in pieces, and whether it has refused it."""
    found: list[Any] = []
    try:
        for begin, end in zip([0, *ends], [*ends, len(data)], strict=True):
            found += reader.feed(data[begin:end])
    except ProtocolError:
        return found, True
    return found, False


SOME = settings(max_examples=15, stateful_step_count=15)
TestVosk = VoskConversation.TestCase
TestVosk.settings = SOME
TestRealtime = RealtimeConversation.TestCase
TestRealtime.settings = SOME
TestBytes = Bytes.TestCase
TestBytes.settings = SOME
