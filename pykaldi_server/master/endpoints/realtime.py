"""OpenAI's realtime API: sessions that transcribe, and the keys that open them. See `protocols.realtime`."""

import asyncio
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import replace

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.access.visitors import caller_of
from pykaldi_server.master.endpoints.openai import refusal_code
from pykaldi_server.master.endpoints.upload import CorsHandler
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.answers import AnswerFormat
from pykaldi_server.protocols.client_secrets import ClientSecret, api_key, is_client_secret, lifetime_s
from pykaldi_server.protocols.gstreamer import EOS, NO_ID, Adaptation, parse_event, parse_query
from pykaldi_server.protocols.messages import (
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    Message,
    Status,
    close_reason,
    dumps,
    parse_object,
)
from pykaldi_server.protocols.openai import RequestError, choose_model, error_object, is_transcriber, user_of
from pykaldi_server.protocols.realtime import MAX_AUDIO_BYTES, Dialogue, error_event
from pykaldi_server.protocols.realtime_settings import ChooseModel, Settings
from pykaldi_server.protocols.worker import Position

__all__ = [
    "ClientSecretsHandler",
    "ConversationSessionsHandler",
    "RealtimeSocket",
    "TranscriptionSessionsHandler",
]

logger = logging.getLogger(__name__)

SUBPROTOCOL = "realtime"
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
BETA_HEADER = "realtime=v1"
NO_CONVERSATIONS = "this server transcribes and holds no conversations; expected intent=transcription"
# Codes of errors with which a session ends.
CODES = {Status.NO_SPEECH: "no_speech"}


def _chooser(hub: Hub) -> ChooseModel:
    """Chooses among the models of a master."""

    def choose(name: str, language: str) -> str | None:
        return choose_model(name, language, hub.models, hub.pool.default_model)

    return choose


def _unknown_key(key: str) -> str:
    """The body of the answer to a request with an ephemeral key that is unknown or has expired."""
    text = f"the API key: expected a client secret that is valid, found {key[:6]}..., unknown or expired"
    return dumps(error_object(text, "invalid_request_error", None, "invalid_api_key"))


class RealtimeSocket(LiveSocket):
    """Serves `/v1/realtime`.

    A worker is looked for when the first audio comes: until then the client may choose a model.
    """

    # An event with as much audio as is allowed, in base64, and its other fields.
    MAX_TEXT_BYTES = (MAX_AUDIO_BYTES + 2) // 3 * 4 + 64 * 1024

    def initialize(self, hub: Hub) -> None:
        super().initialize(hub)
        self._secret: ClientSecret | None = None
        self._dialogue: Dialogue | None = None
        self._relay: Relay | None = None
        self._user = NO_ID
        self._adaptation: Adaptation | None = None
        self._completing: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"realtime client at {self.caller}"

    @staticmethod
    def refusal_message(text: str) -> str | None:
        return dumps(error_event(text, code="invalid_api_key"))

    def prepare(self) -> None:
        """Refuses ephemeral keys that are not known."""
        super().prepare()
        key = api_key(self.request.headers.get("Authorization", ""), self._offered_subprotocols())
        if not is_client_secret(key):
            return
        self._secret = self.hub.client_secrets.find(key)
        if self._secret is None:
            logger.warning("%s: refused: its client secret is unknown or has expired", self)
            self.set_status(401)
            self.set_header("Content-Type", AnswerFormat.JSON.value)
            self.finish(_unknown_key(key))

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """The one that is none of the key's."""
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    async def opened(self) -> None:
        query = parse_query(self.request.query)
        intent, model = query.get("intent", ""), query.get("model", "")
        is_transcription = intent == "transcription" or self._secret is not None
        if not is_transcription and (intent or not is_transcriber(model, self.hub.models)):
            self._refuse(RequestError(NO_CONVERSATIONS, "intent", "unsupported_session"))
            return
        settings = Settings.default() if self._secret is None else self._secret.settings
        try:
            settings = settings.with_model(model, _chooser(self.hub))
            self._user, self._adaptation = user_of({}, self.request.headers, self.request.query)
        except RequestError as error:
            self._refuse(error)
            return
        dialogue = self._dialogue = Dialogue(settings, _chooser(self.hub), self._is_beta())
        logger.info("%s: opened, session %s", self, dialogue.id)
        dialogue.begin()
        if (writing := self.write_all(*dialogue.replies())) is not None:
            await writing

    async def receive(self, message: str | bytes) -> None:
        dialogue = self._dialogue
        if dialogue is None or (self._relay is not None and self._relay.is_over):
            return
        to_worker = dialogue.receive(message)
        timeout_s = self.hub.options.write_timeout_s
        try:
            if (writing := self.write_all(*dialogue.replies())) is not None:
                async with asyncio.timeout(timeout_s):
                    await writing
        except TimeoutError:
            logger.warning("%s: closed: it has not read its events for %g s", self, timeout_s)
            self._dialogue = None
            self._cancel()
            self.close(INTERNAL_ERROR, f"the client has not read its events for {timeout_s:g} s")
            return
        for each in to_worker:
            await self._started_relay(dialogue).send(each)

    def deliver(self, event: str) -> Awaitable[object] | None:
        if self._dialogue is None:
            return None
        self._dialogue.hear(parse_event(event))
        return self.write_all(*self._dialogue.replies())

    def consumed(self, position: Position) -> Awaitable[object] | None:
        if self._dialogue is None:
            return None
        self._dialogue.consumed(position)
        return self.write_all(*self._dialogue.replies())

    async def end(self, end: End) -> None:
        if self._dialogue is not None and end.status is not Status.SUCCESS:
            is_refused = end.status is Status.NOT_AVAILABLE
            code = refusal_code(end) if is_refused else CODES.get(end.status)
            self._dialogue.fail(end.status, end.message, code)
            for reply in self._dialogue.replies():
                self.write_soon(reply)
        self.close(end.close_code, close_reason(end.message))

    def ended(self) -> None:
        """The usual end of a session; if what it teaches of its user is kept, the rest is recognised."""
        logger.info("%s: left", self)
        self._dialogue = None
        if self._relay is not None and self._relay.keeps_state and self.peer_has_closed:
            self._completing = asyncio.create_task(self._relay.send(EOS))
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._relay is not None and not self._relay.is_over:
            self._relay.cancel()

    def _started_relay(self, dialogue: Dialogue) -> Relay:
        if self._relay is None:
            info = replace(
                dialogue.settings.request_info(dialogue.id), user_id=self._user, adaptation=self._adaptation
            )
            logger.info("%s: session %s of a %s, %s", info.id, dialogue.id, self, info.content_type)
            self._relay = Relay(self.hub, info, self, self.caller, position_bytes=1, protocol="realtime")
            self._relay.start()
        return self._relay

    def _offered_subprotocols(self) -> list[str]:
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        return [each.strip() for each in offered.split(",")]

    def _is_beta(self) -> bool:
        said = self.request.headers.get("OpenAI-Beta", "").replace(" ", "").split(",")
        return BETA_HEADER in said or BETA_SUBPROTOCOL in self._offered_subprotocols()

    def _refuse(self, error: RequestError) -> None:
        """Closes the connection of a client that asks for what this server does not have."""
        self.hub.metrics.errors["invalid_request"] += 1
        logger.warning("%s: closed: %s", self, error)
        self.write_soon(dumps(error_event(str(error), param=error.param, code=error.code)))
        self.close(POLICY_VIOLATION, close_reason(str(error)))


