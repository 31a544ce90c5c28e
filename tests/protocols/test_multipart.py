"""Forms with files, whole and in pieces."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.multipart import MAX_FIELD_BYTES, MAX_FIELDS, FormReader, is_form

TYPE = "multipart/form-data; boundary=xyz"


def part(headers: str, body: bytes) -> bytes:
    return b"--xyz\r\n" + headers.encode() + b"\r\n\r\n" + body + b"\r\n"


def field(name: str, value: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


def file(name: str, body: bytes, content_type: str = "audio/wav") -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return part(f"{disposition}\r\nContent-Type: {content_type}" if content_type else disposition, body)


END = b"--xyz--\r\n"


@given(st.binary(max_size=200), st.integers(1, 50))
def test_the_first_file_is_passed_on_however_the_form_is_cut(audio: bytes, size: int) -> None:
    form = (
        field("model", "ööd".encode())
        + file("a ö.wav", audio)
        + file("b.wav", b"second", "")
        + field("granularities[]", b"word")
        + field("granularities[]", b"segment")
        + END
    )
    reader = FormReader(TYPE)
    found = b"".join(reader.feed(form[begin : begin + size]) for begin in range(0, len(form), size))
    reader.finish()
    assert found == audio
    assert (reader.file_name, reader.file_type) == ("a ö.wav", "audio/wav")
    assert reader.fields == {"model": ["ööd"], "granularities[]": ["word", "segment"]}


def test_a_file_without_a_type() -> None:
    reader = FormReader(TYPE)
    assert reader.feed(file("x", b"audio", "") + END) == b"audio"
    assert reader.file_type == ""


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("filename*=UTF-8''na%C3%AFve%20file.wav", "naïve file.wav"),
        ("filename*=utf-8'en'x.wav", "x.wav"),
        ("FileName*=UTF-8''x.wav", "x.wav"),
        ("filename*=iso-8859-1''%A3.wav", "£.wav"),
        ("filename*=UTF-8''long.wav; filename=plain.wav", "plain.wav"),
        ("filename*=UTF-8''", ""),
        ("filename*0=a; filename*1=b.wav", "ab.wav"),
        ("filename*=no-such-set''%FF.wav", "ÿ.wav"),
        ("filename*=bogus", "bogus"),
    ],
)
def test_file_names_in_the_extended_form(parameter: str, name: str) -> None:
    reader = FormReader(TYPE)
    audio = reader.feed(part(f'Content-Disposition: form-data; name="file"; {parameter}', b"audio") + END)
    reader.finish()
    assert (audio, reader.file_name, reader.fields) == (b"audio", name, {})


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60))
def test_any_disposition_is_understood_or_refused(text: str) -> None:
    with suppress(ProtocolError):
        FormReader(TYPE).feed(
            part(f"Content-Disposition: form-data; name=a; filename*{text}", b"audio") + END
        )


def test_a_form_that_ends_early_is_damaged() -> None:
    reader = FormReader(TYPE)
    reader.feed(file("x", b"audio")[:-4])
    with pytest.raises(ProtocolError, match="expected a closing boundary, found the end of the body"):
        reader.finish()


def test_a_form_without_a_file_names_what_it_has() -> None:
    reader = FormReader(TYPE)
    reader.feed(field("model", b"x") + field("file", b"not a file") + END)
    with pytest.raises(ProtocolError, match="expected a part with a file name, found only model, file"):
        reader.finish()


def test_what_is_no_form_is_refused() -> None:
    with pytest.raises(ProtocolError, match="expected a boundary"):
        FormReader("multipart/form-data")
    with pytest.raises(ProtocolError, match="the form is damaged"):
        FormReader(TYPE).feed(b"RIFF....WAVE")


def test_fields_are_bounded() -> None:
    with pytest.raises(ProtocolError, match=f"field 'model': expected at most {MAX_FIELD_BYTES} bytes"):
        FormReader(TYPE).feed(field("model", bytes(MAX_FIELD_BYTES + 1)) + END)
    with pytest.raises(ProtocolError, match=f"at most {MAX_FIELDS} fields"):
        FormReader(TYPE).feed(field("x", b"") * (MAX_FIELDS + 1) + END)


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(body: bytes) -> None:
    reader = FormReader(TYPE)
    try:
        reader.feed(b"--xyz\r\n" + body)
        reader.finish()
    except ProtocolError:
        assert reader.file_name is None or reader.file_name.isprintable()


def test_types_of_forms() -> None:
    assert is_form("Multipart/Form-Data; boundary=x")
    assert not is_form("audio/wav")
