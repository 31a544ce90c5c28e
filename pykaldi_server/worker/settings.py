"""What a YAML file of kaldi-gstreamer-server says about the worker, beside the model."""

import logging
import logging.config
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pykaldi_server.errors import ConfigError
from pykaldi_server.session.formats.gstreamer_yaml import read_yaml

logger = logging.getLogger(__name__)

YAML_SUFFIXES = (".yaml", ".yml")
NOT_DONE_HERE = ("post-processor", "full-post-processor")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of a worker that a configuration file may make.

    Attributes:
        silence_timeout_s: seconds without a new result after which a request ends; None: it never does.
        log_config: a dictionary for `logging.config.dictConfig`; empty leaves logging alone.
    """

    silence_timeout_s: float | None = None
    log_config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, model: str) -> "WorkerSettings":
        """Reads the file if `model` is one; a model directory says nothing about the worker.

        Raises:
            FileNotFoundError: there is no such file.
            ConfigError: it is not what it should be; the text names the file and the key.
        """
        path = Path(model)
        if path.suffix not in YAML_SUFFIXES:
            return cls()
        content = read_yaml(path)
        for key in NOT_DONE_HERE:
            if key in content:
                logger.warning(
                    "%s: %s: this version runs no post-processors; results go out as they are", path, key
                )
        timeout_s = content.get("silence-timeout")
        if timeout_s is not None and (not isinstance(timeout_s, int | float) or timeout_s <= 0):
            raise ConfigError(f"{path}: silence-timeout: expected seconds, found {timeout_s!r}")
        log_config = content.get("logging") or {}
        if not isinstance(log_config, dict):
            raise ConfigError(f"{path}: logging: expected a mapping, found {log_config!r}")
        return cls(silence_timeout_s=timeout_s, log_config=log_config)

    def configure_logging(self) -> None:
        """Sets up logging as the file says, if it does.

        Raises:
            ConfigError: Python's logging does not understand it.
        """
        if self.log_config:
            try:
                logging.config.dictConfig(self.log_config)
            except (ValueError, TypeError, AttributeError, ImportError) as error:
                raise ConfigError(f"logging: {error}") from error
