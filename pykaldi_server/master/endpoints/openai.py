"""OpenAI's addresses: transcriptions of files, and the list of models. See `protocols.openai`."""

import logging
import time

from tornado.iostream import StreamClosedError

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.endpoints.upload import CorsHandler, UploadHandler
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.relay import End
from pykaldi_server.protocols.answers import AnswerFormat
from pykaldi_server.protocols.gstreamer import RequestInfo, caps_from_http, parse_event
from pykaldi_server.protocols.messages import Status, dumps
from pykaldi_server.protocols.multipart import FormReader
from pykaldi_server.protocols.openai import (
    USER_FIELDS,
    RequestError,
    Transcription,
    TranscriptionRequest,
    choose_model,
    error_object,
    model_object,
    models_object,
    own_model,
    user_of,
)
from pykaldi_server.protocols.request_options import HEADER as OPTIONS_HEADER
from pykaldi_server.protocols.request_options import read_options
from pykaldi_server.protocols.worker import Position

__all__ = ["ModelsHandler", "TranscriptionsHandler", "TranslationsHandler", "refusal_code"]

logger = logging.getLogger(__name__)

HEADERS = f"authorization, content-type, accept, openai-organization, openai-project, {OPTIONS_HEADER}"
START_S = int(time.time())  # when the models were "created"
# HTTP status of what has gone wrong with a request.
CODES = {
    Status.NO_SPEECH: 400,
    Status.AUDIO_CAPTURE: 400,
    Status.NOT_ALLOWED: 400,
}


# Types of errors, by the HTTP status, that are not those of all the others.
KINDS = {429: "requests", 503: "service_unavailable_error"}


def refusal_code(end: End) -> str:
    """The code of an error for a request that was not served at all."""
    if end.is_unknown_model:
        return "model_not_found"
    return "rate_limit_exceeded" if end.is_own_limit else "server_is_overloaded"


class TranscriptionsHandler(UploadHandler):
    """Serves `POST /v1/audio/transcriptions`."""

    PROTOCOL = "openai"

    HEADERS = HEADERS
    SUPPORTED_METHODS = ("POST", "OPTIONS")

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        super().initialize(hub)
        self._transcription = Transcription()
        self._wanted = TranscriptionRequest()
        self._user_fields: dict[str, list[str]] = {}
        self._is_streaming = False
        self._is_served = False
        self._has_begun = False  # the answer, as a stream

    def may_read_request(self, form: FormReader) -> bool:
        return "model" in form.fields

    def read_request(self) -> RequestInfo:
        if self.form is None:
            found = self.request.headers.get("Content-Type", "none")
            raise RequestError(f"Content-Type: expected multipart/form-data, found {found}", None)
        model = self.form.fields.get("model", [""])[-1]
        options, _ = read_options(self.request.query, self.request.headers)
        self._user_fields = {name: list(self.form.fields.get(name, ())) for name in USER_FIELDS}
        user_id, adaptation = user_of(self._user_fields, self.request.headers, self.request.query)
        return RequestInfo(
            content_type=caps_from_http(self.form.file_type),
            user_id=user_id,
            model=own_model(model),
            language=self.form.fields.get("language", [""])[-1],
            options=options,
            adaptation=adaptation,
        )

    async def body_has_come(self) -> None:
        assert self.form is not None
        for name, before in self._user_fields.items():
            if list(self.form.fields.get(name, ())) != before:
                raise RequestError(f"{name}: expected it before the file, found it after", name)
        self._check_language(self.form.fields.get("language", [""])[-1])
        self._wanted = TranscriptionRequest.from_fields(self.form.fields)
        if self._wanted.stream:
            self._is_streaming = True
            if self._is_served:
                await self._send(self._transcription.new_events())

    def _check_language(self, language: str) -> None:
        """Refuses a language that has come after the file, if another model than the one at work has it."""
        if self._relay is None or self._relay.is_over or language == self.info.language:
            return
        default = self.hub.pool.default_model
        model = choose_model(self.info.model or "", language, self.hub.models, default)
        if model not in (None, self._relay.record.model or self.info.model or default):
            raise RequestError("language: expected it before the file, found it after", "language")

    async def deliver(self, event: str) -> None:
        self._transcription.add(parse_event(event))
        await self._note_served()
        if self._is_streaming:
            await self._send(self._transcription.new_events())

    async def consumed(self, position: Position) -> None:
        self._transcription.duration_s = position.audio_s
        await self._note_served()

    async def respond(self, end: End) -> None:
        if self._is_streaming and (self._has_begun or end.status is Status.SUCCESS):
            await self._end_stream(end)
        elif end.status is Status.NOT_AVAILABLE:
            self.set_retry_after(end)
            param = "model" if end.is_unknown_model else None
            error = RequestError(end.message, param, refusal_code(end))
            await self.answer_refusal(end.refusal_code, end.message, error)
        elif end.status is not Status.SUCCESS:
            await self.answer_refusal(CODES.get(end.status, 500), end.message)
        else:
            content_type, body = self._transcription.answer(self._wanted)
            await self.answer(200, body, content_type)

    def refusal(self, code: int, text: str, error: ProtocolError | None = None) -> tuple[str, str]:
        kind = KINDS.get(code, "server_error" if code >= 500 else "invalid_request_error")
        param, error_code = (error.param, error.code) if isinstance(error, RequestError) else (None, None)
        found = error_object(text, kind, param, error_code, self._transcription.text)
        return AnswerFormat.JSON.value, dumps(found)

    async def _note_served(self) -> None:
        """A worker has begun: from here on nothing is refused, and a stream may begin."""
        if not self._is_served:
            self._is_served = True
            if self._is_streaming:
                await self._send("")

    async def _send(self, events: str) -> None:
        self._begin_stream()
        try:
            self.write(events)
            await self.flush()
        except StreamClosedError:
            logger.info("%s: left in the middle of its answer", self.info.id)

    def _begin_stream(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
            self.set_header("Cache-Control", "no-cache")

    async def _end_stream(self, end: End) -> None:
        self._begin_stream()
        if end.status is Status.SUCCESS:
            await self.finish_with(self._transcription.last_events())
        else:
            await self.finish_with(self._transcription.error_events(end.message))


class TranslationsHandler(TranscriptionsHandler):
    """Serves `POST /v1/audio/translations`: refuses, because a model knows one language."""

    def read_request(self) -> RequestInfo:
        raise RequestError("this server transcribes speech; it does not translate it", None, "unsupported")


class ModelsHandler(CorsHandler):
    """Serves `GET /v1/models` and `GET /v1/models/MODEL`."""

    METHODS = "GET, OPTIONS"
    HEADERS = HEADERS

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub

    def get(self, name: str = "") -> None:
        """Lists the models, or describes one."""
        names = [model for model in self.hub.pool.status().models if model]
        self.set_header("Content-Type", AnswerFormat.JSON.value)
        if not name:
            self.finish(dumps(models_object(names, START_S)))
        elif name in names:
            self.finish(dumps(model_object(name, START_S)))
        else:
            text = f"there is no model {name!r}; those that there are: {', '.join(names) or 'none'}"
            self.set_status(404)
            self.finish(dumps(error_object(text, "invalid_request_error", "model", "model_not_found")))
