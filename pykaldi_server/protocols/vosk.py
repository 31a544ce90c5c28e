"""The WebSocket protocol of vosk-server: what its clients say and hear.

    client --configurations, audio, reset, eof--> Dialogue --messages of `gstreamer`--> recogniser
    client <--one reply per audio message-------- Dialogue <--events, positions-------- recogniser

Most clients work in lock-step: they send a message of audio and wait for its reply. So each binary message is
answered exactly once, in order: with the partial result, or with the final result of the segments that ended
in it. `Dialogue` counts the bytes that it passes on; when the recogniser's position reaches the end of a
message, its reply is due. A reset and the end of the audio are answered with a final result.

Replies have the layout of the original: members in alphabetical order, spaces around colons, numbers with six
decimals. Times count from the start of the stream. Sources: alphacep/vosk-server (`websocket/asr_server.py`)
for the messages, and the output of Vosk's library, release 0.3.45, for the replies.
"""

import heapq
import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import (
    EOS,
    NO_ID,
    Adaptation,
    RequestInfo,
    audio_messages,
    is_final,
    raw_audio_caps,
    transcript_of,
)
from pykaldi_server.protocols.messages import Message, clean_text, dumps, excerpt, message_bytes, parse_object

__all__ = [
    "Audio",
    "ClientMessage",
    "Configuration",
    "Configure",
    "Dialogue",
    "EndOfStream",
    "Reset",
    "layout",
    "parse_client_message",
]

# The same limits as for all raw audio and for all options of a request.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
HIGHEST_COUNT = 1000
# The C# client reads 4,096 bytes of a reply. A word with its times and confidence takes about 110 bytes and
# twice its length, and a segment may get a word or two more than its limit.
MOST_WORDS = 30
_RESET = dumps({"reset": True})

# The original's replies without audio, which have a layout of their own.
_UNICODE = json.JSONEncoder(ensure_ascii=False)
_PARTIAL = '{{\n  "partial" : {}\n}}'
_NOTHING = '{"text": ""}'
_NO_ALTERNATIVES = '{"alternatives" : [{"text": "", "confidence" : 1.0}] }'


# From the client


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a client has configured; the defaults are the original's.

    Attributes:
        sample_rate_hz: rate of the audio, which is mono S16LE; None is the server's default.
        words: final results have times and confidences of words.
        partial_words: so do partial results.
        max_alternatives: number of hypotheses of a final result, in a form that differs from that with one;
            0 is one hypothesis in the usual form.
        max_segment_words: segments with words end at this number of them, so that replies fit into the
            buffers of clients; 0 for no limit. The original has no such limit.
        phrases: what may be said; empty for anything.
        model: name of the model; None is the server's default.
        language: language of the speech; the original does not know this one and the next two.
        user_id: who speaks.
        adaptation: whether to keep what is learned of the user.
    """

    sample_rate_hz: int | None = None
    words: bool = True
    partial_words: bool = False
    max_alternatives: int = 0
    max_segment_words: int = MOST_WORDS
    phrases: tuple[str, ...] = ()
    model: str | None = None
    language: str = ""
    user_id: str = NO_ID
    adaptation: Adaptation | None = None

    def updated(self, properties: Mapping[str, Any]) -> "Configuration":
        """Overlays what a client sends; keys that are unknown are ignored, as the original ignores them.

        Raises:
            ProtocolError: a value is invalid; the text names the key, what was expected and what was found.
        """
        changes: dict[str, Any] = {}
        for key, value in properties.items():
            key = key.replace("-", "_")
            if key in _READERS and value is not None:
                name, read = _READERS[key]
                changes[name] = read(key, value)
        return replace(self, **changes)

    def request_info(self, default_rate_hz: int | None) -> RequestInfo:
        """The request to the recogniser.

        Args:
            default_rate_hz: rate of the audio if the client has not stated it; None is that of the model.
        """
        rate_hz = self.sample_rate_hz or default_rate_hz
        options: dict[str, Any] = {
            "num-nbest": max(1, self.max_alternatives),
            "do-word-alignment": self.words,
            "partial-words": self.partial_words,
        }
        if self.words and not self.max_alternatives:
            options["max-segment-words"] = self.max_segment_words
        return RequestInfo(
            content_type=raw_audio_caps("S16LE", rate_hz),
            model=self.model,
            language=self.language,
            options=options,
            at_model_rate=rate_hz is None,
            user_id=self.user_id,
            adaptation=self.adaptation,
        )


def _read_rate(key: str, value: object) -> int:
    rate_hz = round(_number(key, value))
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise _invalid(key, f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz", value)
    return rate_hz


def _read_count(key: str, value: object) -> int:
    number = _number(key, value)
    if not 0 <= number <= HIGHEST_COUNT or number != int(number):
        raise _invalid(key, f"a whole number from 0 to {HIGHEST_COUNT}", value)
    return int(number)


def _number(key: str, value: object) -> float:
    """Reads a number: jigasi sends a float, others send text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _invalid(key, "a number", value)
    return number


