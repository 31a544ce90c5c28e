"""Processes that do tasks: what they say when all goes well, and when they die."""

import os
import signal
from pathlib import Path

import pytest

from pykaldi_server.batch.parts import Heard, Part
from pykaldi_server.batch.pool import Done, Failed, Progress, RecognizerPool
from pykaldi_server.batch.recognizer import Recognize, Recognizer, RecognizerOptions
from pykaldi_server.errors import ConfigError, error_text
from pykaldi_server.session.events import Final
from pykaldi_server.worker.options import PostProcessorOptions

DIGITS = "ps-tidigits-2934z"
SHOUTING = PostProcessorOptions(post_processor="stdbuf -oL tr a-z A-Z")


def test_a_process_that_dies_fails_its_task_only(golden: Path, models: Path, tmp_path: Path) -> None:
    endless = tmp_path / "endless.wav"
    os.mkfifo(endless)
    recording = golden / "wav" / f"{DIGITS}.wav"
    options = RecognizerOptions(model=f"{models}/english:graph-digits", post_processing=SHOUTING)
    with RecognizerPool(options, 1) as pool:
        assert pool.start(3).processes_texts
        pool.add([Recognize(endless), Recognize(recording), Recognize(recording, Part(0.0, 1.0))])
        (worker,) = pool._workers
        os.kill(worker.process.pid or 0, signal.SIGKILL)
        failed, *others = pool.outcomes()
    assert failed == Failed(
        Recognize(endless), f"{endless}: the process that recognised it was killed by SIGKILL"
    )
    progress, whole, _, part = others
    assert isinstance(progress, Progress)
    assert progress.done_s == pytest.approx(2.4, abs=0.1)
    assert isinstance(whole, Done)
    assert isinstance(whole.result, tuple)
    assert [event.transcript for event in whole.result if isinstance(event, Final)] == [
        "TWO NINE THREE FOUR ZERO"
    ]
    assert isinstance(part, Done)
    assert isinstance(part.result, Heard)
    assert [each.transcript for each in part.result.finals] == ["two nine three four zero"]
    assert part.result.end_s == pytest.approx(2.4, abs=0.1)


def test_others_go_on_where_one_cannot_load_the_model(golden: Path, models: Path) -> None:
    """There may be too little memory for so many."""
    recording = golden / "wav" / f"{DIGITS}.wav"
    with RecognizerPool(RecognizerOptions(model=f"{models}/english:graph-digits"), 2) as pool:
        pool.add([Recognize(recording)] * 2)
        first, _ = pool._workers
        os.kill(first.process.pid or 0, signal.SIGKILL)
        done = [each for each in pool.outcomes() if isinstance(each, Done)]
        assert len(done) == 2
        assert len(pool._workers) == 1


def test_a_process_that_cannot_start_says_why() -> None:
    """What the model says, not only that the process has ended."""
    pool = RecognizerPool(RecognizerOptions(model="nowhere"), 1)
    with pytest.raises(ConfigError) as raised, pool:
        pool.start(1)
    with pytest.raises(FileNotFoundError) as expected:
        Recognizer(RecognizerOptions(model="nowhere"))
    assert str(raised.value) == error_text(expected.value)
