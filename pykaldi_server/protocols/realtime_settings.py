"""Settings of OpenAI's realtime transcription sessions, in both forms in which clients write them.

* the current form: ``audio.input.format``, ``.transcription``, ``.noise_reduction`` and ``.turn_detection``
* that of the beta: ``input_audio_format``, ``input_audio_transcription``, ``input_audio_noise_reduction`` and
  ``turn_detection``

A message may mix them; what a message does not name stays as it is. Turn detection is what the recogniser's
endpoint rules find: of its settings the length of the silence has an effect, and the padding on reported
times. Everything else that steers OpenAI's models is checked, kept and reported, and has no effect.

Source: the types of OpenAI's Python client (``types/realtime``, ``types/beta/realtime``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

from pykaldi_server.protocols.gstreamer import RequestInfo, raw_audio_caps
from pykaldi_server.protocols.messages import Message, excerpt
from pykaldi_server.protocols.openai import RequestError

__all__ = ["AudioFormat", "ChooseModel", "Settings"]

ChooseModel = Callable[[str, str], str | None]
"""The model of this server for the name and the language that a client says; None is the default.

It raises `RequestError` where there is none.
"""

PREFIX_PADDING_MS = 300
SILENCE_DURATION_MS = 500
"""What clients say who leave the end of a turn to the server: then the model's own rules hold."""
MIN_SILENCE_MS = 100
MAX_DURATION_MS = 60_000
MAX_TEXT_CHARACTERS = 4_096
LOGPROBS = "item.input_audio_transcription.logprobs"
SERVER_VAD: Message = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": PREFIX_PADDING_MS,
    "silence_duration_ms": SILENCE_DURATION_MS,
}
SEMANTIC_VAD: Message = {"type": "semantic_vad", "eagerness": "auto"}
# Rules of Kaldi that end a segment after silence that follows speech.
_RULES_AFTER_SPEECH = (2, 3, 4)


class _Encoding(NamedTuple):
    beta_name: str
    media_type: str
    sample_format: str
    rate_hz: int
    sample_bytes: int


