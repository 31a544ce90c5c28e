"""What scripts print that measure the server, the search, files and limits beside something else."""

import importlib.util
import re
import subprocess
import sys
import wave
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "scripts" / "bench"
GOLDEN = ROOT / "tests" / "data" / "golden"
WAV = GOLDEN / "wav"
RECORDINGS = [str(WAV / f"{name}.wav") for name in ("ps-tidigits-2934z", "ps-librivox-0930")]


def start(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run(script: str, *arguments: str) -> str:
    ran = start(script, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_server_is_measured_beside_the_library() -> None:
    pytest.importorskip("psutil", reason="needs the package psutil")
    options = ["--streams", "2", "--sessions", "3", "--seconds", "5", "--rounds", "1", "--stream-s", "1"]
    text = run("server_cost.py", *options, "--hold-s", "1", "--minutes", "0.2", *RECORDINGS)
    assert "failed" not in text
    assert "other words" not in text
    ratios = re.search(r"server / library in real time ([\d.]+), as fast as it goes ([\d.]+)", text)
    assert ratios is not None
    assert all(float(each) > 0 for each in ratios.groups())
    assert re.findall(r"^(server|library) +-?[\d.]+ ", text, re.MULTILINE) == ["server", "library"]
    assert len(re.findall(r"min of audio: master [\d.]+, worker 1 [\d.]+ MiB", text)) >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", ["vosk", "kaldi"])
def test_packets_are_relayed_without_a_recogniser(protocol: str) -> None:
    pytest.importorskip("psutil", reason="needs the package psutil")
    text = run("relay.py", "--streams", "3", "--packets", "20", "--idle", "4", "--protocol", protocol)
    found = re.match(rf"{protocol}, 3 streams, packets of 0.2 s: (\d+\.\d+) ms of the master's CPU", text)
    assert found is not None
    assert float(found[1]) > 0
    assert re.search(r"memory every 0\.6 s: (\d+\.\d, ){5}\d+\.\d MiB$", text, re.MULTILINE)
    assert re.search(rf"^{protocol}, 4 idle streams: \d+\.\d MiB in all", text, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_search_finds_what_faster_decoder_finds() -> None:
    # In this process, neither may be loaded: with their OpenFst, loading Vosk's waits for ever.
    for package in ("kaldi_decoder", "kaldifst"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}")
    text = run("faster_decoder.py", "--rounds", "1", *RECORDINGS)
    assert len(re.findall(r"2 of 2 recordings with the same words", text)) == 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_limit_of_the_search_costs_is_counted() -> None:
    pytest.importorskip("jiwer", reason="needs the package jiwer")
    text = run("bounded_cost.py", "--limits", "7000,300", str(GOLDEN / "text"), *RECORDINGS)
    rows = re.findall(
        r"^ +(\d+) +([\d.]+)% +(\d+) +\d+ .*4 voices ([\d.]+) .*white noise", text, re.MULTILINE
    )
    assert [row[0] for row in rows] == ["7000", "300"]
    (_, _, clean, voices), (_, _, bounded_clean, bounded_voices) = rows
    assert 0 < int(bounded_clean) < int(clean)
    assert int(bounded_clean) * float(bounded_voices) < int(clean) * float(voices)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_recordings_of_several_rates_are_not_counted_together(tmp_path: Path) -> None:
    pytest.importorskip("jiwer", reason="needs the package jiwer")
    other = tmp_path / "other.wav"
    with wave.open(str(other), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    ran = start("bounded_cost.py", str(GOLDEN / "text"), RECORDINGS[0], str(other))
    assert ran.returncode == 1
    assert f"{other}: expected 16000 Hz as in {RECORDINGS[0]}; found 8000" in ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_program_that_embeds_the_library_is_measured() -> None:
    # Whether the ratio is small enough is no matter of a test on a machine that others use: the line is.
    ran = start("embedded.py", "--rounds", "1", "--recording", RECORDINGS[0])
    found = re.search(r"^ratio of decoding: ([\d.]+)$", ran.stdout, re.MULTILINE)
    assert found is not None, ran.stderr
    assert ran.returncode == (float(found[1]) > 1.1)
    for setting in ("no variable", "one thread"):
        assert re.search(rf"^{setting} +load [\d.]+ CPU s, decode [\d.]+ CPU s", ran.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_words_at_the_ends_of_segments_are_counted() -> None:
    pytest.importorskip("jiwer", reason="needs the package jiwer")
    text = run("segment_ends.py", "--orders", "1")
    rows = re.findall(r"^(.+?) +(\d+) errors in (\d+) words: [\d.]+ %$", text, re.MULTILINE)
    assert [row[0] for row in rows] == ["one segment", "where Kaldi cuts", "at pauses"]
    assert all(int(row[2]) > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_words_that_several_processes_find_are_compared_in_given_recordings() -> None:
    pytest.importorskip("jiwer", reason="needs the package jiwer")
    text = run("transcribe.py", "--files", "2", "--file-seconds", "1", "--minutes", "0.1", RECORDINGS[0])
    rows = re.findall(r"^(.*): [\d.]+ s with -j 1, .*; (\d+) of (\d+) words are equal", text, re.MULTILINE)
    assert [row[0] for row in rows] == ["2 files of 1 s", "one file of 0.1 minutes"]
    assert int(rows[0][1]) == int(rows[0][2]) > 0
