"""Command-line options made from options dataclasses, and configuration files that set the same options.

A field ``drain_s: float = option(10.0, "seconds that ...")`` becomes ``--drain-s NUMBER`` with its default
and its help text. ``A | None`` is an option without a default, a boolean a pair ``--name / --no-name``, and a
tuple an option that can be given several times; in a file it is a list, or the only element. A configuration
file has one section per dataclass::

    master:
      port: 9000
    worker:
      silence-timeout-s: 10

The command line overrides the file, and the file overrides the defaults.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click

from pykaldi_server.cli.common import plain_errors
from pykaldi_server.errors import ConfigError
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.options import Settings
from pykaldi_server.serve.options import ServeOptions
from pykaldi_server.worker.options import WorkerOptions

__all__ = [
    "FILE",
    "ServerCommand",
    "assemble",
    "config_option",
    "help_sentence",
    "option_name",
    "read_config",
    "relative_to",
    "reread",
    "settings",
]

Command = Callable[..., Any]
OptionsT = TypeVar("OptionsT")
SettingsT = TypeVar("SettingsT", bound=Settings)

FILE = click.Path(dir_okay=False, path_type=Path)
ANY_PATH = click.Path(path_type=Path)
SECTIONS: dict[str, type[Any]] = {
    "serve": ServeOptions,
    "master": MasterOptions,
    "worker": WorkerOptions,
    "ray": FleetOptions,
}
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|\+?inf", re.IGNORECASE)


class ServerCommand(click.Command):
    """A command that runs on and can read its settings again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)


def reread(ctx: click.Context, make: Callable[[dict[str, Any]], SettingsT]) -> SettingsT:
    """Reads the configuration file again, below the command line that a command was started with.

    Args:
        ctx: of a `ServerCommand`.
        make: makes options from the parameters of the command.

    Returns:
        Those options, which are valid.

    Raises:
        ConfigError: one is invalid; the text names it, and the file if there is one.
    """
    try:
        parameters = ctx.command.make_context(ctx.info_name, list(ctx.obj), parent=ctx.parent).params
    except click.ClickException as error:
        raise ConfigError(error.format_message()) from error
    options = make(parameters)
    try:
        options.validate()
    except ConfigError as error:
        raise ConfigError(f"{parameters['config'] or 'command line'}: {error}") from error
    return options


def whole_number(value: Any) -> int:
    """Converts the text of an option, or a value of a configuration file, to a whole number."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+", value):  # not Python's own 7_000
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise click.BadParameter(f"expected a whole number, found {value!r}")
    return value


def number(value: Any) -> float:
    """Converts the text of an option, or a value of a configuration file, to a number."""
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        raise click.BadParameter(f"expected a number, found {value!r}")
    return float(value)


def text(value: Any) -> str:
    """Passes text on; YAML reads a name such as 2024 as a number."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise click.BadParameter(f"expected text, found {value!r}")
    return str(value)


def switch(value: Any) -> bool:
    """Passes a boolean of a configuration file on."""
    if not isinstance(value, bool):
        raise click.BadParameter(f"expected true or false, found {value!r}")
    return value


CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    bool: switch,
    int: whole_number,
    float: number,
    str: text,
    Path: lambda value: Path(text(value)),
}
METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


def settings(
    options: type[Any],
    *,
    flags: Mapping[str, tuple[str, ...]] | None = None,
    defaults: Mapping[str, Any] | None = None,
    leave_out: tuple[str, ...] = (),
) -> Callable[[Command], Command]:
    """Gives a command one option for each field of an options dataclass.

    Args:
        options: the dataclass.
        flags: spellings of fields in addition to ``--the-name``.
        defaults: defaults that differ from those of the dataclass.
        leave_out: fields that the command fills in by itself.
    """

    def decorate(command: Command) -> Command:
        # Decorators apply from the bottom up; help shows options in the order of the fields.
        for each in reversed(command_fields(options)):
            if each.name not in leave_out:
                default = (defaults or {}).get(each.name, each.default)
                spellings = (*(flags or {}).get(each.name, ()), option_name(each.name))
                command = _click_option(options, each, spellings, default)(command)
        return command

    return decorate


def command_fields(options: type[Any]) -> list["Field[Any]"]:
    """The fields of an options dataclass that a command line can set: all but nested dataclasses."""
    return [each for each in dataclasses.fields(options) if "help" in each.metadata]


def option_name(field_name: str) -> str:
    """The option of a field; one that can be given several times is named in the singular."""
    return "--" + field_name.replace("_", "-")


def help_sentence(text: str) -> str:
    """A help text as the command line shows it: a sentence with a capital letter and a full stop."""
    return text[0].upper() + text[1:].rstrip(".") + "."


def assemble(options: type[OptionsT], values: Mapping[str, Any], **more: Any) -> OptionsT:
    """Makes options of a class from those parameters of a command that are fields of it."""
    names = {each.name for each in command_fields(options)}
    return options(**{name: value for name, value in values.items() if name in names}, **more)


def _click_option(
    options: type[Any], field: "Field[Any]", spellings: tuple[str, ...], default: Any
) -> Callable[[Command], Command]:
    wanted = _element_type(options, field.name)
    several = get_origin(get_type_hints(options)[field.name]) is tuple
    shared: dict[str, Any] = {
        "help": help_sentence(field.metadata["help"]),
        "default": default,
        "show_default": default not in (None, "", ()),
    }
    if wanted is bool:
        pairs = [f"{each}/--no-{each.removeprefix('--')}" for each in spellings]
        return click.option(*pairs, field.name, **shared)
    if several:
        spellings = tuple(_singular(each) for each in spellings)
    if wanted is Path:
        shared["type"] = ANY_PATH if field.metadata["path"] else FILE
    else:
        shared.update(type=CONVERTERS[wanted], metavar=METAVARS[wanted])
    return click.option(*spellings, field.name, multiple=several, **shared)


