"""One request's recognition without its socket: messages of a client in, events of the session out."""

import errno
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AdaptationStateError, AudioError, ConfigError, PykaldiServerError
from pykaldi_server.protocols.gstreamer import (
    Audio,
    ClientMessage,
    EndOfStream,
    Finalize,
    KeepAlive,
    Reset,
    SetAdaptationState,
    SetOptions,
    decode_adaptation_state,
    decode_cmvn_state,
)
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.worker import WorkerRequestInfo
from pykaldi_server.session import Model, Session
from pykaldi_server.session.channels import CHANNELS, AudioSession, parse_channels, start_session
from pykaldi_server.session.events import Event
from pykaldi_server.session.request_options import RequestOptions
from pykaldi_server.worker.recording import Recording

__all__ = ["Recognition", "is_out_of_memory", "status_of"]

logger = logging.getLogger(__name__)

STEP_S = 0.5
"""Audio is recognised in steps of this length, all channels together: between them a cancel is noticed, and
other requests have their turn."""


class Recognition:
    """Decodes and recognises the audio of one request. Any thread may use it, one at a time.

    Args:
        model: shared by all requests.
        info: who asks, and how the audio is encoded.
        out_dir: directory in which the audio is kept; None keeps none.

    Attributes:
        position_s: seconds of audio that have been processed.
        has_audio: audio has come.
        has_more: the message that is being handled has more steps than those that are done.

    Raises:
        AudioError: the content type is invalid.
        ConfigError: an option is unknown or its value is invalid.
    """

    def __init__(self, model: Model, info: WorkerRequestInfo, out_dir: Path | None = None) -> None:
        self.position_s = 0.0
        self.has_audio = False
        self.has_more = False
        self._model = model
        self._id = info.request.id
        self._content_type = info.request.content_type
        self._channels, options = parse_channels(info.options)
        self._decoder = AudioDecoder(self._content_type, None, self._channels)
        self._adaptation_states: dict[int, str] = {}  # by channel
        self._options = RequestOptions.parse(options)
        self._session: AudioSession | None = None
        self._out_dir = out_dir
        self._recording: Recording | None = None

    def handle(self, message: ClientMessage) -> Iterator[list[Event]]:
        """Does what the client asks, step by step: a few bytes of compressed audio may be hours of speech.

        Yields:
            After each step its events, of which there may be none.

        Raises:
            AudioError: the audio cannot be decoded.
            ConfigError: an option is unknown, or its value is invalid or does not suit the model.
        """
        if self._out_dir is not None and self._recording is None:
            self._recording = Recording(self._out_dir, self._id, self._model.sample_rate_hz)
        match message:
            case Audio(data):
                self.has_audio = self.has_audio or bool(data)
                yield from self._accept(self._decoder.decode(data))
            case Finalize():
                yield self.finalize()
            case EndOfStream():
                yield from self._accept(self._decoder.decode_rest(), is_end=True)
                yield self._started().finish()
            case Reset():
                yield [] if self._session is None else self._session.reset()
            case SetAdaptationState(properties):
                self._set_adaptation_state(properties)
            case SetOptions(options):
                self._set_options(options)
            case KeepAlive():
                logger.debug("%s: kept alive", self._id)

    def finalize(self) -> list[Event]:
        """Ends the current segment, and returns what was recognised of it."""
        return [] if self._session is None else self._session.finalize_segment()

    def close(self) -> None:
        """Frees what the audio decoder and the session hold, and completes the recording."""
        self._decoder.close()
        if self._recording is not None:
            self._recording.close()
        if self._session is not None:
            self._session.close()

    def _accept(self, decoded: Iterable[NDArray[np.float32]], is_end: bool = False) -> Iterator[list[Event]]:
        """Recognises audio step by step.

        Args:
            decoded: the audio.
            is_end: there is one more step after it.
        """
        pieces = self._pieces(decoded)
        piece = next(pieces, None)
        while piece is not None:
            if self._recording is not None:
                self._recording.write(piece, self._rate_hz)
            events = self._started().accept(piece)
            self.position_s += len(piece) / self._rate_hz
            try:
                piece = next(pieces, None)
            except Exception:  # what is wrong with the next piece does not concern this one
                self.has_more = True
                yield events
                raise
            self.has_more = piece is not None or is_end
            yield events
        self.has_more = False

    def _pieces(self, decoded: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Cuts audio into pieces of the length of a step."""
        for samples in decoded:
            num_channels = 1 if samples.ndim == 1 else max(1, samples.shape[1])
            step = max(1, round(STEP_S * self._rate_hz / num_channels))
            for begin in range(0, len(samples), step):
                yield samples[begin : begin + step]

    @property
    def _rate_hz(self) -> int:
        return self._decoder.sample_rate_hz or self._model.sample_rate_hz

    def _set_adaptation_state(self, properties: dict[str, Any]) -> None:
        """Notes the state of a channel's speaker; one that names no channel is of channel 0."""
        if self._session is not None:
            logger.warning("%s: adaptation state ignored: it must come before the audio", self._id)
            return
        channel = properties.get("channel") if self._channels == "split" else 0
        try:
            state = decode_adaptation_state(properties) + (decode_cmvn_state(properties) or "")
        except AdaptationStateError as error:
            logger.warning("%s: starting without an adaptation state: %s", self._id, error)
            return
        self._adaptation_states[channel if isinstance(channel, int) else 0] = state

    def _set_options(self, options: Mapping[str, Any]) -> None:
        if self.has_audio or self._session is not None:
            logger.warning("%s: options ignored: they must come before the audio", self._id)
            return
        channels, others = parse_channels(options)
        changed = RequestOptions.parse(others).as_mapping()
        self._options = RequestOptions.parse({**self._options.as_mapping(), **changed})
        if CHANNELS in options:
            self._channels = channels
            self._decoder.close()
            self._decoder = AudioDecoder(self._content_type, None, channels)

    def _started(self) -> AudioSession:
        """The session, which starts when the adaptation state and options have had their chance."""
        if self._session is None:
            self._session = start_session(self._start, self._channels, self._adaptation_states)
        return self._session

    def _start(self, adaptation_state: str | None) -> Session:
        return self._model.session(adaptation_state, self._decoder.sample_rate_hz, self._options)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the process can have no more memory."""
    is_thread = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    is_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or is_thread or is_system


def status_of(error: Exception) -> tuple[Status, str]:
    """The status and the text with which a request ends that failed with this error."""
    if isinstance(error, AudioError):
        return Status.AUDIO_CAPTURE, str(error)
    if isinstance(error, ConfigError):  # the model's own options were checked when it was loaded
        return Status.NOT_ALLOWED, str(error)
    if isinstance(error, PykaldiServerError):
        return Status.ABORTED, str(error)
    if is_out_of_memory(error):
        return Status.ABORTED, "The recogniser has run out of memory"
    return Status.ABORTED, "Internal error of the recogniser"
