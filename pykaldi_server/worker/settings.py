"""What a YAML file of kaldi-gstreamer-server says about the worker.

The file is read once: what it says about the model goes on to `Model.load`.
"""

import logging
import logging.config
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pykaldi_server.errors import ConfigError
from pykaldi_server.logs import secure_handlers
from pykaldi_server.session.formats.gstreamer_yaml import MODEL_KEYS, YamlFile
from pykaldi_server.session.formats.layouts import YAML_SUFFIXES
from pykaldi_server.worker.options import PostProcessorOptions, WorkerOptions

__all__ = ["WorkerSettings"]

logger = logging.getLogger(__name__)

OptionsT = TypeVar("OptionsT", WorkerOptions, PostProcessorOptions)

SILENCE_TIMEOUT, LOGGING = "silence-timeout", "logging"
TEXTS = {"post-processor": "post_processor", "full-post-processor": "full_post_processor"}
"""Keys with text, and the options that they set."""
SECONDS = {SILENCE_TIMEOUT: "silence_timeout_s", "post-processor-timeout": "post_processor_timeout_s"}
"""Keys with a number of seconds, and the options that they set."""
OUT_DIR = "out-dir"
NO_EFFECT = {
    "timeout-decoder": "a worker process that hangs is ended by its supervisor",
}
"""Keys of the original that are accepted and ignored, each with the reason."""
WORKER_KEYS = (*TEXTS, *SECONDS, OUT_DIR, LOGGING, *NO_EFFECT)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker's configuration file, or the model in its place, comes to.

    Attributes:
        model: what to load: the name of a model, or the part of the file that describes one.
        values: values of fields of `WorkerOptions`, by name.
        log_config: a dictionary for `logging.config.dictConfig`; empty leaves logging alone.
    """

    model: str | YamlFile = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    log_config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, model: str) -> "WorkerSettings":
        """Reads a configuration file; a model of another kind says nothing about the worker.

        Raises:
            FileNotFoundError: there is no such file.
            ConfigError: the file or a value in it is wrong; the text names the file and the key.
            ModelFormatError: the file is a Git LFS pointer.
        """
        path = Path(model)
        if path.suffix not in YAML_SUFFIXES:
            return cls(model)
        file = YamlFile.read(path)
        known = (*WORKER_KEYS, *MODEL_KEYS)
        file.warn_of_unknown(known, [key for key in file.other if key not in known])
        for key, value in file.other.items():
            if key in NO_EFFECT and value:  # `timeout-decoder: 0` asks for nothing
                logger.warning("%s: %s has no effect: %s", path, key, NO_EFFECT[key])
        return cls(file, _values(file), _log_config(file))

    @property
    def directory(self) -> Path | None:
        """The directory of the configuration file; None if there is none."""
        return self.model.path.parent if isinstance(self.model, YamlFile) else None

    def complete(self, options: OptionsT) -> OptionsT:
        """Fills in what options leave at their defaults."""
        unset = {
            each.name: self.values[each.name]
            for each in fields(options)
            if each.name in self.values and getattr(options, each.name) == each.default
        }
        return replace(options, **unset)

    def configure_logging(self) -> None:
        """Sets up logging as the file says, if it does.

        Raises:
            ConfigError: Python's logging does not understand it.
        """
        if self.log_config:
            try:
                logging.config.dictConfig(self.log_config)
            except (ValueError, TypeError, AttributeError, ImportError) as error:
                place = f"{self.model.path}: " if isinstance(self.model, YamlFile) else ""
                raise ConfigError(f"{place}{LOGGING}: {error}") from error
            secure_handlers(self.log_config.get("handlers", {}))


def _values(file: YamlFile) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in file.other.items():
        if value is None:
            continue
        if key in TEXTS:
            if not isinstance(value, str):
                raise ConfigError(f"{file.path}: {key}: expected text, found {value!r}")
            values[TEXTS[key]] = value
        if key in SECONDS:
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigError(
                    f"{file.path}: {key}: expected a number of seconds above 0, found {value!r}"
                )
            values[SECONDS[key]] = float(value)
        if key == OUT_DIR:
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{file.path}: {key}: expected a directory, found {value!r}")
            values["out_dir"] = Path(value)  # relative to the working directory, as in the original
    if SECONDS[SILENCE_TIMEOUT] not in values:
        logger.info(
            "%s: %s is not set, so requests do not end when nothing is recognised; kaldi-gstreamer-server "
            "ends them after 5 seconds",
            file.path,
            SILENCE_TIMEOUT,
        )
    return values


def _log_config(file: YamlFile) -> dict[str, Any]:
    config = file.other.get(LOGGING) or {}
    if not isinstance(config, dict):
        raise ConfigError(f"{file.path}: {LOGGING}: expected a mapping, found {config!r}")
    return config