def _singular(spelling: str) -> str:
    if not spelling.startswith("--"):
        return spelling
    return f"{spelling[:-3]}y" if spelling.endswith("ies") else spelling.removesuffix("s")


def _element_type(options: type[Any], name: str) -> Any:
    """The type of one value of a field: of ``A | None`` and ``tuple[A, ...]`` it is ``A``."""
    hint = get_type_hints(options)[name]
    if get_origin(hint) in (types.UnionType, tuple):
        return next(each for each in get_args(hint) if each not in (type(None), Ellipsis))
    return hint


def command_arguments(options: Any, leave_out: Collection[str] = ()) -> list[str]:
    """The arguments of a command that give it these options; the inverse of `assemble`.

    Args:
        options: an instance of an options dataclass.
        leave_out: fields that are left at their defaults.
    """
    arguments = []
    for field in command_fields(type(options)):
        value, name = getattr(options, field.name), option_name(field.name)
        if value == field.default or field.name in leave_out:
            continue
        if isinstance(value, bool):
            arguments.append(name if value else f"--no-{name.removeprefix('--')}")
        elif isinstance(value, tuple):
            arguments += [f"{_singular(name)}={each}" for each in value]
        else:
            arguments.append(f"{name}={value}")
    return arguments


def config_option(*sections: str) -> Callable[[Command], Command]:
    """Gives a command ``--config FILE``, which sets the options that the command line does not set.

    The command gets the path as its parameter ``config``.

    Args:
        sections: the sections of the file that belong to this command.
    """

    def set_defaults(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            known = {each.name for each in ctx.command.params}
            with plain_errors():
                content = read_config(path)
                for section in sections:
                    values = content.get(section, {})
                    for name in values.keys() - known:
                        raise ConfigError(f"{path}: {section}: {ctx.info_name} has no option {name!r}")
                    ctx.default_map = {**(ctx.default_map or {}), **values}
        return path

    names = f"section {sections[0]}" if len(sections) == 1 else f"sections {' and '.join(sections)}"
    return click.option(
        "--config",
        type=FILE,
        is_eager=True,
        callback=set_defaults,
        help=f"YAML file that sets options in the {names}; the command line overrides it.",
    )


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """Reads a configuration file.

    Returns:
        For each section the fields that it sets, with values of the fields' types. Paths are resolved
        relative to the configuration file.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: a section or an option is unknown or there twice, or a value is of the wrong type.
    """
    import yaml

    from pykaldi_server.repeated_keys import repeated_keys

    try:
        text = path.read_text(encoding="utf-8")
        for line, key in repeated_keys(yaml.compose(text, yaml.SafeLoader)):
            raise ConfigError(f"{path}: line {line}: expected each option once, found {key} again")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a YAML file: {error}") from None
    sections = _mapping(content, str(path), "sections")
    result: dict[str, dict[str, Any]] = {}
    for name, values in sections.items():
        if name not in SECTIONS:
            raise ConfigError(f"{path}: expected the sections {', '.join(SECTIONS)}, found {name!r}")
        result[name] = _read_section(SECTIONS[name], values, path, f"{path}: {name}")
    return result


def _read_section(options: type[Any], values: Any, path: Path, place: str) -> dict[str, Any]:
    fields = {each.name.replace("_", "-"): each for each in command_fields(options)}
    result: dict[str, Any] = {}
    for key, value in _mapping(values, place, "options").items():
        field = fields.get(str(key).replace("_", "-"))
        if field is None:
            raise ConfigError(f"{place}: expected one of {', '.join(sorted(fields))}; found {key!r}")
        if field.name in result:
            raise ConfigError(f"{place}: {key}: expected it once, found it again with another spelling")
        result[field.name] = _read_value(options, field, value, path.parent, f"{place}: {key}")
    return result


def _read_value(options: type[Any], field: "Field[Any]", value: Any, folder: Path, place: str) -> Any:
    hint = get_type_hints(options)[field.name]
    if value is None and type(None) in get_args(hint):
        return None
    convert = CONVERTERS[_element_type(options, field.name)]
    several = get_origin(hint) is tuple
    try:
        values = [convert(each) for each in (value if several and isinstance(value, list) else [value])]
    except click.BadParameter as error:
        raise ConfigError(f"{place}: {error.message}") from None
    resolve = field.metadata["resolve"]
    if resolve is not None:
        values = [resolve(each, folder) for each in values]
    elif field.metadata["path"] or isinstance(values[0], Path):
        values = [relative_to(folder, each) for each in values]
    return tuple(values) if several else values[0]


def relative_to(folder: Path, place: Path | str) -> Path | str:
    """Resolves a path of a configuration file; the text of a model may also name an installed package."""
    if isinstance(place, Path):
        return folder / place
    name, equals, model = place.rpartition("=")
    directory = model if (folder / model).exists() else model.rpartition(":")[0]
    is_here = bool(directory) and (folder / directory).exists()
    return f"{name}{equals}{folder / model}" if is_here else place


def _mapping(content: Any, place: str, what: str) -> dict[Any, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{place}: expected a mapping of {what}, found {content!r}")
    return content
