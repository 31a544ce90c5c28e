"""Options as dataclasses, and Kaldi's configuration files (``util/parse-options.cc``).

A class of options is a dataclass whose fields are made with `option`, which carries the help text and,
where it differs from the field's name, Kaldi's name of the option. Nested dataclasses are groups: with a
prefix (``endpoint.rule1.``) or without one. The same class serves Python code, configuration files and
the command line.

A configuration file holds one ``--name=value`` a line; ``#`` starts a comment; a boolean may stand
without a value. Underscores and hyphens in names are the same, and so are capitals and small letters, as in
Kaldi. Options that Kaldi's programs have and that mean nothing here are accepted and ignored.
"""

import dataclasses
import difflib
import logging
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from pykaldi_server.errors import ConfigError
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
    "resolve_path",
]

logger = logging.getLogger(__name__)

OptionsT = TypeVar("OptionsT")

# Every program of Kaldi has them.
_STANDARD_OPTIONS = ("config", "help", "print-args", "verbose")


def group(factory: Callable[[], Any], prefix: str | None = None) -> Any:
    """Declares a nested options dataclass; ``prefix=None`` uses the field's name and a dot, '' none."""
    return dataclasses.field(default_factory=factory, metadata={"prefix": prefix})


class Options:
    """Base of options dataclasses: how PyKaldi's scripts make them known to a parser.

    Attributes:
        without_effect: Kaldi's names of options of the class that are accepted and ignored; a dot at the end
            stands for all that begin so.
    """

    without_effect: ClassVar[tuple[str, ...]] = ()

    def register(self, opts: "ParseOptions") -> None:
        """Makes these options known to ``opts``."""
        opts.register(self)


@dataclasses.dataclass(frozen=True)
class RegisteredOption:
    """One option that a parser knows: where its value goes, of what type it is, and its help."""

    name: str
    owner: Any
    field: str
    type: type
    help: str
    is_path: bool

    @property
    def value(self) -> Any:
        """The present value."""
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


class ParseOptions:
    """Sets options by their names, and reads configuration files.

    Example:
        >>> options = MfccOptions()
        >>> parser = ParseOptions()
        >>> parser.register(options)
        >>> parser.read_config_file("conf/mfcc.conf")
    """

    def __init__(self, usage: str = "") -> None:
        """``usage`` is a text for people; it is not parsed."""
        self.usage = usage
        self._known: dict[str, RegisteredOption] = {}
        self._registered: list[Any] = []
        self._without_effect: list[str] = list(_STANDARD_OPTIONS)
        self.given: set[str] = set()

    def register(self, options: Any, prefix: str = "") -> None:
        """Makes the options of a dataclass instance known; parsing changes that instance."""
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
        """All names that are known."""
        return sorted(self._known)

    def set(self, name: str, value: str | None, place: str, base: "PathBase | None" = None) -> None:
        """Sets one option from its text form.

        Args:
            name: the option's name, without ``--``.
            value: the text after ``=``; None where there is none (allowed for booleans).
            place: where it stands, for errors (``conf/mfcc.conf:3``).
            base: where a path may be relative to.

        Raises:
            ConfigError: the name is unknown or the value is not of the option's type.
        """
        name = normalize_name(name)
        entry = self._known.get(name)
        if entry is None and self.has_no_effect(name):
            logger.info("%s: --%s has no effect", place, name)
            return
        if entry is None:
            near = difflib.get_close_matches(name, self._known, n=1)
            hint = f"; the nearest known one is --{near[0]}" if near else ""
            raise ConfigError(f"{place}: unknown option --{name}{hint}")
        converted: Any = convert(value, entry.type, f"{place}: --{name}")
        if entry.is_path and converted and base is not None:
            converted = os.fspath(resolve_path(converted, base, f"{place}: --{name}"))
        setattr(entry.owner, entry.field, converted)
        self.given.add(name)

    def read_config_file(self, path: str | os.PathLike[str], model_dir: Path | None = None) -> None:
        """Sets all options of a configuration file.

        Args:
            path: the file.
            model_dir: the model's directory, where files of other machines are looked for by name.

        Raises:
            ConfigError: a line is not an option, an option is unknown, or a value is of the wrong type.
            FileNotFoundError: there is no such file.
        """
        base = PathBase(Path(path).parent, model_dir)
        for name, value, place in read_config_lines(path):
            self.set(name, value, place, base)

    def validate(self) -> None:
        """Calls ``validate()`` of every registered instance that has one."""
        for options in self._registered:
            if hasattr(options, "validate"):
                options.validate()


