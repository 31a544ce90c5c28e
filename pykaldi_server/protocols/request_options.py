"""Options of a request, wherever they are: in a header, in an address, or in a JSON object of the address.

    Recognition-Options: num-nbest=3, channels=split
    ?num-nbest=3&channels=split
    ?options={"num-nbest": 3, "channels": "split"}

Of a name that is in several places the last of these counts. The values are checked by the worker, which has
the model, as are unknown names in the header and in objects: all of them are refused.

An address has other fields, too: those of the protocol, and those that programs for kaldi-gstreamer-server
send and that it ignores. So the names of options are known here, and of the fields of an address only one
that looks like an option, but is not one, is refused.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.messages import Message, excerpt, parse_object

__all__ = ["HEADER", "NAMES", "parse_header", "read_options"]

HEADER = "Recognition-Options"

_RULE_OPTIONS = (
    "must-contain-nonsilence",
    "min-trailing-silence",
    "max-relative-cost",
    "min-utterance-length",
)
NAMES = frozenset(
    {
        "beam",
        "channels",
        "decode-mbr",
        "do-adaptation",
        "do-endpointing",
        "do-phone-alignment",
        "do-word-alignment",
        "end-at-pauses",
        "lattice-beam",
        "lmwt-scale",
        "max-active",
        "max-segment-length-in-secs",
        "max-segment-words",
        "min-words-for-ivector",
        "num-nbest",
        "partial-words",
        "traceback-period-in-secs",
        "use-vad",
        "vad-aggressiveness",
        "vad-hangover-ms",
        "vad-min-speech-ms",
        "vad-padding-ms",
        *(f"endpoint-rule{number}-{name}" for number in range(1, 6) for name in _RULE_OPTIONS),
    }
)
"""The options that a request may have."""

_ALIASES = {"nbest": "num-nbest", "words": "do-word-alignment"}
# Fields of other protocols and purposes whose names look like options.
_NO_OPTIONS = {"adaptation"}
_SAME_NAME = 0.85  # "num-nbset" is "num-nbest"; "decoder" is not "decode-mbr"
_BOOLEANS = {"?1": "true", "?0": "false"}


def read_options(
    query: str, headers: Mapping[str, str], answer_names: Collection[str] = ()
) -> tuple[Message, dict[str, str]]:
    """Reads the options of a request.

    Args:
        query: the query string of its address.
        headers: its headers, a mapping that ignores case.
        answer_names: fields that say how the answer looks, where the protocol has any.

    Returns:
        The options of the recogniser, and the fields of the answer, by name.

    Raises:
        ProtocolError: the header or ``options`` is malformed, or a field of the address looks like an option
            and is not one; the text names it.
    """
    options: Message = {}
    answer: dict[str, str] = {}
    for name, value in _given(query, headers.get(HEADER, ""), {*NAMES, *_ALIASES, *answer_names}):
        if _spelled(name) in answer_names:
            answer[_spelled(name)] = str(value).lower() if isinstance(value, bool) else str(value)
        else:
            known = _ALIASES.get(_spelled(name), _spelled(name))
            options[known if known in NAMES else name] = value
    return options, answer


def parse_header(text: str) -> Message:
    """Reads the header: a JSON object, or names with values, separated by commas.

    The latter is a dictionary of RFC 9651, whose values may also be plain text: ``num-nbest=3,
    partial-words`` sets a number and a switch.

    Raises:
        ProtocolError: it is neither.
    """
    if text.lstrip().startswith("{"):
        return parse_object(text, HEADER)
    options: Message = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, equals, value = item.partition("=")
        value = value.strip().strip('"')
        if not name.strip() or (equals and not value):
            raise ProtocolError(f"{HEADER}: expected name=value, found {excerpt(item)}")
        options[name.strip()] = _BOOLEANS.get(value, value) if equals else "true"
    return options


def _given(query: str, header: str, known: Collection[str]) -> Iterator[tuple[str, Any]]:
    """All options and fields of the answer that a request has, in the order in which they count."""
    yield from parse_header(header).items()
    fields = dict(parse_qsl(query, keep_blank_values=True))
    packed = fields.pop("options", "")
    for name, value in fields.items():
        spelled = _spelled(name)
        if spelled in known:
            yield name, value
        elif spelled not in _NO_OPTIONS and (
            near := difflib.get_close_matches(spelled, known, n=1, cutoff=_SAME_NAME)
        ):
            raise ProtocolError(
                f"{excerpt(name)} in the address: unknown; the nearest known one is {near[0]}"
            )
    if packed:
        yield from parse_object(packed, "options in the address").items()


def _spelled(name: str) -> str:
    """The name with hyphens, as `NAMES` has it."""
    return name.replace("_", "-").replace(".", "-").lower()
