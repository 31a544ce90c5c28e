"""OpenAI's API for transcriptions of files: forms in, objects, text, subtitles or server-sent events out.

Source: OpenAI's API reference (`audio/transcriptions`, `models`) and the types of its Python client. Fields
that steer a generative model (`prompt`, `temperature`, `include`, `chunking_strategy`, ...) are accepted and
have no effect.
"""

import json
import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.answers import AnswerFormat
from pykaldi_server.protocols.gstreamer import NO_ID, Adaptation, RequestInfo, parse_query
from pykaldi_server.protocols.languages import model_for_language
from pykaldi_server.protocols.messages import Message, clean_text
from pykaldi_server.protocols.subtitles import srt, vtt
from pykaldi_server.protocols.transcript import Segment, Transcript, labelled
from pykaldi_server.protocols.worker import WorkerInfo

__all__ = [
    "USER_FIELDS",
    "RequestError",
    "Transcription",
    "TranscriptionRequest",
    "choose_model",
    "error_object",
    "is_transcriber",
    "model_object",
    "models_object",
    "own_model",
    "user_of",
]

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("word", "segment")
OWNER = "pykaldi-server"
# Programs that cannot name another model ask for one of OpenAI's.
_THEIR_MODELS = ("whisper-", "gpt-")
_THEIR_TRANSCRIBERS = ("whisper", "transcribe")
USER_FIELDS = ("user", "adaptation")
"""Fields of a form that have to come before the file, as the request begins with the first of its audio."""
_LEAST_CONFIDENCE = 1e-6


