"""Numbers in text, as Kaldi reads them (``util/text-utils.h``), which is not as Python does.

Python's ``int`` and ``float`` also accept underscores (``7_000``) and the digits of other scripts; Kaldi
refuses both. Its integers have 32 bits and its real numbers are single precision; it refuses larger values.
"""

import math
import re
import struct

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "convert_string_to_integer",
    "convert_string_to_real",
    "split_string_to_integers",
]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1

_INTEGER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"[+-]?inf(?:inity)?|-?1\.#inf", re.IGNORECASE)
_NAN = re.compile(r"[+-]?nan|-?1\.#qnan", re.IGNORECASE)
_WHITE = " \t\n\r\f\v"


def convert_string_to_integer(text: str) -> int:
    """Converts decimal text to an integer of 32 bits; spaces around it are allowed.

    Raises:
        ValueError: the text is not an integer or does not fit into 32 bits; the message says which.
    """
    word = text.strip(_WHITE)
    if not _INTEGER.fullmatch(word):
        raise ValueError(f"expected an integer, found {text!r}")
    # A short text is compared before it is converted: Python refuses to convert thousands of digits.
    value = int(word) if len(word.lstrip("+-0")) <= 10 else INT32_MAX + 1
    if not INT32_MIN <= value <= INT32_MAX:
        raise ValueError(f"expected an integer from {INT32_MIN} to {INT32_MAX}, found {text!r}")
    return value


def convert_string_to_real(text: str) -> float:
    """Converts text to a number of single precision; infinity and NaN have Kaldi's spellings.

    Raises:
        ValueError: the text is not a number or is beyond single precision; the message says which.
    """
    word = text.strip(_WHITE)
    if _INFINITY.fullmatch(word):
        return -math.inf if word.startswith("-") else math.inf
    if _NAN.fullmatch(word):
        return math.nan
    if not _REAL.fullmatch(word):
        raise ValueError(f"expected a number, found {text!r}")
    value = float(word)
    try:
        struct.pack("<f", value)
        is_single = math.isfinite(value)
    except OverflowError:
        is_single = False
    if not is_single:
        raise ValueError(f"expected a number of single precision (up to 3.4e38), found {text!r}")
    return value


def split_string_to_integers(text: str, delimiters: str = ":") -> list[int]:
    """Converts integers between delimiters, such as ``1:2:3``; an empty text is an empty list.

    Raises:
        ValueError: an element is empty, not an integer, or does not fit into 32 bits.
    """
    if not text:
        return []
    return [convert_string_to_integer(word) for word in re.split(f"[{re.escape(delimiters)}]", text)]
