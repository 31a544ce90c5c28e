"""How much faster `pykaldi-server transcribe` is on several cores, and whether its words stay the same.

There are two measurements: many files (--files, of --file-seconds each) and one long file (--minutes), each
with one process and with --jobs. They are made of the given recordings, one after the other, or
of those of a few speakers that the tests have. The machine should have nothing else to do. Needs the extra
`bench`.
Usage: transcribe.py [--model MODEL] [--jobs N] [--files N] [--file-seconds S] [--minutes M] [WAV ...]
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
    parser.add_argument("--file-seconds", type=float, default=30.0)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the long file")
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    recordings = [read_audio_file(path, RATE_HZ) for path in args.wav or sorted(RECORDINGS.glob("ps-*.wav"))]
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        for number in range(args.files):
            shifted = recordings[number % len(recordings) :] + recordings[: number % len(recordings)]
            write(files / f"{number:03}.wav", shifted, args.file_seconds)
        compare(f"{args.files} files of {args.file_seconds:g} s", files, args)
        long = Path(folder) / "long.wav"
        write(long, recordings, 60 * args.minutes)
        compare(f"one file of {args.minutes:g} minutes", long, args)


def compare(what: str, place: Path, args: argparse.Namespace) -> None:
    """Transcribes with one process and with several; prints times and how many words are equal."""
    alone_s, alone = transcribe(place, args.model, 1)
    side_by_side_s, side_by_side = transcribe(place, args.model, args.jobs)
    found = jiwer.process_words(list(alone.values()), list(side_by_side.values()))
    num_words = found.hits + found.substitutions + found.deletions
    print(
        f"{what}: {alone_s:.1f} s with -j 1, {side_by_side_s:.1f} s with -j {args.jobs}: "
        f"{alone_s / side_by_side_s:.2f} times as fast; {found.hits} of {num_words} words are equal "
        f"({100 * found.hits / num_words:.2f} %), {found.insertions} are inserted"
    )


def transcribe(place: Path, model: str, jobs: int) -> tuple[float, dict[str, str]]:
    """Runs the command; returns the seconds that it took, and the text of each file."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "pykaldi_server", "transcribe", str(place), "--model", model]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        start_s = time.monotonic()
        subprocess.run([*command, "-j", str(jobs), "-o", output], env=environment, check=True)
        taken_s = time.monotonic() - start_s
        texts = {path.name: " ".join(path.read_text().split()) for path in sorted(Path(output).iterdir())}
    return taken_s, texts


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