class RequestError(ProtocolError):
    """A request that OpenAI's API refuses.

    Attributes:
        param: name of the field that is wrong.
        code: what is wrong with it, for programs.
    """

    def __init__(self, message: str, param: str | None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def error_object(
    message: str, kind: str, param: str | None = None, code: str | None = None, text: str = ""
) -> Message:
    """The body of an error.

    Args:
        message: what is wrong.
        kind: ``invalid_request_error`` or ``server_error``.
        param: the field of the request that is wrong, if it is one.
        code: the error for programs, if it has one.
        text: what was recognised before it, in a member that OpenAI's errors do not have.
    """
    error = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": {**error, "text": text} if text else error}


def model_object(name: str, created_s: int) -> Message:
    """The description of a model."""
    return {"id": name, "object": "model", "created": created_s, "owned_by": OWNER}


def models_object(names: Iterable[str], created_s: int) -> Message:
    """The list of all models."""
    return {"object": "list", "data": [model_object(name, created_s) for name in names]}


def own_model(name: str) -> str | None:
    """The model of this server that a client means; None is the default, as OpenAI's own names are."""
    return None if not name or name.startswith(_THEIR_MODELS) else name


def is_transcriber(name: str, models: Collection[str]) -> bool:
    """Whether a model transcribes speech: one of OpenAI's for that, or one of this server's."""
    is_theirs = own_model(name) is None and any(each in name for each in _THEIR_TRANSCRIBERS)
    return is_theirs or name in models


def choose_model(
    name: str, language: str, models: Mapping[str, WorkerInfo], default: str | None
) -> str | None:
    """The model of this server for a client that names a model and a language.

    Args:
        name: what the client calls the model; "" and OpenAI's own names leave the choice to the language.
        language: the language of the speech; "" leaves the choice to the server.
        models: those that there are, by name.
        default: name of the model that a client gets which names none.

    Returns:
        The name of the model; None is the default.

    Raises:
        RequestError: there is no such model, or none of this language.
    """
    model = own_model(name)
    if model is not None and models and model not in models:
        known = ", ".join(sorted(models))
        text = f"there is no model {model!r}; those that there are: {known}"
        raise RequestError(text, "model", "model_not_found")
    if not language:
        return model
    candidates = models.values() if model is None else [models[model]] if model in models else []
    try:
        return model_for_language(language, candidates, default) or model
    except ProtocolError as error:
        raise RequestError(str(error), "language", "invalid_language") from None


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a client wants of a file.

    Attributes:
        response_format: one of `RESPONSE_FORMATS`.
        granularities: what ``verbose_json`` has times of.
        stream: results are to be sent as server-sent events, while they are found.
        language: code of the language, as the client says; it is repeated in ``verbose_json``.
    """

    response_format: str = "json"
    granularities: tuple[str, ...] = ("segment",)
    stream: bool = False
    language: str = ""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Sequence[str]]) -> "TranscriptionRequest":
        """Reads the fields of a form.

        Raises:
            RequestError: a value is invalid.
        """

        def last(name: str, default: str) -> str:
            return fields[name][-1] if fields.get(name) else default

        response_format = last("response_format", "json")
        if response_format not in RESPONSE_FORMATS:
            known = ", ".join(RESPONSE_FORMATS)
            text = f"response_format: expected one of {known}, found {response_format!r}"
            raise RequestError(text, "response_format", "unsupported_value")
        names = ("timestamp_granularities[]", "timestamp_granularities")
        granularities = tuple(value for name in names for value in fields.get(name, ())) or ("segment",)
        for value in granularities:
            if value not in GRANULARITIES:
                text = f"timestamp_granularities: expected word or segment, found {value!r}"
                raise RequestError(text, "timestamp_granularities", "unsupported_value")
        stream = last("stream", "false").lower()
        if stream not in ("true", "false", "1", "0"):
            raise RequestError(f"stream: expected true or false, found {stream!r}", "stream", "invalid_type")
        return cls(response_format, granularities, stream in ("true", "1"), last("language", ""))


def user_of(
    fields: Mapping[str, Sequence[str]], headers: Mapping[str, str], query: str
) -> tuple[str, Adaptation | None]:
    """Who speaks, and whether to keep what is learned of them, which OpenAI's API does not know.

    Args:
        fields: fields of the form that have come: ``user`` and ``adaptation``.
        headers: the headers, a mapping that ignores case: ``User-Id``.
        query: the query string: ``user-id`` and ``adaptation``.

    Raises:
        RequestError: ``adaptation`` is invalid.
    """
    said = RequestInfo.from_http(headers, "")
    in_query = parse_query(query)
    in_form = {name: clean_text(fields[name][-1]) for name in USER_FIELDS if fields.get(name)}
    user_id = in_form.get("user") or (said.user_id if said.has_user else "") or in_query.get("user-id")
    try:
        adaptation = Adaptation.parse(in_form.get("adaptation") or in_query.get("adaptation"))
    except ProtocolError as error:
        raise RequestError(str(error), "adaptation", "invalid_value") from None
    return user_id or NO_ID, adaptation


class Transcription:
    """Collects the events of a request for its answer.

    Attributes:
        duration_s: length of the audio that has been recognised.
    """

    def __init__(self) -> None:
        self.duration_s = 0.0
        self._transcript = Transcript()
        self._num_told = 0

    @property
    def text(self) -> str:
        """What has been recognised so far: the final results, and the beginning of the next one."""
        return f"{self._transcript.text} {self._transcript.partial}".strip()

    def add(self, event: Message) -> None:
        """Notes an event."""
        self._transcript.add(event)

    def answer(self, request: TranscriptionRequest) -> tuple[str, str]:
        """The content type and the body of the answer."""
        segments = self._transcript.segments
        match request.response_format:
            case "text" if self._transcript.has_channels:
                lines = (f"{labelled(segment.text, segment.channel)}\n" for segment in segments)
                return AnswerFormat.TEXT.value, "".join(lines)
            case "text":
                return AnswerFormat.TEXT.value, f"{self._transcript.text}\n"
            case "srt":
                return AnswerFormat.TEXT.value, srt(segments)
            case "vtt":
                return AnswerFormat.TEXT.value, vtt(segments)
            case "verbose_json":
                return AnswerFormat.JSON.value, _dumps(self._verbose(request))
        return AnswerFormat.JSON.value, _dumps({"text": self._transcript.text, "usage": self._usage()})

    def new_events(self) -> str:
        """Server-sent events of what has been added since the last call."""
        segments = self._transcript.arrived[self._num_told :]
        texts = [f" {segment.text}" for segment in segments]
        if texts and self._num_told == 0:
            texts[0] = texts[0][1:]
        self._num_told += len(segments)
        return "".join(_event({"type": "transcript.text.delta", "delta": text}) for text in texts)

    def last_events(self) -> str:
        """Server-sent events of the end of a transcription that has succeeded."""
        done = {"type": "transcript.text.done", "text": self._transcript.text}
        return f"{self.new_events()}{_event(done)}data: [DONE]\n\n"

    def error_events(self, message: str) -> str:
        """Server-sent events of the end of a transcription that has failed."""
        return self.new_events() + _event(error_object(message, "server_error", text=self.text))

    def _usage(self) -> Message:
        return {"type": "duration", "seconds": round(self.duration_s, 3)}

    def _verbose(self, request: TranscriptionRequest) -> Message:
        answer: Message = {
            "task": "transcribe",
            "language": request.language,
            "duration": round(self.duration_s, 3),
            "text": self._transcript.text,
        }
        segments = self._transcript.segments
        if "word" in request.granularities:
            answer["words"] = [
                {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
                for segment in segments
                for word in segment.timed_words()
            ]
        if "segment" in request.granularities:
            answer["segments"] = [_segment(index, segment) for index, segment in enumerate(segments)]
        return {**answer, "usage": self._usage()}


def _segment(index: int, segment: Segment) -> Message:
    """A segment with the fields of a generative model that have a counterpart here, and neutral others."""
    text = segment.text.encode()
    confidence = 1.0 if segment.confidence is None else segment.confidence
    return {
        **({} if segment.channel is None else {"channel": segment.channel}),
        "id": index,
        "seek": round(100 * segment.start_s),
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": math.log(max(_LEAST_CONFIDENCE, confidence)),
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 3),
        "no_speech_prob": 0.0,
    }


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {_dumps(data)}\n\n"


def _dumps(message: Mapping[str, Any]) -> str:
    return json.dumps(message, allow_nan=False, ensure_ascii=False)
