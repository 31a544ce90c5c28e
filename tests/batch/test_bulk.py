"""Bulk runs on a Dask cluster of real processes: each recording exactly once, whoever dies."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from bulk_runs import DIGITS, SAID, deadly, digits, make_recordings, parent
from distributed import Client

from pykaldi_server.batch import (
    Bulk,
    BulkOptions,
    Entry,
    Ledger,
    Outputs,
    Recording,
    Result,
    State,
    connected,
    find_recordings,
)
from pykaldi_server.batch import flight as flight_module
from pykaldi_server.errors import BatchError, ConfigError


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """The client of two workers."""
    with connected("local", 2) as client:
        yield client


class Runs:
    """Runs over an output directory."""

    def __init__(self, client: Client, models: Path, directory: Path) -> None:
        self.client = client
        self.recognizer = digits(models)
        self.outputs = Outputs(directory, ("txt",))

    def run(self, recordings: list[Recording], options: BulkOptions | None = None) -> dict[str, Result]:
        """Results by the names of the recordings' files; each has one."""
        with Ledger(self.outputs.directory) as ledger:
            results = list(Bulk(self.client, self.recognizer, self.outputs, ledger, options).run(recordings))
        by_name = {Path(each.entry.source).name: each for each in results}
        assert len(by_name) == len(results)
        return by_name


@pytest.fixture
def runs(client: Client, models: Path, tmp_path: Path) -> Runs:
    return Runs(client, models, tmp_path / "out")


def states(results: dict[str, Result]) -> dict[str, tuple[State, bool]]:
    return {name: (each.entry.state, each.is_new) for name, each in results.items()}


def test_each_recording_is_done_once(runs: Runs, golden: Path, tmp_path: Path) -> None:
    """What is done is skipped, what failed is set aside, and both stay so until something else is asked."""
    paths = make_recordings(tmp_path / "recordings", golden, 5)
    damaged, absent = tmp_path / "recordings" / "x.ogg", tmp_path / "absent.wav"
    damaged.write_bytes(b"OggS" + bytes(range(256)) * 40)
    recordings = find_recordings([tmp_path / "recordings", absent])
    results = runs.run([*recordings, recordings[0]])  # which is there twice
    assert {name for name, state in states(results).items() if state == (State.RECOGNISED, True)} == {
        path.name for path in paths
    }
    entry = results[paths[0].name].entry
    assert (entry.source, entry.attempts, entry.num_words) == (str(paths[0]), 1, 5)
    assert entry.audio_s == pytest.approx(2.4, abs=0.1)
    failed = [results[each.name].entry for each in (damaged, absent)]
    assert [each.state for each in failed] == [State.SET_ASIDE] * 2
    assert [each.attempts for each in failed] == [1, 3], "damaged audio stays so, an absent file may come"
    assert all(each.error.startswith(f"{each.source}: ") for each in failed)
    transcripts = {path: path.stat().st_mtime_ns for path in runs.outputs.directory.glob("*.txt")}
    assert {path.read_text() for path in transcripts} == {SAID}
    assert len(transcripts) == 5

    shutil.copy(golden / "wav" / f"{DIGITS}.wav", absent)
    (runs.outputs.directory / "001.txt").unlink()
    expected = {path.name: (State.RECOGNISED, False) for path in paths}
    expected |= {each.name: (State.SET_ASIDE, False) for each in (damaged, absent)}
    expected["001.wav"] = State.RECOGNISED, True
    assert states(runs.run(recordings)) == expected
    now = {path: path.stat().st_mtime_ns for path in runs.outputs.directory.glob("*.txt")}
    assert {path for path in now if now[path] != transcripts[path]} == {runs.outputs.directory / "001.txt"}

    expected["001.wav"] = State.RECOGNISED, False
    expected |= {absent.name: (State.RECOGNISED, True), damaged.name: (State.SET_ASIDE, True)}
    assert states(runs.run(recordings, BulkOptions(retry_failed=True))) == expected
    results = runs.run([*recordings, recordings[0]], BulkOptions(overwrite=True))
    assert all(result.is_new for result in results.values())


def test_a_name_that_is_not_in_utf8(runs: Runs, golden: Path, tmp_path: Path) -> None:
    """The ledger has it escaped, and knows it again; an error that has it is no hindrance either."""
    good, damaged = (tmp_path / "in" / os.fsdecode(name) for name in (b"caf\xe9.wav", b"th\xe9.ogg"))
    good.parent.mkdir()
    good.symlink_to(golden / "wav" / f"{DIGITS}.wav")
    damaged.write_bytes(b"OggS" + bytes(range(256)) * 40)
    for is_new in (True, False):
        assert states(runs.run(find_recordings([tmp_path / "in"]))) == {
            "caf\\udce9.wav": (State.RECOGNISED, is_new),
            "th\\udce9.ogg": (State.SET_ASIDE, is_new),
        }
    assert (runs.outputs.directory / os.fsdecode(b"caf\xe9.txt")).read_text() == SAID