class _SessionsHandler(CorsHandler, ABC):
    """The base of addresses that make keys."""

    HEADERS = "authorization, content-type, accept, openai-beta, openai-organization, openai-project"
    SUPPORTED_METHODS = ("POST", "OPTIONS")

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self.hub = hub
        self.caller = caller_of(self.request)

    def post(self) -> None:
        """Makes a key with the settings in the body."""
        self.set_header("Content-Type", AnswerFormat.JSON.value)
        key = api_key(self.request.headers.get("Authorization", ""), ())
        if is_client_secret(key) and (
            self.hub.access.needs_tokens or self.hub.client_secrets.find(key) is None
        ):  # a key that made others would never expire
            self.set_status(401)
            self.finish(_unknown_key(key))
            return
        try:
            body = parse_object(self.request.body, "the body") if self.request.body else {}
            answer = self.create(body, f"sess_{uuid.uuid4().hex}")
        except ProtocolError as error:
            param, code = (error.param, error.code) if isinstance(error, RequestError) else (None, None)
            logger.warning("a key for a session refused: %s", error)
            self.set_status(429 if code == "rate_limit_exceeded" else 400)
            self.finish(dumps(error_object(str(error), "invalid_request_error", param, code)))
        else:
            self.finish(dumps(answer))

    @abstractmethod
    def create(self, body: Message, session_id: str) -> Message:
        """Makes a key, and returns the answer.

        Raises:
            ProtocolError: a field of the body is invalid.
        """


class ClientSecretsHandler(_SessionsHandler):
    """Serves `POST /v1/realtime/client_secrets`."""

    def create(self, body: Message, session_id: str) -> Message:
        settings = Settings.default()
        if body.get("session") is not None:
            settings = settings.updated(body["session"], _chooser(self.hub))
        for_s = lifetime_s(body.get("expires_after"), "expires_after")
        secret = self.hub.client_secrets.create(settings, for_s, self.caller.name)
        session = {**settings.session_object(session_id), "expires_at": secret.expires_at_s}
        return {"value": secret.value, "expires_at": secret.expires_at_s, "session": session}


class TranscriptionSessionsHandler(_SessionsHandler):
    """Serves `POST /v1/realtime/transcription_sessions`, of the beta."""

    def create(self, body: Message, session_id: str) -> Message:
        wanted = body.get("client_secret") or {}
        expiry = wanted.get("expires_at", wanted.get("expires_after")) if isinstance(wanted, dict) else wanted
        for_s = lifetime_s(expiry, "client_secret.expires_at")
        settings = Settings.default().updated(body, _chooser(self.hub))
        secret = self.hub.client_secrets.create(settings, for_s, self.caller.name)
        key = {"value": secret.value, "expires_at": secret.expires_at_s}
        return settings.beta_session_object(session_id, key)


class ConversationSessionsHandler(_SessionsHandler):
    """Serves `POST /v1/realtime/sessions`: refuses, because these are conversations."""

    def create(self, body: Message, session_id: str) -> Message:
        raise RequestError("this server transcribes and holds no conversations", None, "unsupported_session")
