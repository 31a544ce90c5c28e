"""Forms with files (``multipart/form-data``, RFC 7578), read while they arrive.

The first part with a file name is the audio; it is passed on as it comes and not kept. The other parts are
fields. RFC 7578 forbids names in the extended form of RFC 5987 (``filename*=UTF-8''...``), but there are
clients that send nothing else; where both come, the plain one counts.
"""

from dataclasses import dataclass, field
from email.message import Message as Headers
from email.utils import collapse_rfc2231_value

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.messages import clean_text

__all__ = ["FormReader", "is_form"]

MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 100


def is_form(content_type: str) -> bool:
    """Whether a body is a form with files."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)


class FormReader:
    """Reads one form.

    Args:
        content_type: of the body, with the boundary between the parts.

    Attributes:
        fields: values of the fields that have come completely, by name, in order.
        file_name: name of the first file; None while none has come.
        file_type: its content type; empty where the client names none.

    Raises:
        ProtocolError: the content type names no boundary.
    """

    def __init__(self, content_type: str) -> None:
        self.fields: dict[str, list[str]] = {}
        self.file_name: str | None = None
        self.file_type = ""
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary", b"")
        if not boundary:
            raise ProtocolError(
                f"Content-Type: expected a boundary between the parts, found {content_type!r}"
            )
        self._part = _Part()
        self._audio_part: _Part | None = None
        self._audio = bytearray()
        self._num_fields = 0
        self._is_complete = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the body, and returns the bytes of the file that are in them.

        Raises:
            ProtocolError: the form is damaged, or its fields are too large.
        """
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise ProtocolError(f"the form is damaged: {error}") from None
        audio, self._audio = bytes(self._audio), bytearray()
        return audio

    def finish(self) -> None:
        """Checks that the whole form has come, with a file in it.

        Raises:
            ProtocolError: it has not.
        """
        if not self._is_complete:
            raise ProtocolError("the form is damaged: expected a closing boundary, found the end of the body")
        if self.file_name is None:
            names = ", ".join(self.fields) or "no fields"
            raise ProtocolError(f"expected a part with a file name, found only {names}")

    def _begin_part(self) -> None:
        self._part = _Part()

    def _end_header(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        self._part.headers[name] = self._header_value.decode("latin-1")
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, parameters = parse_options_header(self._part.headers.get("content-disposition", ""))
        self._part.name = clean_text(parameters.get(b"name", b"").decode("utf-8", "replace"))
        plain_name = parameters.get(b"filename")
        if plain_name is not None:
            file_name: str | None = plain_name.decode("utf-8", "replace")
        else:
            file_name = _extended_file_name(self._part.headers.get("content-disposition", ""))
        self._part.is_file = file_name is not None
        if file_name is not None and self._audio_part is None:
            self._audio_part = self._part
            self.file_name = clean_text(file_name)
            self.file_type = clean_text(self._part.headers.get("content-type", ""))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part is self._audio_part:
            self._audio += data[start:end]
        elif not self._part.is_file:  # of several files, only the first is used
            self._part.data += data[start:end]
            if len(self._part.data) > MAX_FIELD_BYTES:
                raise ProtocolError(
                    f"field {self._part.name!r}: expected at most {MAX_FIELD_BYTES} bytes, found more"
                )

    def _end_part(self) -> None:
        if self._part.is_file:
            return
        self._num_fields += 1
        if self._num_fields > MAX_FIELDS:
            raise ProtocolError(f"expected at most {MAX_FIELDS} fields, found more")
        text = self._part.data.decode("utf-8", "replace")
        self.fields.setdefault(self._part.name, []).append(text)

    def _end(self) -> None:
        self._is_complete = True


def _extended_file_name(disposition: str) -> str | None:
    """The file name in a Content-Disposition that has it in the extended form; None if it has none."""
    if "*" not in disposition:
        return None
    headers = Headers()
    headers["Content-Disposition"] = disposition
    name = headers.get_param("filename", None, "content-disposition")
    return None if name is None else collapse_rfc2231_value(name)
