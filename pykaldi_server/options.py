"""Options as dataclass fields: one help text feeds the command line, YAML files and the documentation."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pykaldi_server.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "MODEL_OPTIONS_HELP",
    "Settings",
    "check_positive",
    "check_range",
    "option",
    "parse_assignments",
    "take_over",
]

SettingsT = TypeVar("SettingsT", bound="DataclassInstance")

MODEL_OPTIONS_HELP = (
    "model option, such as beam=11, which overrides the model's own configuration; may be given several "
    "times; `pykaldi-server model options` lists them all"
)


class Settings:
    """Base of the options dataclasses of the server's parts."""

    __slots__ = ()

    def validate(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: a value is invalid; the text names the option, what was expected and what was found.
        """


def option(
    default: Any,
    help: str,
    *,
    name: str | None = None,
    path: bool = False,
    resolve: Callable[[str, Path], str] | None = None,
    fixed: bool = False,
) -> Any:
    """Declares a field of an options dataclass.

    Args:
        default: the default value; the field's annotation is the type.
        help: one sentence for users: what the option is and what a larger or smaller value does.
        name: the option's name in Kaldi's configuration files where it is not the field's name with hyphens.
        path: the value names a file; configuration files resolve it relative to themselves.
        resolve: how configuration files do that, from the value and their folder, where it is not usual.
        fixed: a process that runs cannot change it when it reads its settings again.
    """
    metadata = {"help": help, "name": name, "path": path, "resolve": resolve, "fixed": fixed}
    return dataclasses.field(default=default, metadata=metadata)


def take_over(old: SettingsT, new: SettingsT) -> tuple[SettingsT, list[str]]:
    """Changes the options of a running process, as far as that is possible.

    Returns:
        The new options with the old values of those that are fixed, and the names of these that should have
        changed.
    """
    fixed = [each.name for each in dataclasses.fields(old) if each.metadata.get("fixed")]
    changed = [name for name in fixed if getattr(old, name) != getattr(new, name)]
    return dataclasses.replace(new, **{name: getattr(old, name) for name in changed}), changed


def parse_assignments(texts: Iterable[str], what: str = "model option") -> dict[str, str]:
    """Splits texts of the form ``name=value``.

    Args:
        texts: the texts.
        what: what errors call them.

    Raises:
        ConfigError: a text has no name or no equals sign.
    """
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("--")
        if not equals or not name:
            raise ConfigError(f"{what}: expected NAME=VALUE, found {text!r}")
        result[name] = value.strip()
    return result


def check_positive(options: object, *names: str) -> None:
    """Raises `ConfigError` for the first of these fields that is not above 0."""
    for name in names:
        value = getattr(options, name)
        if not value > 0:
            raise ConfigError(f"{name}: expected more than 0, found {value}")


def check_range(options: object, name: str, low: float, high: float) -> None:
    """Raises `ConfigError` where a field is outside ``low`` to ``high``."""
    value = getattr(options, name)
    if not low <= value <= high:
        raise ConfigError(f"{name}: expected {low} to {high}, found {value}")
