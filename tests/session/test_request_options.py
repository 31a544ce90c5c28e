"""Options of a request: any spelling and text are taken, anything else is refused by name."""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.session import Model
from pykaldi_server.session.options import SessionOptions
from pykaldi_server.session.request_options import EffectiveOptions, EndpointRule, RequestOptions


@pytest.mark.parametrize(
    "name",
    [
        "endpoint_rule2_min_trailing_silence",
        "endpoint-rule2-min-trailing-silence",
        "endpoint.rule2.min-trailing-silence",
        "Endpoint.Rule2_Min-Trailing_Silence",
    ],
)
def test_every_spelling_of_a_name_is_the_same(name: str) -> None:
    expected = RequestOptions(endpoint_rule2=EndpointRule(min_trailing_silence=0.75))
    assert RequestOptions.parse({name: 0.75}) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num-nbest": "3"}, RequestOptions(num_nbest=3)),
        ({"num-nbest": 3.0}, RequestOptions(num_nbest=3)),
        (
            {"decode-mbr": "true", "do-endpointing": "0"},
            RequestOptions(decode_mbr=True, do_endpointing=False),
        ),
        ({"lmwt-scale": "0.5", "beam": 9}, RequestOptions(lmwt_scale=0.5, beam=9.0)),
        ({"max-segment-length-in-secs": "inf"}, RequestOptions(max_segment_length_in_secs=math.inf)),
        ({"num-nbest": None}, RequestOptions()),
        ({}, RequestOptions()),
        (None, RequestOptions()),
        (RequestOptions(beam=3.0), RequestOptions(beam=3.0)),
    ],
)
def test_values_may_be_text(
    options: Mapping[str, object] | RequestOptions | None, expected: RequestOptions
) -> None:
    assert RequestOptions.parse(options) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num-nbset": 3}, "num-nbset: unknown option; the nearest known one is num-nbest"),
        ({"quux": 3}, "quux: unknown option; expected one of beam, decode-mbr, do-adaptation"),
        ({"num_nbest": 1, "num-nbest": 2}, "num-nbest: expected once, found in two spellings"),
        ({"num-nbest": "many"}, "num-nbest: expected a whole number, found 'many'"),
        ({"num-nbest": 2.5}, "num-nbest: expected a whole number, found 2.5"),
        ({"num-nbest": True}, "num-nbest: expected a whole number, found True"),
        ({"num-nbest": 0}, "num-nbest: expected 1 to 1000, found 0"),
        ({"decode_mbr": "maybe"}, "decode-mbr: expected true or false, found 'maybe'"),
        ({"decode_mbr": ""}, "decode-mbr: expected true or false, found ''"),
        ({"decode_mbr": 1}, "decode-mbr: expected true or false, found 1"),
        ({"lmwt-scale": math.nan}, "lmwt-scale: expected a number, found nan"),
        ({"lmwt-scale": [1]}, r"lmwt-scale: expected a number, found \[1\]"),
        ({"lmwt-scale": -1}, "lmwt-scale: expected 0.001 to 1000, found -1.0"),
        ({"traceback-period-in-secs": -0.1}, "traceback-period-in-secs: expected 0 or more seconds"),
        (
            {"endpoint.rule3.min-utterance-length": "-2"},
            "endpoint-rule3-min-utterance-length: expected 0 or more, found -2.0",
        ),
        ({"endpoint_rule6_min_utterance_length": 1}, "nearest known one is endpoint-rule"),
        ({"chunk-length-in-secs": 1}, "chunk-length-in-secs: only the model's configuration"),
        ({"frames_per_chunk": 1}, "frames-per-chunk: only the model's configuration"),
        ({"endpoint.silence-phones": "1"}, "endpoint-silence-phones: only the model's configuration"),
        ({3: 3}, "expected names with values, found the name 3"),
        ("num-nbest=3", "expected names with values, found 'num-nbest=3'"),
    ],
)
def test_what_is_wrong_is_named(options: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RequestOptions.parse(options)


def test_values_are_checked_in_python_too() -> None:
    with pytest.raises(ConfigError, match="num-nbest: expected 1 to 1000, found 0"):
        RequestOptions(num_nbest=0)
    with pytest.raises(ConfigError, match="min-trailing-silence: expected a number, found 'long'"):
        EndpointRule(min_trailing_silence="long")  # type: ignore[arg-type]


def test_types_are_those_of_the_models_options() -> None:
    hints = get_type_hints(RequestOptions)
    for owner in (SessionOptions, LatticeFasterDecoderOptions):
        owned = get_type_hints(owner)
        for name in {each.name for each in fields(owner)} & set(hints):
            assert hints[name] == owned[name] | None, name


def test_mappings_go_both_ways() -> None:
    options = RequestOptions(num_nbest=2, endpoint_rule1=EndpointRule(must_contain_nonsilence=True))
    mapping = options.as_mapping()
    assert mapping == {"num-nbest": 2, "endpoint-rule1-must-contain-nonsilence": True}
    assert RequestOptions.parse(mapping) == options


def test_without_a_request_the_model_decides(digits: Model) -> None:
    effective = EffectiveOptions.of(digits, RequestOptions())
    assert effective.session == digits.options
    assert effective.search == digits.acoustics.search_options
    assert effective.endpoint is digits.endpoint
    shown = effective.request.as_mapping()
    assert None not in shown.values()
    assert (shown["beam"], shown["num-nbest"], shown["do-word-alignment"]) == (13.0, 1, True)
    assert shown["endpoint-rule2-min-trailing-silence"] == digits.endpoint_rules.rule2.min_trailing_silence
    # What is shown can be asked for.
    assert EffectiveOptions.of(digits, RequestOptions.parse(shown)).request == effective.request


def test_rules_are_objects() -> None:
    for wrong in ({"min_trailing_silence": 1.5}, None):
        with pytest.raises(ConfigError, match="endpoint-rule2: expected an EndpointRule, found "):
            RequestOptions(endpoint_rule2=wrong)  # type: ignore[arg-type]


def test_a_search_may_only_be_narrower(digits: Model) -> None:
    search = EffectiveOptions.of(digits, RequestOptions(beam=9.0, max_active=150, lattice_beam=3.0)).search
    assert (search.beam, search.max_active, search.lattice_beam, search.min_active) == (9.0, 150, 3.0, 150)
    assert digits.acoustics.search_options.min_active == 200
    for name, value, expected in (
        ("beam", 14, "beam: expected a value above 0 and up to the model's 13.0, found 14.0"),
        ("beam", 0, "beam: expected a value above 0"),
        ("max_active", 7001, "max-active: expected a value from 2 and up to the model's 7000, found 7001"),
        ("max_active", 1, "max-active: expected a value from 2"),
        ("lattice_beam", math.inf, "lattice-beam: expected a value above 0 and up to the model's 6.0"),
    ):
        with pytest.raises(ConfigError, match=expected):
            digits.session(options={name: value})


def test_a_model_without_silence_phones_cannot_find_endpoints(models: Path) -> None:
    model = Model.load(models / "english:graph-digits", do_endpointing=False)
    model.endpoint_rules.silence_phones = ""
    with pytest.raises(ConfigError, match="do-endpointing: model english-digits cannot find endpoints"):
        model.session(options={"do-endpointing": True})


def test_a_plugin_has_no_endpoint_rules(gmm_plugin_config: Path) -> None:
    model = Model.load(gmm_plugin_config)
    with pytest.raises(ConfigError, match=r"endpoint-rule2: model digits ends .* found min-trailing-silence"):
        model.session(options={"endpoint-rule2-min-trailing-silence": 1})
    assert EffectiveOptions.of(model, RequestOptions(do_endpointing=False)).endpoint is None
