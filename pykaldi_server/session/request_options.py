"""What a request may change of how its session works.

The options have the names that they have in a model's configuration. Names may be written with underscores
as in Python (``num_nbest``), with hyphens as in JSON and queries (``num-nbest``) and, where Kaldi has dots,
with those (``endpoint.rule2.min-trailing-silence``). Values may be text, as queries and headers have it.

A request chooses what its results contain and when segments end, and it may make the search narrower than the
model's. It cannot change what the network computes, nor how audio is cut for it: that is the model's, and
results are compared with it.
"""

import functools
import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions
from pykaldi_server.kaldi.online2 import OnlineEndpointConfig, OnlineEndpointRule
from pykaldi_server.kaldi.util.options import registered_options
from pykaldi_server.session.acoustics.stream import Endpoint
from pykaldi_server.session.endpoint_rules import rules_in_effect
from pykaldi_server.session.model_parts import ModelParts
from pykaldi_server.session.options import NetworkOptions, SessionOptions

__all__ = ["EffectiveOptions", "EndpointRule", "RequestOptions"]

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}


def _spelled(name: str) -> str:
    """The name with hyphens: the spelling that errors use."""
    return name.replace("_", "-").replace(".", "-").lower()


def _field(kind: type, name: str) -> "Field[Any]":
    return next(each for each in fields(kind) if each.name == name)


def _option_fields(kind: type) -> list["Field[Any]"]:
    return [each for each in fields(kind) if "type" in each.metadata]


def _of(owner: type, name: str) -> Any:
    """Declares an option of a request that is field ``name`` of the options class ``owner``."""
    source = _field(owner, name)
    return field(default=None, metadata={"help": source.metadata["help"], "type": type(source.default)})


