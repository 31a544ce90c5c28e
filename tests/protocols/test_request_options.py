"""Options of requests in headers, addresses and objects."""

from typing import Any
from urllib.parse import quote

import pytest

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.answers import ANSWER_NAMES
from pykaldi_server.protocols.request_options import HEADER, NAMES, parse_header, read_options
from pykaldi_server.session.request_options import RequestOptions

# What Kõnele, the Android client of kaldi-gstreamer-server, sends in its addresses, and a few more.
FIELDS_OF_OTHERS = (
    "content-type=audio%2Fx-raw&user-id=u&content-id=c&lang=et-EE&lm=http%3A%2F%2Fx&output-lang=en&user-agent=a"
    "&calling-package=b&partial=true&editorInfo_inputType=1&token=abc&model=m&device-id=d&access_token=1&id=5"
    "&country=EE&format=json&rate=16000&sample_rate=8000&language=et&phrases=a&user_id=x&content_id=y&options="
)


def test_the_names_are_those_that_sessions_know() -> None:
    for name in NAMES - {"channels"}:
        assert RequestOptions.parse({name: None}) == RequestOptions()
    everything = {name.replace("_", "-") for name in RequestOptions.__dataclass_fields__}
    rules = {name for name in everything if name.startswith("endpoint-rule")}
    assert everything - rules <= NAMES
    assert {name[: len("endpoint-rule1")] for name in NAMES if name.startswith("endpoint-rule")} == rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("num-nbest=3", {"num-nbest": "3"}),
        (
            'num-nbest=3, use_vad , channels="split",',
            {"num-nbest": "3", "use_vad": "true", "channels": "split"},
        ),
        ("use-vad=?1, decode-mbr=?0", {"use-vad": "true", "decode-mbr": "false"}),
        (' {"num-nbest": 3, "use-vad": true}', {"num-nbest": 3, "use-vad": True}),
        ("colour=red", {"colour": "red"}),
    ],
)
def test_the_header(text: str, expected: dict[str, Any]) -> None:
    assert parse_header(text) == expected


@pytest.mark.parametrize("text", ["=3", "num-nbest=", "{", '{"a"}', "a=1, =2"])
def test_headers_that_are_malformed(text: str) -> None:
    with pytest.raises(ProtocolError, match=HEADER):
        parse_header(text)


def test_all_places_come_together_and_the_last_counts() -> None:
    packed = quote('{"num.nbest": 4, "colour": "red"}')
    query = f"num_nbest=2&use-vad=1&options={packed}"
    options, answer = read_options(query, {HEADER: "num-nbest=1, beam=9, use-vad=0"})
    assert options == {"num-nbest": 4, "beam": "9", "use-vad": "1", "colour": "red"}
    assert answer == {}


def test_fields_of_the_answer_may_be_in_every_place() -> None:
    packed = quote('{"words": true}')
    options, answer = read_options(
        f"format=srt&options={packed}", {HEADER: "nbest=2, channels=split"}, ANSWER_NAMES
    )
    assert options == {"channels": "split"}
    assert answer == {"format": "srt", "words": "true", "nbest": "2"}


def test_short_names_where_the_protocol_has_no_answer() -> None:
    assert read_options("nbest=2&words=0", {})[0] == {"num-nbest": "2", "do-word-alignment": "0"}


@pytest.mark.parametrize("answer_names", [(), ANSWER_NAMES])
def test_other_fields_of_an_address_are_ignored(answer_names: tuple[str, ...]) -> None:
    assert read_options(FIELDS_OF_OTHERS, {}, answer_names)[0] == {}


@pytest.mark.parametrize(
    ("query", "name", "near"),
    [
        ("num-nbset=3", "num-nbset", "num-nbest"),
        ("channel=split", "channel", "channels"),
        ("usevad=1", "usevad", "use-vad"),
        ("formats=srt", "formats", "format"),
    ],
)
def test_what_looks_like_an_option_is_refused_by_name(query: str, name: str, near: str) -> None:
    with pytest.raises(ProtocolError, match=f"'{name}' in the address: unknown; the nearest .* is {near}"):
        read_options(query, {}, ANSWER_NAMES)
