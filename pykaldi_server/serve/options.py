"""Settings of a server on one machine."""

from dataclasses import dataclass, field
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.options import MODEL_OPTIONS_HELP, Settings, check_positive, option, parse_assignments

__all__ = ["ServeOptions", "split_name"]


def split_name(model: str) -> tuple[str, str]:
    """Splits ``NAME=PATH`` into the name, which is empty where there is none, and the path.

    Raises:
        ConfigError: there is an equals sign, but no name or no path.
    """
    name, equals, path = model.partition("=")
    if not equals or "/" in name or Path(model).exists():
        return "", model
    if not name or not path:
        raise ConfigError(f"models: expected PATH or NAME=PATH, found {model!r}")
    return name, path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions(Settings):
    """Settings of a server on one machine."""

    models: tuple[str, ...] = option(
        (),
        "model directories or configuration files, as PATH or NAME=PATH; the first is the default",
        path=True,
    )
    workers: int = option(1, "worker processes per model")
    sessions: int = option(4, "requests that each worker process serves at the same time")
    model_options: tuple[str, ...] = option((), MODEL_OPTIONS_HELP)
    worker_arguments: tuple[str, ...] = option(
        (), "argument for every worker process, such as --language=en; may be given several times"
    )
    master: MasterOptions = field(default_factory=MasterOptions)

    def validate(self) -> None:
        self.master.validate()
        if not self.models:
            raise ConfigError("models: expected at least one, found none")
        for model in self.models:
            if self.models.count(model) > 1:
                raise ConfigError(
                    f"models: expected each model once, found {model} more than once; the option workers "
                    "starts more processes per model"
                )
        names = [name for name, _ in map(split_name, self.models) if name]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"models: expected a different name for each, found {name!r} more than once"
                )
        for name in ("workers", "sessions"):
            check_positive(self, name)
        parse_assignments(self.model_options)