def read_options(
    options_class: type[OptionsT],
    path: str | os.PathLike[str],
    model_dir: Path | None = None,
) -> OptionsT:
    """Makes options of a class from a configuration file, and validates them.

    Raises:
        ConfigError: see `ParseOptions.read_config_file`; also what ``validate()`` refuses, with the path.
    """
    options = options_class()
    parser = ParseOptions()
    parser.register(options)
    parser.read_config_file(path, model_dir)
    try:
        parser.validate()
    except ConfigError as error:
        raise ConfigError(f"{os.fspath(path)}: {error}") from None
    return options


def read_config_lines(path: str | os.PathLike[str]) -> Iterator[tuple[str, str | None, str]]:
    """Yields (name, value, place) of each option in a configuration file; see `ParseOptions.set`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigError(f"{os.fspath(path)}: expected a configuration file, found a directory") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{os.fspath(path)}: expected UTF-8 text, found {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        place = f"{os.fspath(path)}:{number}"
        if not line.startswith("--") or len(line) == 2:
            raise ConfigError(f"{place}: expected --name=value, found {line!r}")
        name, equals, value = line[2:].partition("=")
        yield name.strip(), value.strip() if equals else None, place


def convert(value: str | None, wanted: type, place: str) -> bool | int | float | str:
    """Converts an option's text; a boolean without text is true, as in Kaldi.

    Raises:
        ConfigError: the text is not of the wanted type.
    """
    text = value if value is not None else ""
    if wanted is bool:
        if text.lower() in ("true", "t", "1", ""):
            return True
        if text.lower() in ("false", "f", "0"):
            return False
        raise ConfigError(f"{place}: expected true or false, found {text!r}")
    if wanted is str:
        return text
    try:
        number = wanted(text)
    except ValueError:
        kind = "an integer" if wanted is int else "a number"
        raise ConfigError(f"{place}: expected {kind}, found {text!r}") from None
    if wanted is float and math.isnan(number):
        raise ConfigError(f"{place}: expected a number, found {text!r}")
    return number


@dataclasses.dataclass(frozen=True)
class PathBase:
    """Where the files that a configuration file names are looked for."""

    config_dir: Path
    model_dir: Path | None = None


def resolve_path(value: str, base: PathBase, place: str) -> Path:
    """Finds a file that a configuration names, though the model was trained on another machine.

    Tried in this order: the path as it is, relative to the configuration file, its base name anywhere
    inside the model's directory (with a warning, the shallowest first).

    Raises:
        ConfigError: no such file; the text names all places that were tried.
    """
    given = Path(value)
    tried = [given] if given.is_absolute() else [base.config_dir / given, given]
    for candidate in tried:
        if candidate.exists():
            return candidate
    root = base.model_dir or base.config_dir
    by_name = sorted(root.rglob(given.name), key=lambda path: (len(path.parts), path))
    if by_name:
        logger.warning("%s: there is no %s; using %s instead", place, value, by_name[0])
        return by_name[0]
    places = ", ".join(str(path) for path in tried)
    raise ConfigError(f"{place}: there is no such file: {places}, nor a {given.name} inside {root}")


def parse_int_list(text: str, place: str) -> list[int]:
    """Parses a list of integers between colons or commas, such as ``1:2:3``; '' is an empty list.

    Raises:
        ConfigError: an element is not an integer.
    """
    try:
        return [int(word) for word in text.replace(",", ":").split(":") if word.strip()]
    except ValueError:
        raise ConfigError(f"{place}: expected integers between colons, found {text!r}") from None
