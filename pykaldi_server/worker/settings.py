"""What a YAML file of kaldi-gstreamer-server says about the worker.

The file is read once: what it says about the model goes on to `Model.load`.
"""

import logging
import logging.config
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pykaldi_server.errors import ConfigError
from pykaldi_server.session.formats.gstreamer_yaml import MODEL_KEYS, YAML_SUFFIXES, YamlFile

__all__ = ["WorkerSettings"]

logger = logging.getLogger(__name__)

SILENCE_TIMEOUT, LOGGING = "silence-timeout", "logging"
NO_POST_PROCESSORS = "this version runs no post-processors; results are sent as they are"
NO_EFFECT = {
    "out-dir": "requests are not written to files",
    "use-vad": "silence is found by the endpoint rules of the decoder",
    "timeout-decoder": "a worker process that hangs is ended by its supervisor",
    "post-processor": NO_POST_PROCESSORS,
    "full-post-processor": NO_POST_PROCESSORS,
    "post-processor-timeout": NO_POST_PROCESSORS,
}
"""Keys of the original that are accepted and ignored, each with the reason."""
WORKER_KEYS = (SILENCE_TIMEOUT, LOGGING, *NO_EFFECT)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker's configuration file, or the model in its place, comes to.

    Attributes:
        model: what to load: the name of a model, or the part of the file that describes one.
        silence_timeout_s: seconds without a new result after which a request ends; None: it never does.
        log_config: a dictionary for `logging.config.dictConfig`; empty leaves logging alone.
    """

    model: str | YamlFile = ""
    silence_timeout_s: float | None = None
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
            if key in NO_EFFECT and value:  # `use-vad: False` asks for nothing
                logger.warning("%s: %s has no effect: %s", path, key, NO_EFFECT[key])
        return cls(file, _silence_timeout_s(file), _log_config(file))

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


def _silence_timeout_s(file: YamlFile) -> float | None:
    seconds = file.other.get(SILENCE_TIMEOUT)
    if seconds is None:
        logger.info(
            "%s: %s is not set, so requests do not end when nothing is recognised; kaldi-gstreamer-server "
            "ends them after 5 seconds",
            file.path,
            SILENCE_TIMEOUT,
        )
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise ConfigError(
            f"{file.path}: {SILENCE_TIMEOUT}: expected a number of seconds above 0, found {seconds!r}"
        )
    return seconds


def _log_config(file: YamlFile) -> dict[str, Any]:
    config = file.other.get(LOGGING) or {}
    if not isinstance(config, dict):
        raise ConfigError(f"{file.path}: {LOGGING}: expected a mapping, found {config!r}")
    return config
