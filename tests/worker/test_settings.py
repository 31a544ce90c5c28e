"""The part of kaldi-gstreamer-server's YAML files that is about the worker."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.session import Model
from pykaldi_server.worker import options as options_module
from pykaldi_server.worker.options import PostProcessorOptions, WorkerOptions
from pykaldi_server.worker.settings import WorkerSettings


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers


DECODER = """
use-nnet2: true
decoder:
    model: {0}/am/final.mdl
    fst: {0}/graph-digits/HCLG.fst
    word-syms: {0}/graph-digits/words.txt
    mfcc-config: {0}/conf/mfcc.conf
    ivector-extraction-config: ivector.conf
"""
IVECTOR_FILES = {
    "splice-config": "splice.conf",
    "cmvn-config": "online_cmvn.conf",
    "lda-matrix": "final.mat",
    "global-cmvn-stats": "global_cmvn.stats",
    "diag-ubm": "final.dubm",
    "ivector-extractor": "final.ie",
}


@pytest.fixture(autouse=True)
def ivector_config(tmp_path: Path, models: Path) -> None:
    """The configuration of i-vectors that `DECODER` names."""
    folder = models / "english" / "ivector"
    lines = [f"--{option}={folder / file}\n" for option, file in IVECTOR_FILES.items()]
    (tmp_path / "ivector.conf").write_text("".join(lines))


def write(directory: Path, text: str) -> str:
    path = directory / "worker.yaml"
    path.write_text(text)
    return str(path)


def test_a_model_directory_says_nothing(tmp_path: Path) -> None:
    assert WorkerSettings.read(f"{tmp_path}:graph") == WorkerSettings(f"{tmp_path}:graph")


def completed(path: str, **options: Any) -> WorkerOptions:
    return WorkerSettings.read(path).complete(WorkerOptions(**options))


def test_there_is_no_silence_timeout_unless_a_file_sets_it(tmp_path: Path) -> None:
    assert completed(write(tmp_path, "use-nnet2: true\ndecoder: {}\n")).silence_timeout_s is None
    path = write(tmp_path, "silence-timeout: 10\n")
    assert completed(path).silence_timeout_s == 10
    assert completed(path, silence_timeout_s=3.0).silence_timeout_s == 3.0


def test_the_directory_for_recordings_is_relative_to_the_working_directory(tmp_path: Path) -> None:
    assert completed(write(tmp_path, "out-dir: tmp\n")).out_dir == Path("tmp")


def test_post_processors(tmp_path: Path) -> None:
    text = "post-processor: tr a b\nfull-post-processor: cat\npost-processor-timeout: 2\n"
    path = write(tmp_path, text)
    options = completed(path, full_post_processor="tac")
    assert (options.post_processor, options.full_post_processor) == ("tr a b", "tac")
    assert options.post_processor_timeout_s == 2.0
    assert WorkerSettings.read(path).directory == tmp_path
    only = WorkerSettings.read(path).complete(PostProcessorOptions())
    assert (only.post_processor, only.full_post_processor) == ("tr a b", "cat")


def test_logging_is_set_up_as_the_file_says(tmp_path: Path, root_logger: logging.Logger) -> None:
    text = "logging:\n  version: 1\n  disable_existing_loggers: false\n  root:\n    level: ERROR\n"
    WorkerSettings.read(write(tmp_path, text)).configure_logging()
    assert root_logger.level == logging.ERROR


def test_keys_without_effect_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    WorkerSettings.read(write(tmp_path, "timeout-decoder: 10\n"))
    assert "worker.yaml: timeout-decoder has no effect: " in caplog.text


def test_a_key_that_asks_for_nothing_is_not_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    WorkerSettings.read(write(tmp_path, "use-vad: False\nsilence-timeout: 5\n"))
    assert not caplog.records


def test_the_timeout_that_is_not_set_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        WorkerSettings.read(write(tmp_path, "decoder: {}\n"))
    assert "silence-timeout is not set" in caplog.text


def test_unknown_keys_are_named_once_with_the_nearest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, models: Path
) -> None:
    text = f"silence-timout: 3\nuse-nnet: true\n{DECODER.format(models / 'english')}"
    settings = WorkerSettings.read(write(tmp_path, text))
    Model.load(settings.model)
    unknown = [record.getMessage() for record in caplog.records if "unknown key" in record.getMessage()]
    assert unknown == [
        f"{tmp_path}/worker.yaml: unknown key 'silence-timout'; the nearest known one is 'silence-timeout'",
        f"{tmp_path}/worker.yaml: unknown key 'use-nnet'; the nearest known one is 'use-nnet2'",
    ]


def test_the_model_is_that_of_the_file(tmp_path: Path, models: Path) -> None:
    settings = WorkerSettings.read(write(tmp_path, DECODER.format(models / "english")))
    (tmp_path / "worker.yaml").unlink()  # it is read once
    assert Model.load(settings.model).name == "worker"


@pytest.mark.parametrize(
    "text",
    [
        *("silence-timeout: soon", "silence-timeout: -1", "silence-timeout: 1_0", "silence-timeout: yes"),
        *(
            "out-dir: 5",
            "out-dir: ''",
            "post-processor-timeout: yes",
            "post-processor: [tr, a, b]",
            "full-post-processor: 5",
        ),
        *("logging: loud", "- a list", "", "1: 2", "a: [", "a: \x00"),
    ],
)
def test_mistakes_name_the_file(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=r"worker\.yaml"):
        WorkerSettings.read(path)


def test_logging_that_python_does_not_understand(root_logger: logging.Logger) -> None:
    with pytest.raises(ConfigError, match="logging"):
        WorkerSettings(log_config={"version": 2}).configure_logging()


def test_a_limit_of_memory_needs_a_system_that_measures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WorkerOptions(recycle_memory_mib=1000).validate()
    monkeypatch.setattr(options_module, "STATUS", tmp_path / "status")
    WorkerOptions().validate()
    with pytest.raises(ConfigError, match=r"^recycle_memory_mib: expected .*/status, which "):
        WorkerOptions(recycle_memory_mib=1000).validate()
