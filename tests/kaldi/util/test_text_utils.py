"""Numbers in text are those that Kaldi accepts, no more and no fewer."""

import math

import pytest

from pykaldi_server.kaldi.util.text_utils import (
    convert_string_to_integer,
    convert_string_to_real,
    split_string_to_integers,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("7000", 7000), ("+7", 7), ("-7", -7), (" 7\t", 7), ("007", 7), ("-2147483648", -(2**31))],
)
def test_integers(text: str, value: int) -> None:
    assert convert_string_to_integer(text) == value


@pytest.mark.parametrize("text", ["", " ", "7_000", "٧", "1.0", "1e3", "0x10", "--7", "+ 7", "7 8", "inf"])
def test_what_is_not_an_integer(text: str) -> None:
    with pytest.raises(ValueError, match="expected an integer, found"):
        convert_string_to_integer(text)


@pytest.mark.parametrize("text", ["2147483648", "-2147483649", "99999999999", "9" * 10000])
def test_integers_beyond_32_bits(text: str) -> None:
    with pytest.raises(ValueError, match="expected an integer from -2147483648 to 2147483647"):
        convert_string_to_integer(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("13", 13.0), ("13.", 13.0), (".5", 0.5), ("-1.5e3", -1500.0), ("+1E-3", 0.001), (" 1 ", 1.0)),
        *(("1e-50", 1e-50), ("inf", math.inf), ("-INF", -math.inf), ("+Infinity", math.inf)),
        *(("1.#INF", math.inf), ("-1.#INF", -math.inf)),
    ],
)
def test_real_numbers(text: str, value: float) -> None:
    assert convert_string_to_real(text) == value


@pytest.mark.parametrize("text", ["nan", "-NaN", "1.#QNAN"])
def test_spellings_of_not_a_number(text: str) -> None:
    assert math.isnan(convert_string_to_real(text))


@pytest.mark.parametrize(
    "text", ["", "1_0", "1_0.5", "١٣", "1,5", "1e", "e5", ".", "0x1p3", "1f", "1 2", "infinit", "nan(1)"]
)
def test_what_is_not_a_number(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number, found"):
        convert_string_to_real(text)


@pytest.mark.parametrize("text", ["1e39", "-4e38", "1e400"])
def test_numbers_beyond_single_precision(text: str) -> None:
    with pytest.raises(ValueError, match="single precision"):
        convert_string_to_real(text)


def test_lists() -> None:
    assert split_string_to_integers("1:2:3") == [1, 2, 3]
    assert split_string_to_integers("") == []
    for text in ("1::2", "1:2:", "1:1_0", "1:b"):
        with pytest.raises(ValueError, match="expected an integer"):
            split_string_to_integers(text)
