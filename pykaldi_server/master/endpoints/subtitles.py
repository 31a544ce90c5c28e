"""Subtitles for programs that have a transcript already, such as the page: segments in, text out."""

import asyncio
import json
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.web import stream_request_body

from pykaldi_server.errors import ProtocolError
from pykaldi_server.master.endpoints.upload import CorsHandler
from pykaldi_server.master.hub import Hub
from pykaldi_server.protocols.answers import AnswerFormat
from pykaldi_server.protocols.store import Holding
from pykaldi_server.protocols.subtitles import SUBTITLE_WRITERS
from pykaldi_server.protocols.transcript import Segment

__all__ = ["SubtitlesHandler"]

MAX_BODY_BYTES = 16 * 1024 * 1024  # a day of speech with its words
LARGE_BYTES = 1024 * 1024
"""Smaller bodies may come however many there are."""
DROPPED_BODY_BYTES = 4 * MAX_BODY_BYTES  # read before the answer says that the body is too large


@stream_request_body
class SubtitlesHandler(CorsHandler):
    """Serves `POST /client/dynamic/subtitles?format=srt|vtt|ttml`."""

    SUPPORTED_METHODS = ("POST", "OPTIONS")

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self._held = Holding(hub.arriving)
        self._body = bytearray()
        self._refusal: tuple[int, str] | None = None

    def prepare(self) -> None:
        cast(HTTP1Connection, self.request.connection).set_max_body_size(DROPPED_BODY_BYTES)

    def data_received(self, chunk: bytes) -> None:
        """Keeps a piece of the body, and nothing of one that is too large."""
        if self._refusal is not None:
            return
        self._body += chunk
        self._held.set(len(self._body))
        if len(self._body) > MAX_BODY_BYTES:
            self._refusal = 413, f"expected at most {MAX_BODY_BYTES} bytes, found more"
        elif len(self._body) > LARGE_BYTES and self._held.is_full:
            self._refusal = 503, "too many large transcripts arrive at the same time; try again later"
        if self._refusal is not None:
            self._let_go()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._let_go()

    def on_finish(self) -> None:
        self._let_go()

    async def post(self) -> None:
        """Answers with the subtitles of the body's segments, which are those of an answer with words."""
        name = self.get_query_argument("format", "srt").lower()
        if self._refusal is not None:
            self._refuse(*self._refusal)
            return
        try:
            if name not in SUBTITLE_WRITERS:
                raise ProtocolError(f"format: expected one of {', '.join(SUBTITLE_WRITERS)}, found {name!r}")
            body = bytes(self._body)
            text = await asyncio.to_thread(lambda: SUBTITLE_WRITERS[name](read_segments(body)))
        except ProtocolError as error:
            self._refuse(400, str(error))
            return
        self.set_header("Content-Type", AnswerFormat[name.upper()].value)
        self.finish(text)

    def _let_go(self) -> None:
        self._body.clear()
        self._held.set(0)

    def _refuse(self, code: int, text: str) -> None:
        self.set_status(code)
        self.set_header("Content-Type", AnswerFormat.TEXT.value)
        self.finish(f"{text}\n")


def read_segments(body: bytes) -> list[Segment]:
    """Reads the segments of an answer with words: ``{"segments": [{"start": ..., "words": [...]}, ...]}``.

    Raises:
        ProtocolError: the body is something else; the text names what.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"expected JSON, found other text: {error}") from None
    segments = answer.get("segments") if isinstance(answer, dict) else None
    if not isinstance(segments, list):
        raise ProtocolError("segments: expected a list of segments with words, found none")
    return [Segment.from_message(each) for each in segments]
