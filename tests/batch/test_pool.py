"""Processes that do tasks: what they say when all goes well, and when they die."""

import os
import signal
from pathlib import Path

import pytest

from pykaldi_server.batch.parts import Heard, Part
from pykaldi_server.batch.pool import Done, Failed, Progress, Ready, RecognizerPool, _Worker
from pykaldi_server.batch.recognizer import Recognizer
from pykaldi_server.batch.runner import Batch
from pykaldi_server.batch.sources import Recording
from pykaldi_server.batch.tasks import ProcessTexts, Recognize, RecognizerOptions
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


def dead(options: RecognizerOptions) -> _Worker:
    """A process that has been killed before it has loaded the model."""
    worker = _Worker(options)
    os.kill(worker.process.pid or 0, signal.SIGKILL)
    worker.process.wait()
    return worker


def test_a_process_that_dies_at_the_start_is_not_missed(models: Path) -> None:
    options = RecognizerOptions(model=f"{models}/english:graph-digits")
    with RecognizerPool(options, 2) as pool:
        pool._workers.append(dead(options))
        assert pool.start(1).can_cut
        assert len(pool._workers) == 1


def test_the_last_process_that_dies_at_the_start_says_how() -> None:
    options = RecognizerOptions(model="large")
    with RecognizerPool(options, 2) as pool:
        pool._workers += [dead(options), dead(options)]
        with pytest.raises(
            ConfigError, match="large: the process that loaded the model was killed by SIGKILL"
        ):
            pool.start(0)


@pytest.mark.timeout(60)
def test_nobody_waits_for_a_process_that_still_loads_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pykaldi_server.batch.pool._END_S", 1000.0)
    options = RecognizerOptions(model="large")
    with RecognizerPool(options, 1) as pool:
        worker = _Worker(options)
        pool._workers.append(worker)
        os.kill(pid := worker.process.pid or 0, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_task_goes_before_those_that_wait(golden: Path, models: Path, tmp_path: Path) -> None:
    """So does a text of a recording whose parts are done; those of one that has failed are dropped."""
    endless, absent = tmp_path / "endless.wav", tmp_path / "absent.wav"
    os.mkfifo(endless)
    recording = golden / "wav" / f"{DIGITS}.wav"
    options = RecognizerOptions(model=f"{models}/english:graph-digits", post_processing=SHOUTING)
    with RecognizerPool(options, 1) as pool:
        pool.start(1)
        pool.add([Recognize(endless), Recognize(absent), Recognize(recording), Recognize(absent)])
        pool.add_first(ProcessTexts(recording, ()))
        pool.drop(absent)
        pool._workers[0].process.kill()
        done = [each.task for each in pool.outcomes() if not isinstance(each, Progress)]
    assert done == [Recognize(endless), ProcessTexts(recording, ()), Recognize(recording)]


def test_no_process_waits_for_what_is_done_with_a_result(golden: Path, models: Path, tmp_path: Path) -> None:
    """It has its next task by then, unless the result of the last one may say what that is."""
    recording, absent = golden / "wav" / f"{DIGITS}.wav", tmp_path / "absent.wav"
    whole, part, failing = Recognize(recording), Recognize(recording, Part(0.0, 1.0)), Recognize(absent)
    with RecognizerPool(RecognizerOptions(model=f"{models}/english:graph-digits"), 1) as pool:
        pool.start(1)
        pool.add([whole, part, failing, whole])
        (worker,) = pool._workers
        taken = [
            (each.task, worker.task) for each in pool.outcomes() if not isinstance(each, Progress | Ready)
        ]
    assert taken == [(whole, part), (part, None), (failing, None), (whole, None)]


def test_processes_end_by_themselves_once_all_is_done(golden: Path, models: Path) -> None:
    options = RecognizerOptions(model=f"{models}/english:graph-digits", post_processing=SHOUTING)
    with RecognizerPool(options, 2) as pool:
        pool.start(2)
        pool.add([Recognize(golden / "wav" / f"{DIGITS}.wav")] * 2)
        processes = [worker.process for worker in pool._workers]
        assert sum(isinstance(each, Done) for each in pool.outcomes()) == 2
        ready = [worker.process for worker in pool._workers if worker.is_ready]
    assert len(processes) == 2
    assert {process.returncode for process in ready} == {0}


@pytest.mark.timeout(60)
def test_a_recording_whose_parts_are_done_is_complete_before_others_begin(
    golden: Path, models: Path, tmp_path: Path
) -> None:
    """The others never end here; nothing but that they wait lets the first one be seen."""
    options = RecognizerOptions(model=f"{models}/english:graph-digits", post_processing=SHOUTING)
    first, *others = (Recording(tmp_path / f"{name}.wav", Path(name)) for name in "abc")
    Path(first.path).symlink_to(golden / "wav" / f"{DIGITS}.wav")
    for each in others:
        os.mkfifo(each.path)
    durations_s: dict[Recording, float | None] = {first: 1000.0, **dict.fromkeys(others, 1.0)}
    assert len(Batch(options, 2)._jobs(durations_s, True)[0].parts) == 2
    outcome = next(Batch(options, 2).run(durations_s, lambda done_s: None))
    assert outcome.recording == first
    assert [each.transcript for each in outcome.events if isinstance(each, Final)] == [
        "TWO NINE THREE FOUR ZERO"
    ]


def test_a_process_that_cannot_start_says_why() -> None:
    """What the model says, not only that the process has ended."""
    pool = RecognizerPool(RecognizerOptions(model="nowhere"), 1)
    with pytest.raises(ConfigError) as raised, pool:
        pool.start(1)
    with pytest.raises(FileNotFoundError) as expected:
        Recognizer(RecognizerOptions(model="nowhere"))
    assert str(raised.value) == error_text(expected.value)
