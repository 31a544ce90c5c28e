"""Options as dataclasses, and Kaldi's configuration files (``util/parse-options.cc``).

A class of options is a dataclass whose fields are made with `option`, which carries the help text and,
where it differs from the field's name, Kaldi's name of the option. Nested dataclasses are groups: with a
prefix (``endpoint.rule1.``) or without one. The same class serves Python code, configuration files and
the command line.

A configuration file holds one ``--name=value`` per line; ``#`` starts a comment; a boolean may have no
value. Underscores and hyphens in names are the same, and so are capitals and small letters, as in Kaldi.
Options of Kaldi's programs that have no meaning here are accepted; the log says that they have no effect.
"""

import codecs
import dataclasses
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, get_type_hints

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.util.files import refuse_lfs_pointer
from pykaldi_server.kaldi.util.relocation import PathBase, resolve_path
from pykaldi_server.kaldi.util.text_utils import (
    convert_string_to_integer,
    convert_string_to_real,
    split_string_to_integers,
)
from pykaldi_server.options import option

__all__ = [
    "Options",
    "OptionsT",
    "ParseOptions",
    "PathBase",
    "RegisteredOption",
    "convert",
    "group",
    "groups_of",
    "normalize_name",
    "option",
    "parse_int_list",
    "read_config_lines",
    "read_options",
    "registered_options",
    "require_range",
    "resolve_path",
]

logger = logging.getLogger(__name__)

OptionsT = TypeVar("OptionsT")

# Every program of Kaldi has them.
_STANDARD_OPTIONS = ("config", "help", "print-args", "verbose")
_WHITE = b" \t\n\r\f\v"


def group(factory: Callable[[], Any], prefix: str | None = None) -> Any:
    """Declares a nested options dataclass; ``prefix=None`` uses the field's name and a dot, '' none."""
    return dataclasses.field(default_factory=factory, metadata={"prefix": prefix})


