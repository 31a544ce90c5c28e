"""The WebSocket of vosk-server: see `protocols.vosk`."""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import replace

from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.gstreamer import parse_event, parse_query
from pykaldi_server.protocols.messages import INTERNAL_ERROR, INVALID_DATA, Message, Status, close_reason
from pykaldi_server.protocols.request_options import HEADER, parse_header
from pykaldi_server.protocols.vosk import Configuration, Configure, Dialogue, parse_client_message
from pykaldi_server.protocols.worker import Position

__all__ = ["UpgradeMatches", "VoskSocket"]

logger = logging.getLogger(__name__)


class UpgradeMatches(PathMatches):
    """Matches requests for a WebSocket, and leaves ordinary requests to other handlers of the path."""

    def match(self, request: HTTPServerRequest) -> dict[str, object] | None:
        is_upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        return super().match(request) if is_upgrade else None


class VoskSocket(LiveSocket):
    """Serves Vosk's protocol.

    A worker is looked for when the first audio comes: until then the configuration may name a model.
    """

    def initialize(self, hub: Hub, as_vosk_server: bool = False) -> None:
        """Tornado's constructor for handlers.

        Args:
            hub: what the master's handlers share.
            as_vosk_server: audio whose client states no rate has that of the options, not that of the model.
        """
        super().initialize(hub)
        self._default_rate_hz = hub.options.vosk_sample_rate_hz if as_vosk_server else None
        self._dialogue = Dialogue(Configuration())
        self._options: Message = {}
        self._relay: Relay | None = None

    def __str__(self) -> str:
        return f"Vosk client at {self.caller}"

    @staticmethod
    def refusal_message(text: str) -> str | None:
        """Vosk's protocol has no errors."""
        return None

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Accepts what Asterisk asks for."""
        return "ws" if "ws" in subprotocols else None

    async def opened(self) -> None:
        try:
            self._options = parse_header(self.request.headers.get(HEADER, ""))
            self._dialogue.receive(Configure(parse_query(self.request.query)))
        except ProtocolError as error:
            self._refuse(str(error))

    def receive(self, message: str | bytes) -> Awaitable[None] | None:
        if self._dialogue.is_over:
            return None
        try:
            parsed = parse_client_message(message)
            if isinstance(parsed, Configure) and self._dialogue.has_audio:
                logger.warning("%s: a configuration after the first audio has no effect", self)
            to_worker = self._dialogue.receive(parsed)
        except ProtocolError as error:
            self._refuse(str(error))
            return None
        for number, each in enumerate(to_worker, start=1):
            if (taking := self._started_relay().take(each)) is not None:
                return self._receive_rest(taking, to_worker[number:])
        return self._reply()

    async def _receive_rest(self, taking: Awaitable[None], to_worker: list[str | bytes]) -> None:
        """Goes on once the store has room for what it is given."""
        await taking
        for each in to_worker:
            await self._started_relay().send(each)
        if (replying := self._reply()) is not None:
            await replying

    def _reply(self) -> Awaitable[None] | None:
        """Sends the replies that are due; returns what to wait for, if anything."""
        if self._dialogue.is_over and self._relay is None:
            return self.end(End(Status.SUCCESS))
        writing = self.write_all(*self._dialogue.replies())
        return None if writing is None else self._until_written(writing)

    async def _until_written(self, writing: Awaitable[object]) -> None:
        timeout_s = self.hub.options.write_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await writing
        except TimeoutError:
            self._refuse(f"the client has not read its results for {timeout_s:g} s", INTERNAL_ERROR)

    def deliver(self, event: str) -> None:
        self._dialogue.hear(parse_event(event))

    def consumed(self, position: Position) -> Awaitable[object] | None:
        self._dialogue.consumed(position.num_bytes)
        return self.write_all(*self._dialogue.replies())

    async def end(self, end: End) -> None:
        is_success = end.status is Status.SUCCESS
        for reply in self._dialogue.last_replies() if is_success else self._dialogue.unreported():
            self.write_soon(reply)
        self.close(end.close_code, close_reason(end.message))

    def ended(self) -> None:
        if self._relay is not None and not self._relay.is_over:
            logger.info("%s: left", self)
            self._relay.cancel()

    def _started_relay(self) -> Relay:
        if self._relay is None:
            configuration = self._dialogue.configuration
            info = configuration.request_info(self._default_rate_hz)
            info = replace(info, options={**info.options, **self._options})
            logger.info("%s: opened by a %s, %s", info.id, self, configuration)
            if configuration.phrases:
                logger.warning(
                    "%s: phrase_list: %d phrases without effect: this version has no grammars, so that every "
                    "word of the model may be recognised",
                    info.id,
                    len(configuration.phrases),
                )
            self._relay = Relay(self.hub, info, self, self.caller, position_bytes=0, protocol="vosk")
            self._relay.start()
        return self._relay

    def _refuse(self, reason: str, code: int = INVALID_DATA) -> None:
        """Closes the connection of a client that does what it should not."""
        logger.warning("%s: closed: %s", self, reason)
        self._dialogue.is_over = True
        if self._relay is not None:
            self._relay.cancel()
        self.close(code, close_reason(reason))
