"""One request's recognition without its socket: messages of a client in, events of the session out."""

import logging
from collections.abc import Iterator
from typing import Any

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AdaptationStateError, AudioError, PykaldiServerError
from pykaldi_server.protocols.gstreamer import (
    Audio,
    ClientMessage,
    EndOfStream,
    Finalize,
    KeepAlive,
    RequestInfo,
    SetAdaptationState,
    Status,
    decode_adaptation_state,
)
from pykaldi_server.session import Model, Session
from pykaldi_server.session.events import Event

logger = logging.getLogger(__name__)


class Recognition:
    """Decodes and recognises the audio of one request. Any thread may use it, one at a time.

    Args:
        model: shared by all requests.
        info: who asks, and how the audio is encoded.

    Raises:
        AudioError: the content type makes no sense.
    """

    def __init__(self, model: Model, info: RequestInfo) -> None:
        self._model = model
        self._id = info.id
        self._decoder = AudioDecoder(info.content_type, None)
        self._adaptation_state: str | None = None
        self._session: Session | None = None

    def handle(self, message: ClientMessage) -> Iterator[list[Event]]:
        """Does what the client asks, step by step: a few bytes of compressed audio may be hours of speech.

        Yields:
            After each step what there is to tell, which may be nothing.

        Raises:
            AudioError: the audio cannot be decoded.
        """
        match message:
            case Audio(data):
                for samples in self._decoder.decode(data):
                    yield self._started().accept(samples)
            case Finalize():
                if self._session is not None:
                    yield self._session.finalize_segment()
            case EndOfStream():
                for samples in self._decoder.decode_rest():
                    yield self._started().accept(samples)
                yield self._started().finish()
            case SetAdaptationState(properties):
                self._set_adaptation_state(properties)
            case KeepAlive():
                logger.debug("%s: kept alive", self._id)

    def close(self) -> None:
        """Frees what the audio decoder holds."""
        self._decoder.close()

    def _set_adaptation_state(self, properties: dict[str, Any]) -> None:
        if self._session is not None:
            logger.warning("%s: adaptation state ignored: it must come before the audio", self._id)
            return
        try:
            self._adaptation_state = decode_adaptation_state(properties)
        except AdaptationStateError as error:
            logger.warning("%s: starting without an adaptation state: %s", self._id, error)

    def _started(self) -> Session:
        """The session, which starts when the adaptation state has had its chance."""
        if self._session is None:
            self._session = self._model.session(self._adaptation_state, self._decoder.sample_rate_hz)
        return self._session


def status_of(error: Exception) -> tuple[Status, str]:
    """The status and the text with which a request ends that failed with this error."""
    if isinstance(error, AudioError):
        return Status.AUDIO_CAPTURE, str(error)
    if isinstance(error, PykaldiServerError):
        return Status.ABORTED, str(error)
    return Status.ABORTED, "Internal error of the recogniser"