class AudioFormat(Enum):
    """An encoding of audio that clients may choose."""

    PCM16 = _Encoding("pcm16", "audio/pcm", "S16LE", 24_000, 2)
    MULAW = _Encoding("g711_ulaw", "audio/pcmu", "MULAW", 8_000, 1)
    ALAW = _Encoding("g711_alaw", "audio/pcma", "ALAW", 8_000, 1)

    @property
    def bytes_per_s(self) -> int:
        """Number of bytes per second of audio."""
        return self.value.rate_hz * self.value.sample_bytes

    @property
    def description(self) -> Message:
        """The format as an object of the current form."""
        description: Message = {"type": self.value.media_type}
        return {**description, "rate": self.value.rate_hz} if self is AudioFormat.PCM16 else description


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client has set.

    Attributes:
        audio_format: how its audio is encoded.
        transcription: model, language and prompt, as the client says; None if it has said nothing.
        model: name of the model of this server; None is the default.
        turn_detection: settings of turn detection, completed; None leaves the ends of turns to the client.
        noise_reduction: as the client says; without effect.
        include: further fields of events that the client wants.
    """

    audio_format: AudioFormat = AudioFormat.PCM16
    transcription: Message | None = None
    model: str | None = None
    turn_detection: Message | None = None
    noise_reduction: Message | None = None
    include: tuple[str, ...] | None = None

    @classmethod
    def default(cls) -> "Settings":
        """What holds until the client sets something else."""
        return cls(turn_detection=dict(SERVER_VAD))

    @property
    def wants_logprobs(self) -> bool:
        """Whether the client wants the probabilities of words."""
        return LOGPROBS in (self.include or ())

    @property
    def prefix_padding_ms(self) -> int:
        """How much earlier than the speech its reported start is."""
        return int((self.turn_detection or SERVER_VAD).get("prefix_padding_ms", PREFIX_PADDING_MS))

    @property
    def silence_duration_ms(self) -> int:
        """Length of the silence that ends a turn."""
        return int((self.turn_detection or SERVER_VAD).get("silence_duration_ms", SILENCE_DURATION_MS))

    def updated(self, session: object, choose_model: ChooseModel) -> "Settings":
        """Returns the settings with the changes of a client.

        Args:
            session: the field ``session`` of its message.
            choose_model: see `ChooseModel`.

        Raises:
            RequestError: a field is unknown or its value is invalid; the text names the field.
        """
        return _read_session(self, _Reader(session, "session"), choose_model)

    def with_model(self, name: str, choose_model: ChooseModel) -> "Settings":
        """Returns the settings with a model that the client names outside them.

        Raises:
            RequestError: there is none of this name.
        """
        return self.updated({"input_audio_transcription": {"model": name}}, choose_model) if name else self

    def request_info(self, session_id: str) -> RequestInfo:
        """The request to the recogniser."""
        encoding = self.audio_format.value
        return RequestInfo(
            content_type=raw_audio_caps(encoding.sample_format, encoding.rate_hz),
            content_id=session_id,
            model=self.model,
            options=self._options(),
        )

    def _options(self) -> Message:
        silence_s = self.silence_duration_ms / 1000
        if self.silence_duration_ms == SILENCE_DURATION_MS:
            return {}
        return {f"endpoint-rule{number}-min-trailing-silence": silence_s for number in _RULES_AFTER_SPEECH}

    def session_object(self, session_id: str) -> Message:
        """The settings in the current form."""
        audio_input = {
            "format": self.audio_format.description,
            "transcription": self.transcription,
            "noise_reduction": self.noise_reduction,
            "turn_detection": self.turn_detection,
        }
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": session_id,
            "audio": {"input": audio_input},
            "include": None if self.include is None else list(self.include),
        }

    def beta_session_object(self, session_id: str, client_secret: Message | None = None) -> Message:
        """The settings in the form of the beta."""
        return {
            "object": "realtime.transcription_session",
            "id": session_id,
            "input_audio_format": self.audio_format.value.beta_name,
            "input_audio_transcription": self.transcription,
            "input_audio_noise_reduction": self.noise_reduction,
            "turn_detection": self.turn_detection,
            "include": None if self.include is None else list(self.include),
            "client_secret": client_secret,
        }


class _Reader:
    """An object of a client whose fields are read by name; errors say where it is.

    Args:
        value: what the client has sent.
        where: its name in errors.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise RequestError(f"{where}: expected an object, found {excerpt(value)}", where, "invalid_type")
        self._fields: Mapping[str, Any] = value
        self.where = where

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __getitem__(self, name: str) -> Any:
        return self._fields.get(name)

    def names(self, *known: str) -> None:
        """Raises RequestError if there are fields with other names than these."""
        for name in self._fields:
            if name not in known:
                where = f"{self.where}.{name}"
                text = f"{excerpt(where)}: unknown field; expected one of {', '.join(known)}"
                raise RequestError(text, where[:200], "unknown_parameter")

    def inner(self, name: str) -> "_Reader":
        """The object that is a field of this one."""
        return _Reader(self[name], f"{self.where}.{name}")

    def refuse(self, name: str, expected: str, code: str = "invalid_value") -> RequestError:
        """The error of a field that has another value than what is expected."""
        where = f"{self.where}.{name}"
        return RequestError(f"{where}: expected {expected}, found {excerpt(self[name])}", where, code)

    def choice(self, name: str, *choices: Any) -> Any:
        """A field that has one of a few values."""
        if self[name] not in choices:
            raise self.refuse(name, " or ".join("null" if each is None else str(each) for each in choices))
        return self[name]

    def text(self, name: str) -> str:
        """A text; "" for null and for a field that is missing."""
        value = self[name]
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS:
            raise self.refuse(name, f"a text of at most {MAX_TEXT_CHARACTERS} characters")
        return value

    def number(self, name: str, low: float, high: float, default: Any) -> Any:
        """A number of the type of its default, which takes the place of null and of a missing field."""
        value = self[name]
        if value is None:
            return default
        kinds = int if isinstance(default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise self.refuse(name, f"{kind} from {low} to {high}")
        return value


def _read_session(settings: Settings, session: _Reader, choose_model: ChooseModel) -> Settings:
    if "type" in session and session["type"] != "transcription":
        raise session.refuse("type", "transcription, because this server holds no conversations")
    # Clients that send back what they were told about their session name its id, and more.
    told = ("type", "object", "id", "expires_at", "client_secret", "modalities")
    beta = (
        "input_audio_format",
        "input_audio_transcription",
        "input_audio_noise_reduction",
        "turn_detection",
    )
    session.names("audio", "include", *beta, *told)
    if "input_audio_format" in session:
        names = {each.value.beta_name: each for each in AudioFormat}
        settings = replace(settings, audio_format=names[session.choice("input_audio_format", *names)])
    settings = _read_input(settings, session, "input_audio_", choose_model)
    if session["audio"] is not None:
        audio = session.inner("audio")
        audio.names("input", "output")
        if audio["input"] is not None:
            audio_input = audio.inner("input")
            audio_input.names("format", "transcription", "noise_reduction", "turn_detection")
            if audio_input["format"] is not None:
                settings = replace(settings, audio_format=_audio_format(audio_input))
            settings = _read_input(settings, audio_input, "", choose_model)
    if "include" in session:
        settings = replace(settings, include=_include(session))
    return settings


def _read_input(settings: Settings, fields: _Reader, prefix: str, choose_model: ChooseModel) -> Settings:
    """Reads what both forms have, under names that differ in a prefix."""
    name = f"{prefix}transcription"
    if name in fields:
        transcription, model = _transcription(settings, fields, name, choose_model)
        settings = replace(settings, transcription=transcription, model=model)
    name = f"{prefix}noise_reduction"
    if name in fields:
        settings = replace(settings, noise_reduction=_noise_reduction(settings, fields, name))
    if "turn_detection" in fields:
        settings = replace(settings, turn_detection=_turn_detection(settings, fields))
    return settings


def _audio_format(audio_input: _Reader) -> AudioFormat:
    fields = audio_input.inner("format")
    fields.names("type", "rate")
    types = {each.value.media_type: each for each in AudioFormat}
    audio_format = types[fields.choice("type", *types)]
    if fields["rate"] is not None:
        fields.choice("rate", audio_format.value.rate_hz)
    return audio_format


def _transcription(
    settings: Settings, parent: _Reader, name: str, choose_model: ChooseModel
) -> tuple[Message | None, str | None]:
    """What the client says of the model, and the model of this server that it means."""
    if parent[name] is None:
        return None, choose_model("", "")
    fields = parent.inner(name)
    fields.names("model", "language", "prompt", "languages", "keywords", "delay")
    said = {key: fields.text(key) for key in ("model", "language", "prompt") if key in fields}
    transcription = {**(settings.transcription or {}), **said}
    try:
        return transcription, choose_model(transcription.get("model", ""), transcription.get("language", ""))
    except RequestError as error:
        where = f"{fields.where}.{error.param}"
        raise RequestError(f"{where}: {error}", where, error.code) from None


def _noise_reduction(settings: Settings, parent: _Reader, name: str) -> Message | None:
    if parent[name] is None:
        return None
    fields = parent.inner(name)
    fields.names("type", "strength")
    said: Message = {}
    if "type" in fields:
        said["type"] = fields.choice("type", "near_field", "far_field", None)
    if "strength" in fields:
        said["strength"] = fields.number("strength", 0.0, 1.0, 1.0)
    return {**(settings.noise_reduction or {}), **said}


def _turn_detection(settings: Settings, parent: _Reader) -> Message | None:
    if parent["turn_detection"] is None:
        return None
    fields = parent.inner("turn_detection")
    # There are no responses here that could be created or interrupted.
    ignored = ("create_response", "interrupt_response", "idle_timeout_ms")
    before = settings.turn_detection or SERVER_VAD
    kind = fields.choice("type", "server_vad", "semantic_vad") if "type" in fields else before["type"]
    detection = dict(SERVER_VAD if kind == "server_vad" else SEMANTIC_VAD)
    if before["type"] == kind:
        detection.update(before)
    fields.names(*detection, *ignored)
    if kind == "semantic_vad":
        detection["eagerness"] = fields.choice("eagerness", "low", "medium", "high", "auto", None) or "auto"
        return detection
    detection["threshold"] = fields.number("threshold", 0.0, 1.0, detection["threshold"])
    for name, least in (("prefix_padding_ms", 0), ("silence_duration_ms", MIN_SILENCE_MS)):
        detection[name] = fields.number(name, least, MAX_DURATION_MS, detection[name])
    return detection


def _include(session: _Reader) -> tuple[str, ...] | None:
    include = session["include"]
    if include is None:
        return None
    if not isinstance(include, list) or any(each != LOGPROBS for each in include):
        raise session.refuse("include", f"a list that may contain {LOGPROBS}")
    return tuple(include)
