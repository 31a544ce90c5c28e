"""Options as dataclass fields: one help text feeds the command line, YAML files and the documentation."""

import dataclasses
from dataclasses import Field
from typing import Any

from pykaldi_server.errors import ConfigError

__all__ = ["check_positive", "check_range", "field_of", "option"]


def option(default: Any, help: str, *, name: str | None = None, path: bool = False) -> Any:
    """Declares a field of an options dataclass.

    Args:
        default: the default value; the field's annotation is the type.
        help: one sentence for users: what the option is and what a larger or smaller value does.
        name: the option's name in Kaldi's configuration files where it is not the field's name with hyphens.
        path: the value names a file; configuration files resolve it relative to themselves.
    """
    return dataclasses.field(default=default, metadata={"help": help, "name": name, "path": path})


def field_of(options: type, name: str) -> "Field[Any]":
    """One field of an options class, with its default and its help text (`metadata["help"]`)."""
    return next(each for each in dataclasses.fields(options) if each.name == name)


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
