"""How much faster `pykaldi-server transcribe` is on several cores, and whether its words stay the same.

There are two measurements: many files (--files, of --file-seconds each) and one long file (--minutes), each
with one process, and with --jobs. A run with N processes is bound to N cores, also where the system would let
the program that gives them their work, and writes what they find, run on another one. They are made of the
given recordings, one after the other, or of those of a few speakers that the tests have; files last a minute
by default, so that the half second until the model is loaded does not decide. The time of the fastest of
--runs counts, and what Python compiles when a program runs for the first time does not. The machine should
have nothing else to do. Needs the extra `bench`.

Two processes that recognise never get twice as far as one where they share a cache and the memory. --separate
measures that: each of N commands with one process recognises all files, at the same time.
Usage: transcribe.py [--model MODEL] [--jobs N] [--files N] [--file-seconds S] [--minutes M] [--runs N]
    [--separate] [WAV ...]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

import jiwer
import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio import read_audio_file

RECORDINGS = ROOT / "tests" / "data" / "golden" / "wav"
RATE_HZ = 16000
PAUSE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--file-seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the long file")
    parser.add_argument("--runs", type=int, default=3, help="of each measurement")
    parser.add_argument("--separate", action="store_true", help="measure what processes share, too")
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    recordings = [read_audio_file(path, RATE_HZ) for path in args.wav or sorted(RECORDINGS.glob("ps-*.wav"))]
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        for number in range(args.files):
            shifted = recordings[number % len(recordings) :] + recordings[: number % len(recordings)]
            write(files / f"{number:03}.wav", shifted, args.file_seconds)
        long = Path(folder) / "long.wav"
        write(long, recordings, 60 * args.minutes)
        runs = Runs(args.model, Path(folder) / "bytecode")
        compare(f"{args.files} files of {args.file_seconds:g} s", files, runs, args)
        compare(f"one file of {args.minutes:g} minutes", long, runs, args)


def compare(what: str, place: Path, runs: "Runs", args: argparse.Namespace) -> None:
    """Transcribes with one process and with several; prints times and how many words are equal."""
    alone_s = side_by_side_s = separate_s = float("inf")
    for _ in range(args.runs):  # by turns, so that whatever else the machine does slows all of them down
        taken_s, (alone,) = runs.time(place, 1)
        alone_s = min(alone_s, taken_s)
        taken_s, (side_by_side,) = runs.time(place, args.jobs)
        side_by_side_s = min(side_by_side_s, taken_s)
        if args.separate:
            separate_s = min(separate_s, runs.time(place, 1, args.jobs)[0])
    found = jiwer.process_words(list(alone.values()), list(side_by_side.values()))
    num_words = found.hits + found.substitutions + found.deletions
    print(
        f"{what}: {alone_s:.2f} s with -j 1, {side_by_side_s:.2f} s with -j {args.jobs}: "
        f"{alone_s / side_by_side_s:.2f} times as fast; {found.hits} of {num_words} words are equal "
        f"({100 * found.hits / num_words:.2f} %), {found.insertions} are inserted",
        flush=True,
    )
    if args.separate:
        speed = args.jobs * alone_s / separate_s
        print(f"    {args.jobs} commands with -j 1 at once: {speed:.2f} times as fast as one after the other")


class Runs:
    """Runs of the command with a model.

    Args:
        model: the model.
        bytecode: a folder for what Python compiles.
    """

    def __init__(self, model: str, bytecode: Path) -> None:
        self._model = model
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with tempfile.TemporaryDirectory() as folder:
            for name in "ab":  # of several files, one process reads the audio and another one the results
                write(Path(folder) / f"{name}.wav", [np.zeros(RATE_HZ, np.float32)], 1.0)
            self.time(Path(folder), 1)

    def time(self, place: Path, jobs: int, num_commands: int = 1) -> tuple[float, list[dict[str, str]]]:
        """Runs one command, or several at once; returns the seconds, and the texts of the files of each."""
        arguments = ["transcribe", str(place), "--model", self._model, "-j", str(jobs)]
        command = [sys.executable, "-m", "pykaldi_server", *arguments]
        with tempfile.TemporaryDirectory() as folder, bound_to(jobs * num_commands):
            outputs = [Path(folder) / str(number) for number in range(num_commands)]
            start_s = time.monotonic()
            commands = [
                subprocess.Popen(
                    [*command, "-o", str(output)], env=self._environment, stderr=subprocess.DEVNULL
                )
                for output in outputs
            ]
            codes = [each.wait() for each in commands]
            if any(codes):
                raise SystemExit(f"failed: {' '.join(command)}")
            taken_s = time.monotonic() - start_s
            return taken_s, [
                {path.name: " ".join(path.read_text().split()) for path in sorted(output.iterdir())}
                for output in outputs
            ]


@contextmanager
def bound_to(num_cores: int) -> Iterator[None]:
    """Binds what is started meanwhile to so many cores, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    own_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own_cores)[-num_cores:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own_cores)


def write(path: Path, recordings: list[NDArray[np.float32]], length_s: float) -> None:
    """Writes recordings, with pauses between them, over and over until they are at least so long."""
    pause = np.zeros(round(PAUSE_S * RATE_HZ), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        for recording in cycle(recordings):
            file.writeframes(np.concatenate([recording.astype(np.int16), pause]).astype("<i2").tobytes())
            if file.tell() >= length_s * RATE_HZ:
                break


if __name__ == "__main__":
    main()
