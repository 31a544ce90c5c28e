"""One request as a worker sees it: messages from the master, work in a thread, events back, in order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.gstreamer import (
    Audio,
    ClientMessage,
    EndOfStream,
    RequestInfo,
    Status,
    dumps,
    error_message,
    parse_client_message,
    split_audio,
)
from pykaldi_server.session import Model
from pykaldi_server.session.events import AdaptationState, Event
from pykaldi_server.worker.event_messages import event_message
from pykaldi_server.worker.recognition import Recognition, status_of

logger = logging.getLogger(__name__)

RunInThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class CancelledByMasterError(Exception):
    """The master has closed the connection: its client is gone."""


class NoSpeechError(Exception):
    """Nothing new was recognised for longer than the configuration allows."""


class WorkerRequest:
    """Serves one request over a connection that has just got its first message.

    Args:
        connection: to the master.
        info: that first message.
        model: what to recognise with.
        run_in_thread: runs a function in a thread and returns its result.
        silence_timeout_s: ends the request when nothing new is recognised for so long; None never does.
    """

    def __init__(
        self,
        connection: WebSocketClientConnection,
        info: RequestInfo,
        model: Model,
        run_in_thread: RunInThread,
        silence_timeout_s: float | None,
    ) -> None:
        self._connection = connection
        self._info = info
        self._model = model
        self._run_in_thread = run_in_thread
        self._silence_timeout_s = silence_timeout_s
        self._last_result_s = asyncio.get_running_loop().time()
        self._coming = self._read_ahead()

    async def run(self) -> None:
        """Recognises to the end. Whatever goes wrong is told to the client, and only logged here."""
        info = self._info
        logger.info("%s: started, user %s, type %s", info.id, info.user_id, info.content_type)
        try:
            await self._recognize()
            logger.info("%s: done", info.id)
        except (CancelledByMasterError, WebSocketClosedError):
            logger.info("%s: cancelled", info.id)
        except NoSpeechError as error:
            await self._fail(Status.NO_SPEECH, str(error))
        except Exception as error:
            status, text = status_of(error)
            if status == Status.ABORTED:
                logger.exception("%s: failed", info.id)
            await self._fail(status, text)
        finally:
            self._coming.cancel()

    async def _recognize(self) -> None:
        recognition = await self._run_in_thread(lambda: Recognition(self._model, self._info))
        try:
            at_end = False
            while not at_end:
                message = await self._next_message()
                for part in self._parts(message):
                    await self._work(recognition, part)
                    at_end = isinstance(part, EndOfStream)
        finally:
            recognition.close()

    async def _work(self, recognition: Recognition, message: ClientMessage) -> None:
        """Does what a message asks, and tells the results of each step before the next."""
        steps = recognition.handle(message)
        while (events := await self._run_in_thread(lambda: next(steps, None))) is not None:
            if self._coming.done() and self._coming.result() is None:
                raise CancelledByMasterError
            for event in events:
                await self._tell(event)

    async def _tell(self, event: Event) -> None:
        if not isinstance(event, AdaptationState):
            self._last_result_s = asyncio.get_running_loop().time()
        await self._connection.write_message(dumps(event_message(event, self._info.id)))

    async def _next_message(self) -> str | bytes:
        deadline_s = (
            None if self._silence_timeout_s is None else self._last_result_s + self._silence_timeout_s
        )
        try:
            async with asyncio.timeout_at(deadline_s):
                message = await self._coming
        except TimeoutError:
            raise NoSpeechError(f"nothing was recognised for {self._silence_timeout_s:g} s") from None
        if message is None:
            raise CancelledByMasterError
        self._coming = self._read_ahead()
        return message

    def _read_ahead(self) -> "asyncio.Future[str | bytes | None]":
        """Waits for the next message already, so that a cancel is seen while there is still work to do."""
        return asyncio.ensure_future(self._connection.read_message())

    def _parts(self, message: str | bytes) -> list[ClientMessage]:
        """Understands a message; long audio comes in parts, between which a cancel is noticed."""
        try:
            parsed = parse_client_message(message)
        except ProtocolError as error:
            logger.warning("%s: message ignored: %s", self._info.id, error)
            return []
        if isinstance(parsed, Audio):
            return [Audio(piece) for piece in split_audio(parsed.data)]
        return [parsed]

    async def _fail(self, status: Status, text: str) -> None:
        logger.warning("%s: error %d: %s", self._info.id, status, text)
        try:
            await self._connection.write_message(dumps(error_message(status, text, self._info.id)))
        except WebSocketClosedError:
            logger.info("%s: gone before it heard of the error", self._info.id)