class Options:
    """Base of options dataclasses, which PyKaldi's scripts register with a parser.

    Attributes:
        without_effect: Kaldi's names of the class's options that are accepted and ignored; a name that ends
            with a dot means every option that begins with it.
    """

    without_effect: ClassVar[tuple[str, ...]] = ()

    def validate(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: a value is invalid.
        """

    def register(self, opts: "ParseOptions") -> None:
        """Makes these options known to ``opts``."""
        opts.register(self)


class RegisteredOption(NamedTuple):
    """One option that a parser knows: where its value goes, of what type it is, and its help."""

    name: str
    owner: Any
    field: str
    type: type
    help: str
    is_path: bool

    @property
    def value(self) -> Any:
        """The current value."""
        return getattr(self.owner, self.field)


def groups_of(options: Any, prefix: str = "") -> Iterator[tuple[Any, str]]:
    """Yields a dataclass instance and its groups, each with the prefix of its options' names."""
    yield options, prefix
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            nested = field.metadata.get("prefix")
            if nested is None:
                nested = f"{normalize_name(field.name)}."
            yield from groups_of(value, prefix + nested)


def registered_options(options: Any, prefix: str = "") -> Iterator[RegisteredOption]:
    """Yields every option of a dataclass instance, groups included, with its full name."""
    for owner, group_prefix in groups_of(options, prefix):
        types = get_type_hints(type(owner))
        for field in dataclasses.fields(owner):
            if "help" in field.metadata:
                yield RegisteredOption(
                    group_prefix + (field.metadata["name"] or normalize_name(field.name)),
                    owner,
                    field.name,
                    types[field.name],
                    field.metadata["help"],
                    field.metadata["path"],
                )


def normalize_name(name: str) -> str:
    """Kaldi takes underscores for hyphens in option names, and capitals for small letters."""
    return name.replace("_", "-").lower()


def require_range(options: Options, name: str, low: float, high: float) -> None:
    """Checks that the value of a field is from ``low`` to ``high``.

    Raises:
        ConfigError: it is not; the text names the option as Kaldi does.
    """
    value = getattr(options, name)
    if not low <= value <= high:
        raise ConfigError(f"{normalize_name(name)}: expected {low} to {high}, found {value}")


class ParseOptions:
    """Sets options by their names, and reads configuration files.

    Attributes:
        usage: a text for people; it is not parsed.
        places: where each option that was set is set (name -> ``conf/mfcc.conf:3``).

    Example:
        >>> options = MfccOptions()
        >>> parser = ParseOptions()
        >>> parser.register(options)
        >>> parser.read_config_file("conf/mfcc.conf")
    """

    def __init__(self, usage: str = "") -> None:
        """Makes a parser that knows no options yet."""
        self.usage = usage
        self._known: dict[str, RegisteredOption] = {}
        self._registered: list[Any] = []
        self._without_effect: list[str] = list(_STANDARD_OPTIONS)
        self.places: dict[str, str] = {}

    @property
    def given(self) -> set[str]:
        """The names of the options that were set."""
        return set(self.places)

    def register(self, options: Any, prefix: str = "") -> None:
        """Registers the options of a dataclass instance; parsing changes that instance."""
        self._registered.append(options)
        for entry in registered_options(options, prefix):
            self._known[entry.name] = entry
        for owner, group_prefix in groups_of(options, prefix):
            if isinstance(owner, Options):
                self._without_effect += [group_prefix + name for name in owner.without_effect]

    def has_no_effect(self, name: str) -> bool:
        """Whether an option is accepted and ignored."""
        return any(
            name.startswith(known) if known.endswith(".") else name == known for known in self._without_effect
        )

    def names(self) -> list[str]:
        """The names of all registered options."""
        return sorted(self._known)

    def is_path(self, name: str) -> bool:
        """Whether the value of a registered option names a file."""
        return self._known[name].is_path

    def value(self, name: str) -> Any:
        """The current value of a registered option."""
        return self._known[name].value

    def set(self, name: str, value: str | None, place: str, base: "PathBase | None" = None) -> None:
        """Sets one option from its text form.

        Args:
            name: the option's name, without ``--``.
            value: the text after ``=``; None where there is none (allowed for booleans).
            place: where the option is set, for errors (``conf/mfcc.conf:3``).
            base: where files named by options are looked for; None leaves paths as they are.

        Raises:
            ConfigError: the name is unknown, the value is not of the option's type, or there is no such file.
        """
        name = normalize_name(name)
        entry = self._known.get(name)
        if entry is None and self.has_no_effect(name):
            logger.info("%s: --%s has no effect", place, name)
            return
        if entry is None:
            import difflib

            near = difflib.get_close_matches(name, self._known, n=1)
            hint = f"; the nearest known one is --{near[0]}" if near else ""
            raise ConfigError(f"{place}: unknown option --{name}{hint}")
        converted: Any = convert(value, entry.type, f"{place}: --{name}")
        if entry.is_path and converted and base is not None:
            converted = os.fspath(resolve_path(converted, base, f"{place}: --{name}"))
        setattr(entry.owner, entry.field, converted)
        self.places[name] = place

    def read_config_file(self, path: str | os.PathLike[str], model_dir: Path | None = None) -> None:
        """Sets all options of a configuration file.

        Args:
            path: the file.
            model_dir: the model's directory, where files that have moved are looked for; see `resolve_path`.

        Raises:
            ConfigError: a line is not an option, an option is unknown, or a value is of the wrong type.
            FileNotFoundError: there is no such file.
        """
        base = PathBase(Path(path).parent, model_dir)
        for name, value, place in read_config_lines(path):
            self.set(name, value, place, base)

    def validate(self, path: str | os.PathLike[str]) -> None:
        """Calls ``validate()`` of every registered instance that has one.

        Args:
            path: the file or directory that the options come from, for errors.

        Raises:
            ConfigError: a value is invalid; the text also has the place where the option is set, if it is.
        """
        for options in self._registered:
            if not hasattr(options, "validate"):
                continue
            try:
                options.validate()
            except ConfigError as error:
                text = str(error)
                names = map(normalize_name, re.findall(r"[\w.-]+", text.partition(":")[0]))
                places = [self.places[name] for name in names if name in self.places]
                raise ConfigError(", set in ".join([f"{os.fspath(path)}: {text}", *places])) from None


def read_options(
    options_class: type[OptionsT],
    path: str | os.PathLike[str],
    model_dir: Path | None = None,
) -> OptionsT:
    """Reads the options of a class from a configuration file, and validates them.

    Raises:
        ConfigError: as `ParseOptions.read_config_file`, or ``validate()`` refuses a value; names the path.
        FileNotFoundError: there is no such file.
    """
    options = options_class()
    parser = ParseOptions()
    parser.register(options)
    parser.read_config_file(path, model_dir)
    parser.validate(path)
    return options


def read_config_lines(path: str | os.PathLike[str]) -> Iterator[tuple[str, str | None, str]]:
    """Yields (name, value, place) of each option in a configuration file; see `ParseOptions.set`.

    As in Kaldi, only a newline ends a line, and comments may be in any encoding.

    Raises:
        ConfigError: the path is a directory, or a line is not an option.
        FileNotFoundError: there is no such file.
        ModelFormatError: the file is a Git LFS pointer.
    """
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError:
        raise ConfigError(f"{os.fspath(path)}: expected a configuration file, found a directory") from None
    refuse_lfs_pointer(content, path)
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        place = f"{os.fspath(path)}:{number}"
        line = raw.split(b"#", 1)[0].strip(_WHITE)
        if not line:
            continue
        name, equals, value = line.removeprefix(b"--").partition(b"=")
        if not line.startswith(b"--") or not name:
            raise ConfigError(f"{place}: expected --name=value, found {_printable(os.fsdecode(line))}")
        # Values may be paths, whose bytes must stay what they are.
        yield name.decode(errors="replace"), os.fsdecode(value.strip(_WHITE)) if equals else None, place


def convert(value: str | None, wanted: type, place: str) -> bool | int | float | str:
    """Converts an option's text as Kaldi does (``ParseOptions::SetOption``).

    Args:
        value: the text after ``=``; None where there is none, which only booleans allow (true).
        wanted: the option's type: bool, int, float or str.
        place: where the option is set, for errors.

    Raises:
        ConfigError: the text is not of the wanted type, or the number is beyond 32 bits or not a number.
    """
    if wanted is bool:
        return _convert_bool(value, place)
    if value is None:
        raise ConfigError(f"{place}: expected a value after '=', found none")
    if wanted is str:
        return value
    try:
        number = convert_string_to_integer(value) if wanted is int else convert_string_to_real(value)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None
    if math.isnan(number):
        raise ConfigError(f"{place}: expected a number, found {value!r}")
    return number


def _convert_bool(value: str | None, place: str) -> bool:
    if value is None or value.lower() in ("true", "t", "1"):
        return True
    if value.lower() in ("false", "f", "0"):
        return False
    raise ConfigError(f"{place}: expected true or false, found {_printable(value)}")


def _printable(text: str) -> str:
    """A text for errors: quoted, and short."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def parse_int_list(text: str, place: str) -> list[int]:
    """Parses a list of integers between colons or commas, such as ``1:2:3``; '' is an empty list.

    Raises:
        ConfigError: an element is not an integer of 32 bits.
    """
    try:
        return split_string_to_integers(text, ":,")
    except ValueError as error:
        raise ConfigError(f"{place}: expected integers between colons, found {text!r}: {error}") from None
