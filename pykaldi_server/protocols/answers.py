"""The one answer that HTTP gives to an upload: the original's object, or the form that was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.messages import Message, Status, dumps
from pykaldi_server.protocols.subtitles import SUBTITLE_WRITERS
from pykaldi_server.protocols.transcript import Transcript, labelled

__all__ = ["ANSWER_NAMES", "Answer", "AnswerFormat", "AnswerRequest"]

ANSWER_NAMES = ("format", "words", "nbest")
"""Fields of an address, or of the header with options, that say how the answer looks."""

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


class AnswerFormat(Enum):
    """Forms of an answer; the value is its content type."""

    JSON = "application/json; charset=UTF-8"
    TEXT = "text/plain; charset=UTF-8"
    SRT = "application/x-subrip; charset=UTF-8"
    VTT = "text/vtt; charset=UTF-8"
    TTML = "application/ttml+xml; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """How a client wants its answer.

    Attributes:
        format: the form.
        words: the JSON object has segments with words, beside what the original's has. It has them anyway
            where each channel is recognised by itself.
        num_nbest: number of hypotheses of each segment; None leaves it as the model has it.
    """

    format: AnswerFormat = AnswerFormat.JSON
    words: bool = False
    num_nbest: int | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "AnswerRequest":
        """Reads the fields `ANSWER_NAMES`.

        Raises:
            ProtocolError: a value is invalid; the text names the field.
        """
        name = fields.get("format", "json").upper()
        if name not in AnswerFormat.__members__:
            known = ", ".join(each.name.lower() for each in AnswerFormat)
            raise ProtocolError(f"format: expected one of {known}, found {fields['format']!r}")
        words = fields.get("words", "").lower()
        if words not in _TRUE + _FALSE:
            raise ProtocolError(f"words: expected 0 or 1, found {fields['words']!r}")
        nbest = fields.get("nbest")
        if nbest is not None and not (nbest.isascii() and nbest.isdigit() and int(nbest) > 0):
            raise ProtocolError(f"nbest: expected a number above 0, found {nbest!r}")
        return cls(AnswerFormat[name], words in _TRUE, int(nbest) if nbest else None)


class Answer:
    """Collects the events of a request for its answer.

    Args:
        request_id: id of the request.
        wanted: the form.
    """

    def __init__(self, request_id: str, wanted: AnswerRequest) -> None:
        self._id = request_id
        self._wanted = wanted
        self._transcript = Transcript()

    def add(self, event: Message) -> None:
        """Notes an event."""
        self._transcript.add(event)

    def content(self, status: Status, message: str = "") -> tuple[str, str]:
        """The content type and the body.

        Errors are always objects; ``hypotheses`` is what was recognised before, and ``partial`` is the last
        partial result of a segment that was cut off, where there are any.

        Args:
            status: how the request has ended.
            message: describes the error.
        """
        if status is Status.SUCCESS and self._wanted.format is not AnswerFormat.JSON:
            return self._wanted.format.value, self._text()
        return AnswerFormat.JSON.value, dumps(self._object(status, message))

    def _text(self) -> str:
        segments = self._transcript.segments
        write = SUBTITLE_WRITERS.get(self._wanted.format.name.lower())
        if write is not None:
            return write(segments)
        return "".join(f"{labelled(segment.text, segment.channel)}\n" for segment in segments)

    def _object(self, status: Status, message: str) -> Message:
        transcript = self._transcript
        answer: Message = {"status": int(status), "id": self._id}
        if status is not Status.SUCCESS:
            answer["message"] = message
        if transcript.segments or status is Status.SUCCESS:
            answer["hypotheses"] = [{"utterance": transcript.text}]
        if transcript.partial and status is not Status.SUCCESS:
            answer["partial"] = transcript.partial
        if self._wanted.words or (self._wanted.num_nbest or 0) > 1 or transcript.has_channels:
            answer["segments"] = [segment.message() for segment in transcript.segments]
        return answer