class _Overlay:
    """Base of dataclasses whose fields are options that may be given (a value) or not (None)."""

    # The part of the name that comes before the field's, for errors.
    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for each in _option_fields(type(self)):
            value = getattr(self, each.name)
            if value is not None:
                converted = _convert(_spelled(self.prefix + each.name), value, each.metadata["type"])
                object.__setattr__(self, each.name, converted)

    def given(self, owner: type) -> dict[str, Any]:
        """The options that are given and are fields of the options class ``owner``."""
        names = {each.name for each in fields(owner)} & {each.name for each in _option_fields(type(self))}
        values = {name: getattr(self, name) for name in sorted(names)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class EndpointRule(_Overlay):
    """What a request changes of one of Kaldi's endpoint rules; None leaves a value as the model has it."""

    prefix = "endpoint-rule-"

    must_contain_nonsilence: bool | None = _of(OnlineEndpointRule, "must_contain_nonsilence")
    min_trailing_silence: float | None = _of(OnlineEndpointRule, "min_trailing_silence")
    max_relative_cost: float | None = _of(OnlineEndpointRule, "max_relative_cost")
    min_utterance_length: float | None = _of(OnlineEndpointRule, "min_utterance_length")


_UNCHANGED = EndpointRule()


@dataclass(frozen=True, kw_only=True)
class RequestOptions(_Overlay):
    """Options of a request; None, the default of each, leaves it as the model has it.

    Values are checked when the object is made, and against the model when the session starts.

    Raises:
        ConfigError: a value is invalid; the text names the option, what was expected and what was found.
    """

    num_nbest: int | None = _of(SessionOptions, "num_nbest")
    decode_mbr: bool | None = _of(SessionOptions, "decode_mbr")
    do_word_alignment: bool | None = _of(SessionOptions, "do_word_alignment")
    do_phone_alignment: bool | None = _of(SessionOptions, "do_phone_alignment")
    partial_words: bool | None = _of(SessionOptions, "partial_words")
    traceback_period_in_secs: float | None = _of(SessionOptions, "traceback_period_in_secs")
    end_at_pauses: bool | None = _of(SessionOptions, "end_at_pauses")
    max_segment_length_in_secs: float | None = _of(SessionOptions, "max_segment_length_in_secs")
    max_segment_words: int | None = _of(SessionOptions, "max_segment_words")
    lmwt_scale: float | None = _of(SessionOptions, "lmwt_scale")
    do_adaptation: bool | None = _of(SessionOptions, "do_adaptation")
    min_words_for_ivector: int | None = _of(SessionOptions, "min_words_for_ivector")
    use_vad: bool | None = _of(SessionOptions, "use_vad")
    vad_aggressiveness: int | None = _of(SessionOptions, "vad_aggressiveness")
    vad_min_speech_ms: int | None = _of(SessionOptions, "vad_min_speech_ms")
    vad_hangover_ms: int | None = _of(SessionOptions, "vad_hangover_ms")
    vad_padding_ms: int | None = _of(SessionOptions, "vad_padding_ms")
    beam: float | None = _of(LatticeFasterDecoderOptions, "beam")
    max_active: int | None = _of(LatticeFasterDecoderOptions, "max_active")
    lattice_beam: float | None = _of(LatticeFasterDecoderOptions, "lattice_beam")
    do_endpointing: bool | None = _of(SessionOptions, "do_endpointing")
    endpoint_rule1: EndpointRule = _UNCHANGED
    endpoint_rule2: EndpointRule = _UNCHANGED
    endpoint_rule3: EndpointRule = _UNCHANGED
    endpoint_rule4: EndpointRule = _UNCHANGED
    endpoint_rule5: EndpointRule = _UNCHANGED

    def __post_init__(self) -> None:
        super().__post_init__()
        replace(SessionOptions(), **self.given(SessionOptions)).validate()
        for name, rule in self.rules().items():
            if not isinstance(rule, EndpointRule):
                raise ConfigError(f"{_spelled(name)}: expected an EndpointRule, found {rule!r}")
            for time in ("min_trailing_silence", "min_utterance_length"):
                value = getattr(rule, time)
                if value is not None and value < 0:
                    raise ConfigError(f"{_spelled(f'{name}_{time}')}: expected 0 or more, found {value}")

    @classmethod
    def parse(cls, options: "Mapping[str, object] | RequestOptions | None") -> Self:
        """Reads options as they come in a query, headers, JSON or Python code.

        Args:
            options: names, in any spelling, with values; a value of None counts as not given.

        Raises:
            ConfigError: a name is unknown, is not for requests, or appears twice; or a value is invalid.
        """
        if options is None:
            return cls()
        if isinstance(options, cls):
            return options
        if not isinstance(options, Mapping):
            raise ConfigError(f"options: expected names with values, found {options!r}")
        given: dict[str, object] = {}
        for name, value in options.items():
            if not isinstance(name, str):
                raise ConfigError(f"options: expected names with values, found the name {name!r}")
            spelled = _spelled(name)
            if spelled not in _names():
                raise _unknown(spelled, name)
            if spelled in given:
                raise ConfigError(f"{spelled}: expected once, found in two spellings")
            given[spelled] = value
        return cls._from_names(given)

    @classmethod
    def _from_names(cls, given: Mapping[str, object]) -> Self:
        values: dict[str, Any] = {}
        rules: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            rule, option_name = _names()[name]
            kind = _field(EndpointRule if rule else cls, option_name).metadata["type"]
            checked = None if value is None else _convert(name, value, kind)
            (rules.setdefault(rule, {}) if rule else values)[option_name] = checked
        values |= {rule: EndpointRule(**changes) for rule, changes in rules.items()}
        return cls(**values)

    def rules(self) -> dict[str, EndpointRule]:
        """The endpoint rules by the names of their fields."""
        return {each.name: getattr(self, each.name) for each in fields(self) if "type" not in each.metadata}

    def as_mapping(self) -> dict[str, bool | int | float]:
        """The options that are given, by their names with hyphens, such as `parse` takes."""
        values = {
            name: getattr(getattr(self, rule) if rule else self, option_name)
            for name, (rule, option_name) in _names().items()
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class EffectiveOptions:
    """What a session works with: the model's options, and over them those of the request.

    Attributes:
        session: options of the session.
        search: options of the search.
        rules: endpoint rules.
        endpoint: what ends segments; None when endpointing is off.
    """

    session: SessionOptions
    search: LatticeFasterDecoderOptions
    rules: OnlineEndpointConfig
    endpoint: Endpoint | None

    @classmethod
    def of(cls, parts: ModelParts, request: RequestOptions) -> "EffectiveOptions":
        """Lays the options of a request over those of a model.

        Raises:
            ConfigError: the model cannot do what the request asks for; the text names the option.
        """
        session = replace(parts.options, **request.given(SessionOptions))
        search = _narrower(parts.acoustics.search_options, request)
        rules = _changed_rules(parts, request)
        return cls(session, search, rules, _endpoint(parts, session, rules))

    @functools.cached_property
    def request(self) -> RequestOptions:
        """All options that a request may give, with the values that are in effect."""
        values: dict[str, Any] = {
            each.name: getattr(self.session if hasattr(self.session, each.name) else self.search, each.name)
            for each in _option_fields(RequestOptions)
        }
        values |= {name: EndpointRule(**asdict(rule)) for name, rule in _rules_of(self.rules)}
        return RequestOptions(**values)


def _narrower(model: LatticeFasterDecoderOptions, request: RequestOptions) -> LatticeFasterDecoderOptions:
    """The options of a search that costs at most what the model's does."""
    given = request.given(LatticeFasterDecoderOptions)
    for name, value in given.items():
        low, high = (2 if name == "max_active" else 0.0), getattr(model, name)
        if not low <= value <= high or value == 0:
            expected = f"from {low}" if low else "above 0"
            raise ConfigError(
                f"{_spelled(name)}: expected a value {expected} and up to the model's {high}, found {value}"
            )
    search = replace(model, **given)
    search.min_active = min(search.min_active, search.max_active)
    return search


def _rules_of(rules: OnlineEndpointConfig) -> Iterator[tuple[str, OnlineEndpointRule]]:
    """The rules of a model by the names of the fields of `RequestOptions`."""
    for number, rule in enumerate(rules.rules(), 1):
        yield f"endpoint_rule{number}", rule


def _changed_rules(parts: ModelParts, request: RequestOptions) -> OnlineEndpointConfig:
    """The model's endpoint rules with the changes of a request; the model's own object without changes."""
    changed: dict[str, Any] = {}
    for name, rule in _rules_of(parts.endpoint_rules):
        given = getattr(request, name).given(OnlineEndpointRule)
        if given and not parts.acoustics.has_endpoint_rules:
            raise ConfigError(
                f"{_spelled(name)}: model {parts.name} ends segments by a rule of its own; expected no "
                f"endpoint rules, found {', '.join(map(_spelled, given))}"
            )
        if given:
            changed[name.removeprefix("endpoint_")] = replace(rule, **given)
    return replace(parts.endpoint_rules, **changed) if changed else parts.endpoint_rules


def _endpoint(parts: ModelParts, session: SessionOptions, rules: OnlineEndpointConfig) -> Endpoint | None:
    if not session.do_endpointing:
        return None
    is_models = rules is parts.endpoint_rules and session.end_at_pauses == parts.options.end_at_pauses
    if is_models and parts.endpoint is not None:
        return parts.endpoint
    try:
        return parts.acoustics.make_endpoint(rules_in_effect(rules, session))
    except ConfigError as error:
        raise ConfigError(f"do-endpointing: model {parts.name} cannot find endpoints: {error}") from None


@functools.cache
def _names() -> dict[str, tuple[str, str]]:
    """Name of each option with hyphens -> the field of its rule ('' for none), and its own field."""
    names = {_spelled(each.name): ("", each.name) for each in _option_fields(RequestOptions)}
    for rule in RequestOptions().rules():
        for each in _option_fields(EndpointRule):
            names[_spelled(f"{rule}_{each.name}")] = (rule, each.name)
    return names


@functools.cache
def _names_of_models() -> frozenset[str]:
    """Options that the configuration of a model may have."""
    return frozenset(_spelled(each.name) for each in registered_options(NetworkOptions()))


def _unknown(spelled: str, name: str) -> ConfigError:
    if spelled == "channels":
        return ConfigError(
            "channels: a session takes one channel; transcribe and Model.stream take this option"
        )
    if spelled in _names_of_models():
        return ConfigError(f"{spelled}: only the model's configuration can set this option, not a request")
    import difflib

    near = difflib.get_close_matches(spelled, _names(), n=1)
    hint = f"the nearest known one is {near[0]}" if near else f"expected one of {', '.join(sorted(_names()))}"
    return ConfigError(f"{name}: unknown option; {hint}")


def _convert(name: str, value: object, kind: type) -> bool | int | float:
    """Converts a value, which may be text, to the type of its option."""
    converted: bool | int | float | None = None
    text = value.strip().lower() if isinstance(value, str) else None
    if kind is bool:
        if isinstance(value, bool):
            converted = value
        elif text in _TRUE or text in _FALSE:
            converted = text in _TRUE
    elif isinstance(value, bool):
        pass
    elif text is not None or isinstance(value, numbers.Real):
        converted = _number(text if text is not None else value, kind)
    if converted is None:
        raise ConfigError(f"{name}: expected {_EXPECTED[kind]}, found {value!r}")
    return converted


def _number(value: Any, kind: type) -> int | float | None:
    """A number of a type; None if the value is not one."""
    try:
        number = float(value)
        whole = int(value) if kind is int else 0
    except (ValueError, OverflowError):
        return None
    if kind is int:
        return whole if whole == number else None
    return None if math.isnan(number) else number