def _read_switch(key: str, value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    return value if isinstance(value, bool) else _number(key, value) != 0


def _read_phrases(key: str, value: object) -> tuple[str, ...]:
    """Reads a list, or the text of one in JSON, which is what Vosk's library takes."""
    phrases = value
    if isinstance(value, str):
        try:
            phrases = json.loads(value or "[]")
        except (ValueError, RecursionError):
            phrases = None
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise _invalid(key, "a list of texts", value)
    return tuple(phrases)


def _read_model(key: str, value: object) -> str | None:
    """Reads the name of a model. Clients may send the path that it has on a server of the original."""
    if not isinstance(value, str):
        raise _invalid(key, "the name of a model", value)
    return clean_text(value.replace("\\", "/").rstrip("/").rpartition("/")[2]) or None


def _read_language(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _invalid(key, "a language", value)
    return clean_text(value)


def _invalid(key: str, expected: str, value: object) -> ProtocolError:
    return ProtocolError(f"{key}: expected {expected}, found {excerpt(value)}")


def _read_user_id(key: str, value: object) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _invalid(key, "a text", value)
    return clean_text(str(value)) or NO_ID


def _read_adaptation(key: str, value: object) -> Adaptation | None:
    if not isinstance(value, str):
        raise _invalid(key, "keep or none", value)
    return Adaptation.parse(value)


_READERS = {
    "sample_rate": ("sample_rate_hz", _read_rate),
    "words": ("words", _read_switch),
    "partial_words": ("partial_words", _read_switch),
    "max_alternatives": ("max_alternatives", _read_count),
    "max_segment_words": ("max_segment_words", _read_count),
    "phrase_list": ("phrases", _read_phrases),
    "model": ("model", _read_model),
    "language": ("language", _read_language),
    "user_id": ("user_id", _read_user_id),
    "adaptation": ("adaptation", _read_adaptation),
}


@dataclass(frozen=True, slots=True)
class Configure:
    """Use this configuration; only before the audio."""

    properties: Message


@dataclass(frozen=True, slots=True)
class Audio:
    """The next piece of the audio; its reply is the partial or the final result."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reset:
    """End the segment now, reply with its final result, and start afresh; times go on counting."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """No more audio will come: reply with the last final result, and close the connection."""


ClientMessage = Configure | Audio | Reset | EndOfStream


def parse_client_message(message: str | bytes) -> ClientMessage:
    """Understands one WebSocket message of a client; every binary message is audio.

    The original compares the letters of ``{"eof" : 1}`` and ``{"reset" : 1}``; here it is JSON in any form.

    Raises:
        ProtocolError: a text message is none of the messages that the protocol has.
    """
    if isinstance(message, bytes):
        return Audio(message)
    properties = parse_object(message, "a text message")
    if "config" in properties:
        config = properties["config"]
        if not isinstance(config, dict):
            raise _invalid("config", "an object", config)
        return Configure(config)
    if properties.get("eof"):
        return EndOfStream()
    if properties.get("reset"):
        return Reset()
    raise ProtocolError(f"a text message: expected one of config, eof, reset, found {excerpt(message)}")


# The conversation


class _Due(NamedTuple):
    """A message that waits for its reply, which is due at a position of the recogniser."""

    position_bytes: int
    num_bytes: int
    is_reset: bool


class Dialogue:
    """One client's conversation: which reply is due, and what it says.

    Attributes:
        configuration: what the client has configured.
        has_audio: audio has come; the configuration no longer changes.
        is_over: the client has said that no more audio will come; further messages are ignored.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.has_audio = False
        self.is_over = False
        self._sent_bytes = 0
        self._consumed_bytes = 0
        self._due: deque[_Due] = deque()
        self._partial: Message | None = None
        self._finals: list[Message] = []
        self._heard_since_final = False  # with audio, an empty final result has the usual layout

    def receive(self, message: ClientMessage) -> list[str | bytes]:
        """Takes a message of the client.

        Returns:
            The messages of `protocols.gstreamer` that are to be sent to the recogniser; none while there has
            not been any audio.

        Raises:
            ProtocolError: a value of a configuration is invalid.
        """
        if self.is_over:
            return []
        match message:
            case Configure(properties):
                if not self.has_audio:
                    self.configuration = self.configuration.updated(properties)
                return []
            case Audio(data):
                self.has_audio = self.has_audio or bool(data)
                return self._expect_reply([*audio_messages(data)], is_reset=False)
            case Reset():
                return self._expect_reply([_RESET] if self.has_audio else [], is_reset=True)
            case EndOfStream():
                self.is_over = True
                return [EOS] if self.has_audio else []

    def _expect_reply(self, messages: list[str | bytes], is_reset: bool) -> list[str | bytes]:
        num_bytes = sum(map(message_bytes, messages))
        self._sent_bytes += num_bytes
        self._due.append(_Due(self._sent_bytes, num_bytes, is_reset))
        return messages

    def hear(self, event: Message) -> None:
        """Notes an event of the recogniser, which belongs to the reply that is due next."""
        if not is_final(event):
            self._partial = event if transcript_of(event) is not None else self._partial
            return
        self._partial = None
        if transcript_of(event):
            self._finals.append(event)

    def consumed(self, num_bytes: int) -> None:
        """Notes how much of what was sent the recogniser has processed."""
        self._consumed_bytes = num_bytes

    def replies(self) -> list[str]:
        """The replies that are due, in order; each is returned once."""
        replies = []
        while self._due and self._due[0].position_bytes <= self._consumed_bytes:
            message = self._due.popleft()
            if message.is_reset:
                replies.append(self._final())
            else:
                self._heard_since_final |= message.num_bytes > 0
                replies.append(self._final() if self._finals else self._partial_reply())
        return replies

    def last_replies(self) -> list[str]:
        """The replies that are left once everything has been recognised: those due, then the last final."""
        self._consumed_bytes = self._sent_bytes
        return [*self.replies(), self._final()]

    def unreported(self) -> list[str]:
        """The final result that no reply has had yet, for a recognition that ends before its time."""
        return [self._final()] if self._finals else []

    def _partial_reply(self) -> str:
        text = (transcript_of(self._partial) if self._partial else None) or ""
        if text and self._partial and self.configuration.partial_words:
            words = _words(self._partial, self._partial["result"]["hypotheses"][0])
            if words:
                return layout({"partial": text, "partial_result": words})
        return _PARTIAL.format(_UNICODE.encode(text))

    def _final(self) -> str:
        finals, self._finals, self._partial = self._finals, [], None
        heard, self._heard_since_final = self._heard_since_final, False
        if self.configuration.max_alternatives > 0:
            return _alternatives_reply(finals, self.configuration) if finals else _NO_ALTERNATIVES
        if not finals:
            return layout({"text": ""}) if heard else _NOTHING
        reply: Message = {"text": " ".join(str(transcript_of(final)) for final in finals)}
        words = [word for final in finals for word in _words(final, final["result"]["hypotheses"][0])]
        if words and self.configuration.words:
            reply["result"] = words
        return layout(reply)


# To the client


def _words(event: Message, hypothesis: Message) -> list[Message]:
    """The words of a hypothesis, with times from the start of the stream.

    What a post-processor has made of them may be anything: without times and confidences there are no words.
    """
    try:
        begin_s = float(event.get("segment-start", 0.0))
        words: list[Message] = [
            {
                "conf": float(word["confidence"]),
                "end": begin_s + float(word["start"]) + float(word["length"]),
                "start": begin_s + float(word["start"]),
                "word": str(word["word"]),
            }
            for word in hypothesis.get("word-alignment", ())
        ]
    except (LookupError, TypeError, ValueError):
        return []
    return words if all(math.isfinite(word["conf"] + word["end"]) for word in words) else []


def _likelihood(hypothesis: Message) -> float:
    """The likelihood of a hypothesis; 0 where a post-processor has made something else of it."""
    try:
        likelihood = float(hypothesis.get("likelihood", 0.0))
    except (TypeError, ValueError):
        return 0.0
    return likelihood if math.isfinite(likelihood) else 0.0


class _Alternative(NamedTuple):
    """A reading of one segment or of several in a row."""

    likelihood: float
    text: str = ""
    words: tuple[Message, ...] = ()


def _alternatives_reply(finals: Iterable[Message], configuration: Configuration) -> str:
    alternatives = [_Alternative(0.0)]
    for final in finals:
        alternatives = _joined(alternatives, _alternatives(final), configuration.max_alternatives)
    return layout({"alternatives": [_alternative(each, configuration.words) for each in alternatives]})


def _alternative(alternative: _Alternative, with_words: bool) -> Message:
    message: Message = {"confidence": alternative.likelihood, "text": alternative.text}
    if with_words and alternative.words:
        message["result"] = list(alternative.words)
    return message


def _alternatives(final: Message) -> list[_Alternative]:
    """The hypotheses of a segment that have words: some clients take an empty text for no result at all."""
    return [
        _Alternative(
            _likelihood(hypothesis),
            str(hypothesis["transcript"]),
            tuple(
                {key: value for key, value in word.items() if key != "conf"}
                for word in _words(final, hypothesis)
            ),
        )
        for hypothesis in final["result"]["hypotheses"]
        if hypothesis["transcript"]
    ]


def _joined(first: list[_Alternative], second: list[_Alternative], limit: int) -> list[_Alternative]:
    """The most likely readings of two stretches of audio, from those of each, best first.

    The pair of the i-th and the j-th comes after (i + 1) (j + 1) - 1 others, so most pairs need no look.
    """
    pairs = [
        (first[i].likelihood + second[j].likelihood, first[i], second[j])
        for i in range(len(first))
        for j in range(min(len(second), limit // (i + 1)))
    ]
    best = heapq.nlargest(limit, pairs, key=lambda pair: pair[0])
    return [
        _Alternative(likelihood, f"{a.text} {b.text}".strip(), a.words + b.words) for likelihood, a, b in best
    ]


def layout(value: Any, depth: int = 1) -> str:
    """Writes JSON as the original does.

    Args:
        value: objects, lists of objects, texts, and floating-point numbers.
        depth: how deep the value is in the reply, for its indentation.
    """
    if isinstance(value, dict):
        inner, outer = "  " * depth, "  " * (depth - 1)
        members = [f'{inner}"{key}" : {layout(value[key], depth + 1)}' for key in sorted(value)]
        return "{\n" + ",\n".join(members) + f"\n{outer}}}"
    if isinstance(value, list):
        return "[" + ", ".join(layout(each, depth + 1) for each in value) + "]"
    return f"{value:.6f}" if isinstance(value, float) else _UNICODE.encode(value)