def test_a_recording_that_kills_its_process_is_set_aside(runs: Runs, golden: Path, tmp_path: Path) -> None:
    """After as many attempts as it may have; others come to no harm."""
    paths = make_recordings(tmp_path, golden, 3)
    poison = tmp_path / "poison.wav"
    with deadly(poison, lambda pid: pid):
        results = runs.run(find_recordings([poison, *paths]), BulkOptions(retries=1))
    entry = results[poison.name].entry
    assert (entry.state, entry.attempts) == (State.SET_ASIDE, 2)
    assert entry.error == f"{poison}: the process that recognised it was killed by SIGKILL"
    assert all(results[path.name].entry.attempts == 1 for path in paths)


def test_workers_of_dask_that_die(runs: Runs, golden: Path, tmp_path: Path) -> None:
    """What they were at is done by others; a recording with which they die again and again is set aside."""
    paths = make_recordings(tmp_path, golden, 3)
    poison = tmp_path / "poison.wav"
    with deadly(poison, parent):
        results = runs.run(find_recordings([poison, *paths]), BulkOptions(retries=1))
    entry = results[poison.name].entry
    assert (entry.state, entry.error) == (
        State.SET_ASIDE,
        f"{poison}: the worker of Dask that recognised it died",
    )
    assert entry.attempts == 2
    assert {results[path.name].entry.state for path in paths} == {State.RECOGNISED}


def test_what_an_interrupted_run_has_written_is_not_done_again(
    runs: Runs, golden: Path, tmp_path: Path
) -> None:
    """It was killed after the transcript was in place and before that was in the ledger."""
    (recording,) = find_recordings(make_recordings(tmp_path, golden, 1))
    runs.outputs.write(recording, [])
    assert states(runs.run([recording])) == {"000.wav": (State.RECOGNISED, False)}
    with Ledger(runs.outputs.directory) as ledger:
        assert ledger.find(["000"])["000"].attempts == 0


def test_two_recordings_cannot_have_the_same_transcripts(runs: Runs, golden: Path, tmp_path: Path) -> None:
    one, other = make_recordings(tmp_path, golden, 2)
    name = Path("same")
    results = runs.run([Recording(one, name), Recording(other, name)])
    assert states(results) == {one.name: (State.RECOGNISED, True), other.name: (State.SET_ASIDE, True)}
    assert results[other.name].entry.error == (
        f"{other}: expected transcripts of its own, found those of {one}: same"
    )
    results = runs.run([Recording(other, name)])
    assert results[other.name].entry.state is State.SET_ASIDE, "in a later run as well"
    results = runs.run([Recording(other, name)], BulkOptions(overwrite=True))
    assert results[other.name].entry.state is State.RECOGNISED


def test_a_long_list_is_not_kept_in_memory(runs: Runs, tmp_path: Path) -> None:
    """Recordings are taken from it in step with results."""
    num_taken = 0

    def recordings() -> Iterator[Recording]:
        nonlocal num_taken
        for number in range(5000):
            num_taken += 1
            yield Recording(tmp_path / "absent.wav", Path(str(number)))

    with Ledger(runs.outputs.directory) as ledger:
        now_s = time.time()
        for number in range(5000):
            ledger.note(
                Entry(
                    name=str(number),
                    source=str(tmp_path / "absent.wav"),
                    state=State.SET_ASIDE,
                    error="absent",
                    ended_s=now_s - 1,
                )
            )
        bulk = Bulk(runs.client, runs.recognizer, runs.outputs, ledger)
        for num_results, _ in enumerate(bulk.run(recordings()), 1):
            assert num_taken - num_results <= 200
    assert num_results == 5000


def test_a_model_that_cannot_be_loaded_ends_the_run(runs: Runs, golden: Path, tmp_path: Path) -> None:
    runs.recognizer = digits(tmp_path)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        runs.run(find_recordings(make_recordings(tmp_path / "recordings", golden, 3)))


def test_tasks_that_workers_cannot_load_end_the_run(
    runs: Runs, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another version of this package: no recording is set aside."""

    def run_task() -> None:
        raise AssertionError("called")

    run_task.__module__, run_task.__qualname__ = "only_here", "run_task"
    module = ModuleType("only_here")
    monkeypatch.setattr(module, "run_task", run_task, raising=False)
    monkeypatch.setitem(sys.modules, "only_here", module)
    monkeypatch.setattr(flight_module, "run_task", run_task)
    with pytest.raises(BatchError, match="the cluster cannot recognise: No module named 'only_here'"):
        runs.run(find_recordings(make_recordings(tmp_path, golden, 1)))
    with Ledger(runs.outputs.directory) as ledger:
        assert ledger.count() == {}
