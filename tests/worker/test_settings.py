"""The part of kaldi-gstreamer-server's YAML files that is about the worker."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.worker.settings import WorkerSettings


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers


def write(directory: Path, text: str) -> str:
    path = directory / "worker.yaml"
    path.write_text(text)
    return str(path)


def test_a_model_directory_says_nothing(tmp_path: Path) -> None:
    assert WorkerSettings.read(f"{tmp_path}:graph") == WorkerSettings()


def test_there_is_no_silence_timeout_unless_a_file_sets_it(tmp_path: Path) -> None:
    assert WorkerSettings.read(write(tmp_path, "use-nnet2: true\ndecoder: {}\n")).silence_timeout_s is None
    assert WorkerSettings.read(write(tmp_path, "silence-timeout: 10\n")).silence_timeout_s == 10


def test_logging_is_set_up_as_the_file_says(tmp_path: Path, root_logger: logging.Logger) -> None:
    text = "logging:\n  version: 1\n  disable_existing_loggers: false\n  root:\n    level: ERROR\n"
    WorkerSettings.read(write(tmp_path, text)).configure_logging()
    assert root_logger.level == logging.ERROR


def test_post_processors_are_said_not_to_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    WorkerSettings.read(write(tmp_path, "post-processor: tr a b\n"))
    assert "post-processor" in caplog.text


@pytest.mark.parametrize(
    "text", ["silence-timeout: soon", "silence-timeout: -1", "logging: loud", "- a list"]
)
def test_mistakes_name_the_file(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=r"worker\.yaml"):
        WorkerSettings.read(path)


def test_logging_that_python_does_not_understand(root_logger: logging.Logger) -> None:
    with pytest.raises(ConfigError, match="logging"):
        WorkerSettings(log_config={"version": 2}).configure_logging()
