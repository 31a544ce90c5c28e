"""Recognisers within a worker of Dask: used again, and ended when nobody needs them."""

import os
import threading
from pathlib import Path

import pytest
from bulk_runs import DIGITS, digits, readers
from dask_processes import until_equal

from pykaldi_server.batch.dask_worker import Answer, NoModel, Recognizers
from pykaldi_server.batch.pool import Done, Failed, Ready, RecognizerPool
from pykaldi_server.batch.tasks import Recognize


def recognise(recognizers: Recognizers, golden: Path) -> None:
    answer = recognizers.run(Recognize(golden / "wav" / f"{DIGITS}.wav"), False)
    assert isinstance(answer.outcome, Done)
    assert answer.worker == "here"


def test_recognisers_without_tasks_end(models: Path, golden: Path) -> None:
    """Their client may be gone; if not, the next task starts another."""
    recognizers = Recognizers(digits(models), "here", idle_s=0.0)
    for _ in range(2):
        recognise(recognizers, golden)
        until_equal(lambda: recognizers.num_recognizers, 0)
    recognizers.close()


def test_a_task_that_nobody_wants_any_more_ends(models: Path, golden: Path, tmp_path: Path) -> None:
    """Its client was killed. Recognisers are kept for other tasks."""
    recognizers = Recognizers(digits(models), "here")
    answer = interrupted(recognizers, tmp_path / "a.wav", is_wanted=False)
    assert isinstance(answer.outcome, Failed)
    assert answer.outcome.text.endswith("was killed by SIGKILL")
    recognise(recognizers, golden)
    assert recognizers.num_recognizers == 1
    recognizers.close()
    assert recognizers.num_recognizers == 0


def test_the_end_of_a_run_ends_what_is_being_recognised(models: Path, tmp_path: Path) -> None:
    recognizers = Recognizers(digits(models), "here")
    assert isinstance(interrupted(recognizers, tmp_path / "a.wav", is_wanted=True).outcome, Failed)
    assert recognizers.num_recognizers == 0
    late = recognizers.run(Recognize(tmp_path / "a.wav"), False)
    assert isinstance(late.outcome, NoModel)
    assert late.outcome.text.endswith("the run is over")


@pytest.mark.timeout(60)
def test_a_recogniser_that_starts_while_the_run_ends_ends_too(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizers, is_over = Recognizers(digits(models), "here"), threading.Event()
    start = RecognizerPool.start

    def start_late(pool: RecognizerPool, num_processes: int) -> Ready:
        is_over.wait()
        return start(pool, num_processes)

    monkeypatch.setattr(RecognizerPool, "start", start_late)
    os.mkfifo(pipe := tmp_path / "endless.wav")
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(recognizers.run(Recognize(pipe), False)))
    thread.start()
    until_equal(lambda: recognizers.num_recognizers, 1)
    recognizers.close()
    is_over.set()
    thread.join()
    assert isinstance(answers[0].outcome, Failed | NoModel)
    assert answers[0].outcome.text.endswith("was killed by SIGKILL")


def interrupted(recognizers: Recognizers, pipe: Path, is_wanted: bool) -> Answer:
    """What becomes of a recording without end when it is wanted no more or, if it is, when the run ends."""
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    answers: list[Answer] = []
    is_read = threading.Event()
    thread = threading.Thread(
        target=lambda: answers.append(
            recognizers.run(Recognize(pipe), False, lambda: is_wanted or not is_read.is_set())
        )
    )
    thread.start()
    until_equal(lambda: len(readers(pipe)), 1)
    is_read.set()
    if is_wanted:
        recognizers.close()
    thread.join()
    os.close(writer)
    (answer,) = answers
    return answer
