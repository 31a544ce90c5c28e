"""The scripts that measure the server beside the library, and the search beside Kaldi's: what they print."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "scripts" / "bench"
WAV = ROOT / "tests" / "data" / "golden" / "wav"
RECORDINGS = [str(WAV / f"{name}.wav") for name in ("ps-tidigits-2934z", "ps-librivox-0930")]


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCH / script), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
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
    ratio = re.search(r"server / library ([\d.]+)", text)
    assert ratio is not None
    assert float(ratio[1]) > 0
    assert re.findall(r"^(server|library) +-?[\d.]+ ", text, re.MULTILINE) == ["server", "library"]
    assert len(re.findall(r"min of audio: master [\d.]+, worker 1 [\d.]+ MiB", text)) >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", ["vosk", "kaldi"])
def test_packets_are_relayed_without_a_recogniser(protocol: str) -> None:
    pytest.importorskip("psutil", reason="needs the package psutil")
    text = run("relay.py", "--streams", "3", "--packets", "20", "--protocol", protocol)
    assert re.match(rf"{protocol}, 3 streams, packets of 0.2 s: \d+\.\d+ ms of the master's CPU", text)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_search_finds_what_faster_decoder_finds() -> None:
    # In this process, neither may be loaded: with their OpenFst, loading Vosk's waits for ever.
    for package in ("kaldi_decoder", "kaldifst"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}")
    text = run("faster_decoder.py", "--rounds", "1", *RECORDINGS)
    assert len(re.findall(r"2 of 2 recordings with the same words", text)) == 3
