"""How much faster `pykaldi-server transcribe --scheduler local` is with two workers than with one.

Files are made of the recordings that the tests have. Each number of workers is measured several times, in
turn, and the shortest time counts; starting the cluster and loading the models is part of it. The machine
should have nothing else to do.
Usage: bulk.py [--model MODEL] [--jobs N] [--files N] [--file-seconds S] [--rounds N]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDINGS = ROOT / "tests" / "data" / "golden" / "wav"
RATE_HZ = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--file-seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.files):
            write(Path(folder) / f"{number:04}.wav", args.file_seconds, number)
        shortest_s = {1: float("inf"), args.jobs: float("inf")}
        for _ in range(args.rounds):
            for jobs in shortest_s:
                shortest_s[jobs] = min(shortest_s[jobs], transcribe(Path(folder), args.model, jobs))
    one_s, several_s = shortest_s[1], shortest_s[args.jobs]
    print(
        f"{args.files} files of {args.file_seconds:g} s: {one_s:.1f} s with one worker, "
        f"{several_s:.1f} s with {args.jobs}: {one_s / several_s:.2f} times as fast"
    )


def transcribe(place: Path, model: str, jobs: int) -> float:
    """Runs the command; returns the seconds that it took."""
    command = [sys.executable, "-m", "pykaldi_server", "transcribe", str(place), "--model", model]
    with tempfile.TemporaryDirectory() as output:
        start_s = time.monotonic()
        subprocess.run(
            [*command, "--scheduler", "local", "-j", str(jobs), "-o", output],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        return time.monotonic() - start_s


def write(path: Path, length_s: float, first: int) -> None:
    """Writes recordings, beginning with another one each time, until they are at least so long."""
    paths = sorted(RECORDINGS.glob("ps-*.wav"))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", "NONE"))
        for each in cycle(paths[first % len(paths) :] + paths[: first % len(paths)]):
            with wave.open(str(each)) as recording:
                file.writeframes(recording.readframes(recording.getnframes()))
            if file.tell() >= length_s * RATE_HZ:
                break


if __name__ == "__main__":
    main()
